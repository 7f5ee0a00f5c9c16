"""A search over a whole program, from the task to the result."""

from __future__ import annotations

from typing import Any

import pytest

import agentopt
from agentopt.core.task import Case, Objective, Parameter, Score, Task

PROGRAM = """
import json, sys
x = json.load(open("settings.json"))["x"]
print(sum((x - float(word)) ** 2 for word in sys.stdin.read().split()))
"""


def settings_task() -> Task:
    """A program reads a number from its settings; 3 is the best there is."""
    task = Task(
        "settings",
        parameters={
            "main": Parameter("main", "code", PROGRAM, trainable=False),
            "settings": Parameter("settings", "config", {"x": 9.0}, space={"x": (0.0, 10.0)}),
        },
        objectives=[Objective("error", "min")],
        cases={"train": [Case("a", "2 4")], "test": [Case("b", "1 3 5")]},
        command=["python3", "main.py"],
    )

    @task.score
    def score(case: Case, output: Any, measured: Any) -> Score:
        return Score(error=float(output))

    return task


@pytest.mark.usefixtures("level_3")
def test_a_search_improves_what_a_program_reads():
    result = agentopt.evolve(settings_task(), budget="25evals", out=None)
    assert result.seed.scores["error"] == (9 - 2) ** 2 + (9 - 4) ** 2
    assert result.best.scores["error"] < result.seed.scores["error"] / 4
    assert abs(result.best.values["settings"]["x"] - 3) < 3
    assert result.sandbox.startswith("L3/")


@pytest.mark.usefixtures("level_3")
def test_a_task_without_anything_to_edit_says_so():
    task = settings_task()
    task.parameters = {"main": Parameter("main", "code", "print(1)", language="other", path="main.py")}
    result = agentopt.evolve(task, budget="5evals", out=None)
    assert result.status == "failed"
    assert "mutate can edit Python code, configs and values, and the task has no trainable one" in result.why
