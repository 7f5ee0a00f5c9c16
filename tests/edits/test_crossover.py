from __future__ import annotations

import ast
from random import Random

import pytest
from samples import PRIORITY, SAMPLES

from agentopt.core.normalise import normalise_python
from agentopt.edits.crossover import crossover
from agentopt.edits.source import survey

FIRST = "def f(x, y):\n    a = x + 1\n    return a * y\n\n\ndef g(x):\n    return x - 1\n"
SECOND = "def f(x, y):\n    b = x / y\n    if b > 3.5:\n        b = b ** 2\n    return b - 0.25\n\n\ndef g(x):\n    return x * 7\n"


def children(first: str, second: str, count: int = 60) -> list[str]:
    return [child for seed in range(count) if (child := crossover(first, second, Random(seed)))]


def test_children_hold_pieces_of_both() -> None:
    made = children(FIRST, SECOND)
    assert len(made) >= 30
    for child in made:
        compile(child, "<test>", "exec")
        assert normalise_python(child) != normalise_python(FIRST)
        assert not survey(ast.parse(child)).unbound
    text = "\n".join(made)
    assert all(piece in text for piece in ("x / y", "3.5", "x * 7", "a * y"))
    whole_body = SECOND.split("\n\n\n")[0]
    assert any(child.startswith(whole_body) for child in made), "a whole body moves"
    assert all(child.count("def ") == 2 for child in made)


def test_equal_generators_make_equal_children() -> None:
    assert [crossover(FIRST, SECOND, Random(seed)) for seed in range(10)] == [crossover(FIRST, SECOND, Random(seed)) for seed in range(10)]


def test_calls_that_are_not_arithmetic_stay_where_they_are() -> None:
    second = "def f(x, y):\n    open('x')\n    return steal(x) * 3.5\n"
    first = "def f(x, y):\n    return x * y\n"
    made = children(first, second)
    assert not any("open" in child or "steal" in child for child in made)
    assert any("3.5" in child for child in made)


def test_names_that_the_child_does_not_bind_stay_out() -> None:
    assert all(
        "np" not in child for child in children("def f(x):\n    return x * 2\n", "import numpy as np\ndef f(x):\n    return np.exp(x)\n")
    )
    assert any(
        "np.exp" in child
        for child in children("import numpy as np\ndef f(x):\n    return x * 2\n", "import numpy as np\ndef f(x):\n    return np.exp(x)\n")
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PRIORITY, PRIORITY.replace("def priority", "def other")),
        ("def f(:", FIRST),
        (FIRST, "\0"),
        ("x = []", "y = {}"),
        ("def f(x):\n    pass", "def f(x):\n    import os"),
        (FIRST, ""),
    ],
)
def test_nothing_fits(first: str, second: str) -> None:
    assert children(first, second, 5) == []


def test_children_are_not_too_large() -> None:
    assert all(survey(ast.parse(child)).size <= 30 for seed in range(40) if (child := crossover(FIRST, SECOND, Random(seed), max_nodes=30)))


@pytest.mark.parametrize("source", SAMPLES)
def test_samples_cross_with_their_own_mutants(source: str) -> None:
    from agentopt.edits.mutations import mutate

    mutant = mutate(source, {"perturb": 1.0, "operator": 1.0}, Random(0), 3)
    assert mutant is not None
    for child in children(source, mutant.source, 30):
        compile(child, "<test>", "exec")
