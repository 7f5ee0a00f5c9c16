from __future__ import annotations

import ast
import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import CLASS, PRIORITY, SAMPLES, SCALAR

from agentopt.core.normalise import normalise_python
from agentopt.edits.constants import find_constants
from agentopt.edits.crossover import crossover
from agentopt.edits.mutations import OPERATORS, SHRINKING, mutate
from agentopt.edits.numeric import imported_modules, is_pure_call
from agentopt.edits.source import survey


def signatures(source: str) -> list[str]:
    return [
        f"{type(node).__name__} {node.name} {ast.dump(node.args) if not isinstance(node, ast.ClassDef) else ''}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]


def impure_calls(source: str) -> Counter[str]:
    tree = ast.parse(source)
    modules = imported_modules(survey(tree).imports)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and not is_pure_call(node, modules)]
    return Counter(call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func) for call in calls)


def imports(source: str) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(SAMPLES), st.sampled_from(sorted(OPERATORS)), st.integers(0, 10**6), st.integers(1, 4))
def test_every_edit_is_another_valid_program_with_the_same_interface(source: str, name: str, seed: int, count: int) -> None:
    made = mutate(source, {name: 1.0} if count == 1 else dict.fromkeys(OPERATORS, 1.0), Random(seed), count)
    if made is None:
        return
    assert 1 <= len(made.operators) <= count
    compile(made.source, "<test>", "exec")
    assert normalise_python(made.source) != normalise_python(source)
    assert signatures(made.source) == signatures(source)
    assert set(imports(made.source)) <= set(imports(source)), "a dropped block may take an import along"
    assert impure_calls(made.source) <= impure_calls(source)
    assert survey(ast.parse(made.source)).unbound <= survey(ast.parse(source)).unbound


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_operator_finds_a_place(name: str) -> None:
    made = [mutate(source, {name: 1.0}, Random(seed)) for source in SAMPLES for seed in range(10)]
    assert sum(result is not None for result in made) >= 5


@pytest.mark.parametrize("source", SAMPLES)
def test_equal_generators_make_equal_edits(source: str) -> None:
    weights = dict.fromkeys(OPERATORS, 1.0)
    assert [mutate(source, weights, Random(seed), 3) for seed in range(10)] == [
        mutate(source, weights, Random(seed), 3) for seed in range(10)
    ]


EFFECTS = {
    "perturb": ("def f(x):\n    return x * 2.0", lambda text: "* 2.0" not in text),
    "rename": ("def f(x, y):\n    return x * x - y", lambda text: text.count("x") != 3),
    "operator": ("def f(x, y):\n    return x + y", lambda text: "x + y" not in text),
    "operands": ("def f(x, y):\n    return x - y", lambda text: "y - x" in text),
    "comparison": ("def f(x, y):\n    return x < y", lambda text: "x < y" not in text),
    "boolean": ("def f(x, y):\n    return x and y", lambda text: "x or y" in text),
    "function": ("import math\ndef f(x):\n    return math.exp(x)", lambda text: "math." in text and "math.exp(" not in text),
    "wrap": ("import math\ndef f(x):\n    return x", lambda text: "math." in text or "x ** 2" in text),
    "hoist": ("def f(x, y):\n    return x + y", lambda text: "+" not in text),
    "add": ("def f(x):\n    return x", lambda text: "x +" in text or "x -" in text),
    "scale": ("def f(x):\n    return x", lambda text: "x *" in text or "x /" in text),
    "copy": ("def f(x, y):\n    return x + y * 3", lambda text: not text.rstrip().endswith("return x + y * 3")),
    "branch": ("def f(x, y):\n    return x + y", lambda text: " if " in text and " else " in text),
    "swap": ("def f(x):\n    x = x + 1\n    x = x * 2\n    return x", lambda text: text.index("* 2") < text.index("+ 1")),
    "drop": ("def f(x):\n    x = x + 1\n    return x", lambda text: "+ 1" not in text),
    "duplicate": ("def f(x):\n    x = x + 1\n    return x", lambda text: text.count("+ 1") == 2),
}


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_what_each_operator_does(name: str) -> None:
    source, shows = EFFECTS[name]
    made = [mutate(source, {name: 1.0}, Random(seed)) for seed in range(20)]
    texts = [result.source for result in made if result]
    assert len(texts) >= 5
    assert all(shows(text) for text in texts), texts


