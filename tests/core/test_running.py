"""Who calls code, what it finds around itself, and what cannot cross to it."""

from __future__ import annotations

import pickle

import pytest

from agentopt.core.running import CodeFailed, Import, Source, execute, unsendable


def test_code_finds_what_it_uses_while_it_is_defined_and_when_it_is_called():
    names = {}
    uses = {
        "twice": Source("def double(x):\n    return FACTOR * x\n", "double"),
        "FACTOR": 2,
        "m": Import("math"),
        "root": Import("math", "sqrt"),
    }
    execute("def f(x: Unknown, y=FACTOR) -> m.nothing:\n    return twice(x), y, m.floor(root(x))\n", "f.py", uses, names)
    assert names["f"](9) == (18, 2, 3)


def test_a_module_that_is_not_there_is_an_import_error():
    with pytest.raises(ModuleNotFoundError):
        execute("", "f.py", {"m": Import("not_there_at_all")}, {})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({1}, "x: a set cannot cross"),
        ([0, (1, {"a": object()})], "x[1][1]['a']: a object cannot cross"),
        ({"a": {2: 3}}, "x['a']: a dict with the key 2 cannot cross"),
    ],
)
def test_what_cannot_cross_is_named_with_its_path(value, path):
    assert unsendable(value, "x").startswith(path)


def test_what_can_cross_is_not_complained_of():
    assert unsendable([1, {"a": None, "b": (b"", 2.5)}], "x") == ""


@pytest.mark.parametrize("error", [ValueError, KeyError, OSError, FileNotFoundError, ZeroDivisionError, SyntaxError, ImportError])
def test_a_crash_is_caught_as_what_was_raised(error):
    message = f'  File "f.py", line 1, in f\n    x\n{error.__name__}: words: more\nOther: no'
    for failure in (CodeFailed.of("crash", message), pickle.loads(pickle.dumps(CodeFailed.of("crash", message)))):
        assert isinstance(failure, error)
        assert (type(failure).__name__, str(failure)) == ("CodeFailed", f"crash: {message}")


@pytest.mark.parametrize(
    "line",
    [
        "Own: words",
        "SystemExit: 1",
        "StopIteration",
        "own.Odd: x\nKeyError: y",
        "ExceptionGroup: x (1 sub-exception)",
        "print: x",
        "",
        "  ValueError: x",
    ],
)
def test_any_other_crash_is_a_failure_and_nothing_else(line):
    assert type(CodeFailed.of("crash", line)) is CodeFailed
    assert isinstance(CodeFailed.of("crash", "UnicodeDecodeError: x"), UnicodeError)
    assert type(CodeFailed.of("timeout", "ValueError: x")) is CodeFailed


def test_a_failure_is_the_same_on_the_other_side_of_a_pickle():
    failure = pickle.loads(pickle.dumps(CodeFailed("crash", "line 3")))
    assert (failure.kind, failure.message, str(failure)) == ("crash", "line 3", "crash: line 3")
    assert str(CodeFailed("timeout", "")) == "timeout"
