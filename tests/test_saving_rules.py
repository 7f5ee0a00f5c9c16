"""Which rules a task, its settings and its archive give an evaluation; and a whole run of a task that says it is noisy."""

from __future__ import annotations

import random
from typing import Any

import pytest

import agentopt as ao
from agentopt import Case, Objective, Parameter, Task
from agentopt.assembly import Job, rules_of
from agentopt.core.errors import ConfigError, TaskError
from agentopt.engine.rules import Rules
from agentopt.settings import validate


def noisy_task(**changes: Any) -> Task:
    parts: dict[str, Any] = {"parameters": {"x": Parameter("x", "value", 0.0)}, "objectives": [Objective("score", "max")], "noisy": True}
    parts |= {"cases": {"train": [Case(f"c{n}", n) for n in range(8)]}, "repeats": 2}
    task = Task("noisy", "climb", **(parts | changes))

    @task.run
    def run(program: Any, input: Any) -> float:  # pyright: ignore[reportUnusedFunction]
        return program.x + random.gauss(0, 1)

    @task.score
    def score(case: Any, output: Any, measured: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        return ao.Score(score=output + case.input)

    return task


def rules(task: Task | None = None, **settings: Any) -> Rules:
    archive = settings.pop("archive", "pareto")
    return rules_of(task or noisy_task(), validate({"evaluation": settings, "archive": archive}))


def test_a_task_that_says_nothing_is_evaluated_fully():
    assert rules(noisy_task(noisy=False)) == Rules()


def test_a_noisy_task_has_races_and_duels_unless_told_otherwise():
    assert rules() == Rules(race=True, duel=True)
    assert rules(race=False, duel=False) == Rules()
    two = noisy_task(objectives=[Objective("score", "max"), Objective("other", "min")])
    assert rules(two) == Rules(race=True), "a duel is about one objective"
    assert rules(noisy_task(aggregate=lambda cases: cases[0])) == Rules()


def test_every_option_reaches_the_rules():
    given = {"cascade": True, "race": True, "duel": True, "same_output": True, "first_stage": 6, "risk": 0.2}
    given |= {"false_kept": 0.01, "duel_repeats": 3, "duel_reuse": 7}
    assert rules(noisy_task(noisy=False), **given) == Rules(**given)


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"aggregate": lambda cases: cases[0]}, {"race": True}, "its own aggregate"),
        ({"aggregate": lambda cases: cases[0]}, {"duel": True}, "its own aggregate"),
        ({"objectives": [Objective("score"), Objective("other")]}, {"duel": True}, "one objective"),
        ({}, {"same_output": True}, "without noise"),
        ({"noisy": False, "objectives": [Objective("s", "min", source="outside")]}, {"same_output": True}, "without noise and times"),
    ],
)
def test_rules_that_cannot_hold_are_refused(changes: dict[str, Any], settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        rules(noisy_task(**changes), **settings)


@pytest.mark.parametrize("bad", [{"first_stage": 1}, {"risk": 0.5}, {"false_kept": 0.0}, {"duel_repeats": 0}, {"duel_reuse": 0}])
def test_settings_out_of_range_are_refused(bad: dict[str, Any]):
    with pytest.raises(ConfigError, match=f"evaluation.{next(iter(bad))}"):
        rules(**bad)


def test_an_unknown_setting_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'evaluation.racing' is unknown; the keys are: cascade, duel, duel_repeats"):
        rules(racing=True)


def test_bad_words_about_noise_and_cost_are_refused():
    with pytest.raises(TaskError, match="noisy is 1; it is True or False"):
        noisy_task(noisy=1).check()
    for cost in (0, True, float("inf"), "much"):
        with pytest.raises(TaskError, match="case 'a' has cost"):
            noisy_task(cases={"train": [Case("a", 1, cost=cost)]}).make_cases()


def test_a_budget_that_cannot_fit_a_duel_is_refused():
    job = Job.of(noisy_task(), validate({"budget": "100rollouts", "executor": "inline"}))
    with pytest.raises(ConfigError, match="at least 320rollouts"):
        job.check_budget()


def test_duels_that_nobody_could_win_are_refused():
    job = Job.of(noisy_task(cases={"train": [Case("one", 1)]}), validate({"executor": "inline", "evaluation": {"duel_repeats": 6}}))
    with pytest.raises(ConfigError, match="duel_repeats: 6 pairs of rollouts can never prove a lead; give more"):
        job.check_budget()


class Steps:
    """Children of the best: most are worse."""

    def __init__(self, context: Any) -> None:
        self.made = 0

    async def propose(self, view: Any, n: int, rng: Any) -> Any:
        self.made += 1
        best = view.front()[0]
        return [
            ao.Proposal({"x": best.candidate.values["x"] + rng.choice([-3.0, -3.0, 2.5]) + 1e-9 * self.made}, (best.id,), "steps", "step")
        ]

    def observe(self, entry: Any, admission: Any) -> None: ...


def test_a_noisy_run_from_outside():
    found = ao.evolve(noisy_task(), budget="30evals", executor="inline", optimizer=Steps, workers=1, out=None)
    assert found.best
    truth = found.best.values["x"] + 3.5
    assert truth > 4
    assert abs(found.best.scores["score"] - truth) < 1.2
    assert found.summary["saved"]["raced"] > 100
    assert found.summary["duels"]["won"] >= 1
    assert found.summary["duels"]["held"] >= found.summary["duels"]["won"]
    assert found.summary["rollout_seconds"]["wall"] >= 0
