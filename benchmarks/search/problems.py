"""The tasks that searches are compared on: bundled ones with few and short train cases, so that an evaluation takes milliseconds.

Nothing else of a task changes: seed, ``run``, ``score`` and the way its cases are drawn are its own. Held-out cases are drawn as the
task draws its test split, or are other sizes of the problem where it has one instance only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentopt import Case, Task
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
    return Problem(name, replace(task, limits=replace(task.limits, seconds=seconds)), tuple(train), tuple(held_out))


def _first(train: int, held_out: int, shorter: Callable[[Any], Any] = lambda given: given) -> Cut:
    """So many cases of train and of test, their inputs made ``shorter``."""

    def cut(cases: Mapping[str, tuple[Case, ...]]) -> tuple[list[Case], list[Case]]:
        kept = [replace(case, input=shorter(case.input)) for case in cases["train"][:train]]
        return kept, list(cases.get("test", ())[:held_out])

    return cut


def _other_sizes(*sizes: int) -> Cut:
    def cut(cases: Mapping[str, tuple[Case, ...]]) -> tuple[list[Case], list[Case]]:
        (case,) = cases["train"]
        return [case], [Case(f"size-{n}", {"n": n}) for n in sizes]

    return cut


PROBLEMS: Mapping[str, tuple[str | Path, float, Cut]] = {
    "symbolic": (HERE / "symbolic.py", 2.0, _first(3, 8)),
    "tsp_constructive": ("tsp_constructive", 2.0, _first(3, 4, lambda given: {"points": given["points"][:2]})),
    "circle_packing": ("circle_packing", 2.0, _other_sizes(17, 22)),
    "online_bin_packing": ("online_bin_packing", 2.0, _first(1, 2)),
}
"""name -> where the task is, seconds that a candidate has per case, and which cases are taken."""
