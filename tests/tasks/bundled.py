"""Bundled task files, loaded from their paths, and their seeds as programs."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from types import ModuleType, SimpleNamespace
from typing import Any

from agentopt import Case, Score, Task
from agentopt.core.evaluation import Measured

TASKS = Path(__file__).resolve().parents[2] / "tasks"
FILES = (
    "online_bin_packing/task.py",
    "online_bin_packing/or3.py",
    "tsp_constructive/task.py",
    "circle_packing/task.py",
    "heilbronn/task.py",
    "online_scheduling/task.py",
    "signal_filter/task.py",
    "sorting_network/task.py",
)


@cache
def module(file: str) -> ModuleType:
    path = TASKS / file
    spec = importlib.util.spec_from_file_location("bundled_" + file.replace("/", "_").removesuffix(".py"), path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(path.parent))
    return loaded


def task(file: str) -> Task:
    return module(file).task


@cache
def cases(file: str) -> Mapping[str, tuple[Case, ...]]:
    return task(file).make_cases()


def names(path: Path) -> dict[str, Any]:
    """What a candidate's file defines."""
    scope: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return scope


def program(file: str, candidate: str = "") -> SimpleNamespace:
    """What ``run`` gets for a candidate's file beside the task; by default the seed."""
    ((name, seed),) = task(file).parameters.items()
    return SimpleNamespace(**{name: names((TASKS / file).parent / (candidate or seed))[name]})


def scorer(file: str, rng_seed: int = 0) -> Callable[[Case, Any], Score]:
    """``score`` with nothing measured."""
    return lambda case, output: task(file).functions["score"](case, output, Measured(rng_seed=rng_seed))


def solve(file: str, subject: Any, case: Case, rng_seed: int = 0) -> Any:
    """What ``run`` returns, with random numbers as in a rollout of this seed."""
    random.seed(rng_seed)
    return task(file).functions["run"](subject, case.input)


def mean_score(file: str, split: str, candidate: str = "", rng_seeds: Sequence[int] = (0,), objective: int = 0) -> float:
    """One objective of a candidate, by default the first, the mean over a split."""
    subject, chosen = program(file, candidate), cases(file)[split]
    name = task(file).objectives[objective].name
    return fmean(scorer(file, seed)(case, solve(file, subject, case, seed)).scores[name] for seed in rng_seeds for case in chosen)


def readme(file: str) -> str:
    return (TASKS / file).with_name("README.md").read_text()
