"""The tasks that searches are compared on: bundled ones with few and short train cases, so that an evaluation takes milliseconds.

Seed, ``run``, ``score`` and the way its cases are drawn are the task's own. So that an evaluation is the same to every search, the first
objective alone counts, each case is run once, and a program that fails on one case fails. Held-out cases are those of the test split, or
other sizes of the problem where it has one instance only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentopt import Case, Score, Task
from agentopt.core.task import Parameter
from agentopt.loading import load_task

__all__ = ["PROBLEMS", "Problem", "load"]

HERE = Path(__file__).resolve().parent
Cut = Callable[[Mapping[str, tuple[Case, ...]]], tuple[list[Case], list[Case]]]


@dataclass(frozen=True)
class Problem:
    """A task with one code parameter and one objective, the cases that are searched on and those that are held out."""

    name: str
    task: Task
    train: tuple[Case, ...]
    held_out: tuple[Case, ...]

    @property
    def parameter(self) -> Parameter:
        (parameter,) = (parameter for parameter in self.task.resolved.values() if parameter.trainable)
        return parameter

    @property
    def seed(self) -> str:
        return self.parameter.initial

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is."""
        return 1 if self.task.objectives[0].direction == "max" else -1

    def searched(self) -> Task:
        """The task with its train cases only: what is given to our own searches."""
        return replace(self.task, cases={"train": list(self.train)})


def load(name: str) -> Problem:
    """The problem called ``name``; KeyError if there is none."""
    source, seconds, cut = PROBLEMS[name]
    task = load_task(source)
    train, held_out = cut(task.make_cases())
    plain = replace(
        task,
        objectives=task.objectives[:1],
        functions={**task.functions, "score": _only(task.objectives[0].name, task.functions["score"])},
        limits=replace(task.limits, seconds=seconds),
        repeats=1,
        on_case_failure="fail",
    )
    return Problem(name, plain, tuple(train), tuple(held_out))


def _only(objective: str, score: Callable[..., Any]) -> Callable[..., Any]:
    """``score`` without the other objectives."""

    def judged(case: Case, output: Any, measured: Any) -> Score:
        found = score(case, output, measured)
        return Score(feedback=found.feedback, measures=found.measures, **{objective: found.scores[objective]})

    return judged


def _first(train: int, held_out: int, shorter: Callable[[Case], Case] = lambda case: case) -> Cut:
    """So many cases of train, made ``shorter``, and of test, as they are."""

    def cut(cases: Mapping[str, tuple[Case, ...]]) -> tuple[list[Case], list[Case]]:
        return [shorter(case) for case in cases["train"][:train]], list(cases.get("test", ())[:held_out])

    return cut


def _other_sizes(*sizes: int) -> Cut:
    def cut(cases: Mapping[str, tuple[Case, ...]]) -> tuple[list[Case], list[Case]]:
        (case,) = cases["train"]
        return [case], [Case(f"size-{n}", {"n": n}) for n in sizes]

    return cut


def _two_tours(case: Case) -> Case:
    return replace(case, input={"points": case.input["points"][:2]})


def _half_a_signal(case: Case) -> Case:
    return replace(case, input={"signal": case.input["signal"][:200]}, expected=case.expected[:200])


PROBLEMS: Mapping[str, tuple[str | Path, float, Cut]] = {
    "symbolic": (HERE / "symbolic.py", 2.0, _first(3, 8)),
    "tsp_constructive": ("tsp_constructive", 2.0, _first(3, 4, _two_tours)),
    "circle_packing": ("circle_packing", 2.0, _other_sizes(17, 22)),
    "heilbronn": ("heilbronn", 2.0, _first(2, 5)),
    "online_scheduling": ("online_scheduling", 2.0, _first(2, 8)),
    "signal_filter": ("signal_filter", 2.0, _first(2, 8, _half_a_signal)),
    "sorting_network": ("sorting_network", 2.0, _first(6, 3)),
    "online_bin_packing": ("online_bin_packing", 2.0, _first(1, 2)),
}
"""name -> where the task is, seconds that a candidate has per case, and which cases are taken."""
