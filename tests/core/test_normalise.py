from __future__ import annotations

import ast
import itertools
import re
import sys
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt.core.normalise import normalise_python

# Every way to bind a local, and some to see one from elsewhere. @0@ .. @5@ are the names.
TEMPLATES = [
    "def f(p, q):\n    @0@ = p + 1\n    @1@ = @0@ * q\n    return @1@ - @0@\n",
    "def f(p, q):\n    @0@ = 0\n    for @1@, (@2@, *@3@) in [(p, (q, 1, 2))]:\n        @0@ += @1@ + @2@ + sum(@3@)\n    return @0@\n",
    "def f(p, q):\n    @0@ = 1\n    return [@1@ + @0@ for @1@ in range(p) if (@2@ := @1@ % 2) or q], @2@\n",
    "def f(p, q):\n    try:\n        return p / (q - q)\n    except ZeroDivisionError as @0@:\n        return type(@0@).__name__\n",
    "def f(p, q):\n    @0@ = p\n    def bump(d):\n        nonlocal @0@\n        @0@ += d\n        @1@ = @0@\n        return @1@\n"
    "    @2@ = bump(q)\n    return @0@, @2@\n",
    "def f(p, q):\n    match [p, q, 3]:\n        case [@0@, *@1@]:\n            return @0@, @1@\n",
    "def f(p, q):\n    match {'a': p, 'b': q}:\n        case {'a': int() as @0@, **@1@}:\n            return @0@, @1@\n",
    "from contextlib import nullcontext\ndef f(p, q):\n    with nullcontext(p) as @0@, nullcontext(q) as @1@:\n        return @0@ - @1@\n",
    "def f(p, q):\n    @0@: int = p\n    del @0@\n    @0@ = q\n    return (lambda t: t + @0@)(p)\n",
    "def f(p, q):\n    return {@0@: {@1@ for @1@ in range(@0@)} for @0@ in range(p)}, {@2@ for @2@ in 'ab'}, sum(@3@ for @3@ in (p, q))\n",
    "def f(p, q):\n    @0@ = p\n    class Box:\n        @0@ = q\n        held = @0@\n"
    "        def get(self):\n            return @0@\n    return Box.held, Box().get()\n",
    "k = 7\ndef f(p, q):\n    global k\n    @0@ = k\n    k = p\n    @1@ = lambda: (k, @0@, q)\n    return @1@()\n",
    "def f(p, q):\n    import math as m\n    @0@ = [m.floor(@1@) for @1@ in [p]]\n    return [[@1@ * @2@ for @1@ in @0@] for @2@ in @0@]\n",
    "table = [w * 2 for w in range(3)]\ndef f(p, q):\n    for @0@ in table:\n        while @0@ > p:\n"
    "            @0@ -= 1\n    return @0@\n",
]
NAMES = ["a", "b", "i", "x", "y", "tmp", "total", "p", "q", "k", "sum", "_", "été"]
FRESH = ["a", "b", "i", "x", "y", "tmp", "total", "été", "sum2"]


def fill(template: str, names: list[str]) -> str:
    for index, name in enumerate(names):
        template = template.replace(f"@{index}@", name)
    return template


def behaviour(source: str) -> object:
    results: list[object] = []
    namespace: dict[str, object] = {}
    try:
        exec(source, namespace)
    except SyntaxError:
        return "syntax"
    for args in ((1, 2), (3, 1), (2, 5)):
        try:
            results.append(namespace["f"](*args))  # type: ignore[operator]
        except Exception as error:
            results.append(type(error))
    return re.sub(r" at 0x\w+", "", repr(results))


@given(st.sampled_from(TEMPLATES[:10] + TEMPLATES[11:]), st.permutations(FRESH), st.permutations(FRESH))
def test_names_of_locals_do_not_count(template: str, one: list[str], other: list[str]) -> None:
    assert normalise_python(fill(template, one[:6])) == normalise_python(fill(template, other[:6]))


@settings(max_examples=300)
@given(
    st.sampled_from(TEMPLATES),
    st.lists(st.sampled_from(NAMES), min_size=6, max_size=6),
    st.lists(st.sampled_from(NAMES), min_size=6, max_size=6),
)
def test_equal_normal_form_means_equal_behaviour(template: str, one: list[str], other: list[str]) -> None:
    first, second = fill(template, one), fill(template, other)
    if normalise_python(first) == normalise_python(second):
        assert behaviour(first) == behaviour(second)