@pytest.mark.parametrize(
    ("name", "source", "fragment"),
    [
        ("boolean", "def f(x, y):\n    if not x:\n        y = 1\n    return y", "if x:"),
        ("boolean", "def f(x, y):\n    if x:\n        y = 1\n    return y", "if not x:"),
        ("comparison", "def f(x, y):\n    return x == y", "x != y"),
        ("comparison", "def f(x, y):\n    return x in y", "x not in y"),
        ("operands", "def f(x, y):\n    return x < y", "y < x"),
        ("function", "def f(x, y):\n    return max(x, y)", "min(x, y)"),
        ("branch", "import numpy as np\ndef f(x):\n    return x", "np.where("),
        ("add", "def f(x):\n    return 1.0", "x"),
        ("perturb", "def f(x):\n    return x[1]", "x[0]"),
    ],
)
def test_special_cases(name: str, source: str, fragment: str) -> None:
    assert any(fragment in made.source for seed in range(30) if (made := mutate(source, {name: 1.0}, Random(seed))))


def test_only_the_functions_touched_are_rewritten() -> None:
    weights = {name: 1.0 for name in OPERATORS if name != "perturb"}
    for seed in range(20):
        made = mutate(PRIORITY, weights, Random(seed))
        assert made is not None
        assert made.source.startswith(PRIORITY[: PRIORITY.index("def priority")])
        assert "Best fit and more." in made.source


def test_constants_of_the_module_change_too() -> None:
    source = "A = 2.0  # one\nB = A * 3.0  # two\ndef f(x):\n    return x\n"
    texts = [made.source for seed in range(20) if (made := mutate(source, {"perturb": 1.0}, Random(seed)))]
    assert any(text.startswith("A = 2.0  # one\nB = A * ") for text in texts)
    assert any("# two" in text and not text.startswith("A = 2.0") for text in texts)


def test_growth_is_bounded() -> None:
    source, limit = "def f(x, y):\n    return x + y\n", 40
    for seed in range(60):
        made = mutate(source, {"add": 1.0, "scale": 1.0, "branch": 1.0, "hoist": 0.2}, Random(seed), 2, max_nodes=limit)
        if made is not None:
            source = made.source
        assert survey(ast.parse(source)).size <= limit
    assert survey(ast.parse(source)).size > 15


def test_a_program_over_the_limit_may_only_shrink() -> None:
    size = survey(ast.parse(PRIORITY)).size
    made = [mutate(PRIORITY, dict.fromkeys(OPERATORS, 1.0), Random(seed), 1, max_nodes=10) for seed in range(60)]
    sizes = [survey(ast.parse(result.source)).size for result in made if result]
    assert sizes
    assert max(sizes) <= size
    assert min(sizes) < size


def test_crowded_programs_shrink_more_often() -> None:
    def share(limit: int) -> float:
        made = [mutate(PRIORITY, dict.fromkeys(OPERATORS, 1.0), Random(seed), 1, limit) for seed in range(80)]
        used = [name for result in made if result for name in result.operators]
        return sum(name in SHRINKING for name in used) / len(used)

    assert share(150) > 1.5 * share(100_000)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def f(:",
        "\0",
        "x = [",
        "(" * 300 + ")" * 300,
        "def f(): pass",
        "import os\nos.remove('x')",
        "x = " + "+".join("y" * 3000),
        "class A: pass",
    ],
)
def test_source_without_a_place_gives_nothing(source: str) -> None:
    assert all(mutate(source, dict.fromkeys(OPERATORS, 1.0), Random(seed)) is None for seed in range(5))


def test_a_branch_needs_a_number_to_ask_about() -> None:
    assert all(mutate("def f():\n    return 1.0\n", {"branch": 1.0}, Random(seed)) is None for seed in range(5))


def test_names_stay_bound() -> None:
    source = "def f(x):\n    if x:\n        y = 1\n        print(x)\n    return y\n"
    dropped = [made.source for seed in range(10) if (made := mutate(source, {"drop": 1.0}, Random(seed)))]
    assert dropped
    assert all("y = 1" in text for text in dropped)
    starred = [made.source for seed in range(10) if (made := mutate("from math import *\n" + source, {"drop": 1.0}, Random(seed)))]
    assert any("y = 1" not in text for text in starred), "what a star import binds cannot be known"


