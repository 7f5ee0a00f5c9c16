"""Bundled task files, loaded from their paths, and their seeds as programs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from agentopt import Case, Score, Task
from agentopt.core.evaluation import Measured

TASKS = Path(__file__).resolve().parents[2] / "tasks"
FILES = ("online_bin_packing/task.py", "online_bin_packing/or3.py", "tsp_constructive/task.py", "circle_packing/task.py")


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


def scorer(file: str) -> Callable[[Case, Any], Score]:
    """``score`` with nothing measured."""
    return lambda case, output: task(file).functions["score"](case, output, Measured())


def mean_score(file: str, split: str, candidate: str = "") -> float:
    """The first objective of a candidate, the mean over a split."""
    subject, chosen, judge = program(file, candidate), cases(file)[split], scorer(file)
    (name,) = [objective.name for objective in task(file).objectives]
    return sum(judge(case, task(file).functions["run"](subject, case.input)).scores[name] for case in chosen) / len(chosen)


def readme(file: str) -> str:
    return (TASKS / file).with_name("README.md").read_text()