def test_collisions_of_names_are_seen() -> None:
    assert normalise_python("def f(p):\n a = 1\n b = 2\n return a") != normalise_python("def f(p):\n a = 1\n a = 2\n return a")
    assert normalise_python("def f(p):\n a = 1\n return p") != normalise_python("def f(p):\n p = 1\n return p")
    assert normalise_python("def f():\n a = 1\n return b") != normalise_python("def f():\n b = 1\n return b")


SAME = [
    ("x = 1\n", "# a comment\nx   =  1 ;\n"),
    ("f((1 + 2), 'ab')", "f(\n    1 + 2,\n    'a' \"b\",\n)"),
    ('def f():\n    """One."""\n    return 1', "def f():\n    return 1"),
    ('"""Module."""\nclass A:\n    "doc"\n    async def g(self):\n        "doc"\n', "class A:\n    async def g(self): pass"),
    ("def f(): 'only a docstring'", "def f(): pass"),
    ("u'a'", "'a'"),
    ("def f():\n    dir = 1\n    return dir", "def f():\n    names = 1\n    return names"),
    ("[i for i in y]", "[j for j in y]"),
    ("lambda v: [a for a in v]", "lambda v: [b for b in v]"),
    ("x = '\\d'", "x = '\\\\d'"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_does_not_matter(one: str, other: str) -> None:
    assert normalise_python(one) == normalise_python(other)


DIFFERENT = [
    ("x = a - b", "x = b - a"),
    ("f(1, 2)", "f(2, 1)"),
    ("f(a=1)", "f(b=1)"),
    ("def f(a): return a", "def f(b): return b"),
    ("lambda a: a", "lambda b: b"),
    ("x = 1", "y = 1"),
    ("x = -0.0", "x = 0.0"),
    ("x = 'a'", "x = b'a'"),
    ("x = 'None'", "x = None"),
    ("x = 1\ny = 2", "y = 2\nx = 1"),
    ("[x, y]", "[[x], y]"),
    ("'a'\n'b'", "'a'"),
    ("def f():\n    import m as a\n    return a", "def f():\n    import m as b\n    return b"),
    ("def f():\n    def g(): pass\n    return g", "def f():\n    def h(): pass\n    return h"),
    ("for i in y: pass", "for j in y: pass"),
    ("try: pass\nexcept E as a: pass", "try: pass\nexcept E as b: pass"),
    ("try: pass\nexcept E as a: pass", "try: pass\nexcept E: pass"),
    ("match x:\n    case _: pass", "match x:\n    case a: pass"),
    ("match x:\n    case True: pass", "match x:\n    case None: pass"),
    ("from . import a", "from .. import a"),
    ("f'{x}'", "f'{x!r}'"),
    ("f'{x=}'", "f'{y=}'"),
    ("async def f():\n    return [i async for i in y]", "async def f():\n    return [i for i in y]"),
    ("x: int", "x: float"),
    ("class A:\n    a = 1", "class A:\n    b = 1"),
    ("global x", "global y"),
    # the names can be looked at
    ("def f():\n    a = 1\n    return locals()", "def f():\n    b = 1\n    return locals()"),
    ("def f():\n    a = 1\n    return eval('a')", "def f():\n    b = 1\n    return eval('a')"),
    ("def f(o):\n    a = 1\n    return getattr(o, 'f_locals')", "def f(o):\n    b = 1\n    return getattr(o, 'f_locals')"),
    ("import inspect\ndef f():\n    a = 1", "import inspect\ndef f():\n    b = 1"),
    # and the docstrings
    ("def f():\n    'one'\nx = f.__doc__", "def f():\n    'two'\nx = f.__doc__"),
    ("def f():\n    'one'\nhelp(f)", "def f():\n    'two'\nhelp(f)"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_matters(one: str, other: str) -> None:
    assert normalise_python(one) != normalise_python(other)


def test_docstrings_go_where_only_names_are_seen() -> None:
    assert normalise_python("def f():\n    'one'\n    return vars()") == normalise_python("def f():\n    return vars()")


CONSTANTS = [
    "1",
    "1.0",
    "True",
    "1j",
    "'1'",
    "b'1'",
    "0",
    "0.0",
    "-0.0",
    "False",
    "None",
    "...",
    "1e-320",
    "1e999",
    "2**53",
    "0x" + "f" * 4000,
]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(CONSTANTS, 2)))
def test_constants_differ_by_type_and_sign(one: str, other: str) -> None:
    assert normalise_python(f"x = {one}") != normalise_python(f"x = {other}")


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_floats_are_equal_only_bit_for_bit(one: float, other: float) -> None:
    same = normalise_python(f"x = {one!r}") == normalise_python(f"x = {other!r}")
    assert same == (repr(one) == repr(other))


@pytest.mark.parametrize(
    "source",
    [
        "",
        "\0",
        "x = 1\0",
        "\ud800",
        "def f(:",
        "  x",
        "(" * 5000,
        "-" * 50_000 + "1",
        "x = " + "+".join("1" * 50_000),
        "a" + ".b" * 20_000,
        "x = [" + "1," * 400_000 + "]",
        "#" * 1_000_000,
        "\n".join(" " * i + "if x:" for i in range(90)) + " pass",
        "0" * 5000,
        "9" * 5000,
        "\f\v\r\r\n\x1a",
    ],
)
def test_hostile_source_never_raises(source: str) -> None:
    assert isinstance(normalise_python(source), str)


def parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


LINES = st.sampled_from(["def f(a):", "    b = a", "    return b", "x = [1, 2]", "class C: pass", "  y", '"""', "lambda q: q", "\\", "\f"])


@pytest.mark.thorough
@given(st.text(max_size=60) | st.lists(LINES, max_size=6).map("\n".join))
def test_any_text_has_a_normal_form(source: str) -> None:
    normal = normalise_python(source)
    normalise_python.cache_clear()
    assert normalise_python(source) == normal
    if not parses(source):
        assert normal == f"unparsed\n{source}"
    elif parses(commented := f"# a comment\n{source}"):
        assert normalise_python(commented) == normal
        assert not normal.startswith("unparsed")


def test_a_tree_deeper_than_the_stack_of_python_is_listed() -> None:
    deep = "x = " + "+".join(["y"] * (sys.getrecursionlimit() + 100))
    assert normalise_python(deep) == normalise_python(f"# comment\n{deep}")


def test_source_that_does_not_parse_is_never_equal_to_source_that_does() -> None:
    normal = normalise_python("x = 1")
    assert normalise_python(normal) != normal
    assert normalise_python("def f(:") != normalise_python("def f(: ")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
@pytest.mark.parametrize("head", ["def f[T](p: T): ", "class A[T]: ", "type X = int\ndef f(): "])
def test_scopes_that_are_not_modelled_are_left_alone(head: str) -> None:
    assert normalise_python(f"{head}\n    return [a for a in 'x']") != normalise_python(f"{head}\n    return [b for b in 'x']")


@pytest.mark.skipif(sys.gettrace() is not None, reason="coverage slows it down")
def test_a_function_of_sixty_lines_takes_less_than_two_milliseconds() -> None:
    lines = "".join(f"    a{i} = weight * bins[{i}] - item if item > {i} else a{i - 1}\n" for i in range(1, 58))
    source = f"def priority(item, bins, weight, capacity):\n    a0 = 0.0\n{lines}    return a57\n"
    best = min(_seconds(source) for _ in range(15))
    assert best < 0.006, f"{best * 1e3:.2f} ms"  # three times the aim: machines differ


def _seconds(source: str) -> float:
    normalise_python.cache_clear()
    start = time.perf_counter()
    normalise_python(source)
    return time.perf_counter() - start


def test_type_parameters_switch_renaming_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in Python 3.12 and later, on any version."""
    parse = ast.parse

    def with_type_parameters(source: str) -> ast.Module:
        tree = parse(source)
        tree.body[0].type_params = [ast.Name("T", ast.Load())]  # type: ignore[attr-defined]
        return tree

    monkeypatch.setattr(ast, "parse", with_type_parameters)
    normalise_python.cache_clear()
    assert normalise_python("def f():\n    a = 1\n    return a") != normalise_python("def f():\n    b = 1\n    return b")
    normalise_python.cache_clear()
