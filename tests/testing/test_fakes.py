from __future__ import annotations

import subprocess
import sys
from random import Random
from types import SimpleNamespace

import pytest

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Failure
from agentopt.core.protocols import View
from agentopt.core.task import Objective
from agentopt.testing import FakeView, make_entry, make_task, task_card

DISTANCE = {"distance": 1.0}


def test_a_task_can_be_solved_by_its_own_functions() -> None:
    task = make_task()
    task.check()
    case = task.make_cases()["train"][0]
    program = SimpleNamespace(start={"x": 1.0, "y": 0.0}, shrink=lambda point: point)
    output = task.functions["run"](program, case.input)
    assert output == [1.25, 0.5]
    score = task.functions["score"](case, output, None)
    assert score.scores == {"distance": 1.8125}
    assert "1.25" in score.feedback


@pytest.mark.parametrize(("code", "config", "expected"), [(True, False, [0.125, 0.25]), (False, True, [1.25, 0.5])])
def test_a_task_with_one_kind_of_parameter(code: bool, config: bool, expected: list[float]) -> None:
    task = make_task(code=code, config=config, objectives=[Objective("distance", "min", ceiling=99.0)])
    assert [parameter.kind for parameter in task.resolved.values()] == ["code" if code else "config"]
    assert task.objectives[0].worst == 99.0
    program = SimpleNamespace(start={"x": 1.0, "y": 0.0}, shrink=lambda point: [value / 2 for value in point])
    assert task.functions["run"](program, [0.25, 0.5]) == expected


def test_the_seed_code_runs() -> None:
    space: dict[str, object] = {}
    exec(make_task().seed_values["shrink"], space)
    assert space["shrink"]([1.75, 0.5]) == [1.25, 0.5]


def test_a_task_card_shows_train_inputs_only() -> None:
    card = task_card(make_task())
    assert card.inputs == ([0.25, 0.5], [-0.5, 1.0])
    assert (card.name, set(card.parameters)) == ("sphere", {"start", "shrink"})


def test_entries() -> None:
    good = make_entry("a", DISTANCE, validation={"distance": 2.0})
    assert (good.id, good.scores, good.confirmed) == ("a", DISTANCE, {"distance": 2.0})
    failed = make_entry(Candidate("b", {"x": 1}), failure="timeout")
    assert (failed.scores, failed.failure) == ({}, Failure("timeout", "made to fail"))
    assert failed.candidate.values == {"x": 1}
    assert make_entry("c").evaluation is None


def test_view() -> None:
    card = task_card(make_task())
    entries = [make_entry("a", {"distance": 2.0}), make_entry("b", DISTANCE), make_entry("c", failure="crash")]
    view = FakeView(card, entries, [Candidate("d", {})], {"evals": 3.0})
    assert isinstance(view, View)
    assert (view.task, view.budget_left, [candidate.id for candidate in view.pending]) == (card, {"evals": 3.0}, ["d"])
    assert [entry.id for entry in view.front()] == ["b"]
    assert {entry.id for entry in view.sample(50, Random(0))} == {"a", "b"}
    assert view.entry("c") is entries[2]
    assert view.entry("d") is None
    empty = FakeView(card, [])
    assert (list(empty.front()), list(empty.sample(2, Random(0))), empty.budget_left) == ([], [], {"evals": 1000.0})


def test_a_front_of_an_objective_to_maximise() -> None:
    card = task_card(make_task(objectives=[Objective("distance", "max")]))
    assert FakeView(card, [make_entry("a", {"distance": 2.0}), make_entry("b", DISTANCE)]).front()[0].id == "a"


def test_the_room_does_not_import_pytest() -> None:
    script = "import sys, agentopt.testing; print(sorted({'pytest', 'numpy', 'hypothesis'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