def test_statements_that_depend_on_each_other_keep_their_order() -> None:
    source = "def f(x):\n    y = x + 1\n    z = y * 2\n    x += z\n    return x\n"
    assert all(mutate(source, {"swap": 1.0}, Random(seed)) is None for seed in range(10))
    assert all("y = x + 1" in made.source for seed in range(10) if (made := mutate(source, {"drop": 1.0}, Random(seed))))


def test_terms_come_from_what_is_in_scope() -> None:
    source = "import math\ndef f(alpha, beta):\n    gamma = alpha * 2\n    return gamma - beta\n"
    texts = [made.source for seed in range(150) if (made := mutate(source, {"add": 1.0, "scale": 1.0}, Random(seed)))]
    text = "\n".join(texts)
    assert all(piece in text for piece in ("alpha *", "beta /", "** 2", "math.sqrt(math.fabs(", "gamma - beta"))
    first = [line for made in texts for line in made.splitlines() if "gamma =" in line]
    assert not any("gamma" in line.split("=")[1] for line in first)


def test_a_parameter_that_is_not_used_can_come_into_play() -> None:
    texts = [made.source for seed in range(40) if (made := mutate("def f(x):\n    return 1.0\n", {"add": 1.0}, Random(seed)))]
    assert any("x" in text.split("return")[1] for text in texts)


def test_numbers_stay_finite_literals() -> None:
    source = "def f(x):\n    return x * 0.0 + 7 + -3.5\n"
    for seed in range(200):
        made = mutate(source, {"perturb": 1.0}, Random(seed), 3)
        if made is not None:
            values = [node.value for node in ast.walk(ast.parse(made.source)) if isinstance(node, ast.Constant)]
            assert all(math.isfinite(value) for value in values)


@pytest.mark.parametrize("source", [SCALAR, CLASS])
def test_every_definition_is_within_reach(source: str) -> None:
    before = [ast.dump(statement) for statement in ast.parse(source).body]
    changed: set[int] = set()
    for seed in range(25):
        made = mutate(source, {"perturb": 1.0, "operator": 1.0, "rename": 1.0}, Random(seed))
        after = [ast.dump(statement) for statement in ast.parse(made.source).body] if made else before
        changed.update(index for index in range(len(before)) if before[index] != after[index])
    assert changed == {1, 2}


def test_only_names_bound_by_then_are_copied() -> None:
    source = "import math\ndef f(a, b):\n    c = a + b\n    d = c * math.exp(b)\n    return d - c\n"
    for seed in range(80):
        made = mutate(source, {"copy": 1.0, "add": 1.0}, Random(seed))
        lines = made.source.splitlines() if made else source.splitlines()
        assert not {"c", "d"} & {node.id for node in ast.walk(ast.parse(lines[2].split("=")[1].strip())) if isinstance(node, ast.Name)}
        assert "d" not in {node.id for node in ast.walk(ast.parse(lines[3].split("=")[1].strip())) if isinstance(node, ast.Name)}


MARKED = """
def frozen(x):
    return x * 2.5 + 1.5


# EVOLVE-BLOCK-START
def free(x):
    return x * 3.5 + 4.5


# EVOLVE-BLOCK-END
TAIL = 5.5
"""


def test_only_what_lies_between_markers_is_edited() -> None:
    children = [mutate(MARKED, dict.fromkeys(OPERATORS, 1.0), Random(k), count=2) for k in range(60)]
    sources = {child.source for child in children if child}
    assert len(sources) > 10
    assert all(source.startswith(MARKED.partition("# EVOLVE")[0]) and source.endswith("TAIL = 5.5\n") for source in sources)
    other = MARKED.replace("2.5", "7.5").replace("x * 3.5", "x - 3.5")
    mixed = {crossover(MARKED, other, Random(k)) for k in range(60)} - {None}
    assert mixed
    assert not any("7.5" in str(source) for source in mixed)


def test_only_numbers_between_markers_are_tuned() -> None:
    assert [constant.value for constant in find_constants(MARKED)] == [3.5, 4.5]
