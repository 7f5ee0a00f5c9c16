"""Online bin packing on FunSearch's Weibull distribution: items of 1 to 100, bins of 100."""

from __future__ import annotations

from random import Random

import numpy as np
from packing_rules import run, score

from agentopt import Case, Limits, Objective, Task

CAPACITY = 100
SIZES = {"train": (2, 1500), "validation": (4, 5000), "test": (12, 5000)}
"""Instances and items per instance."""


def cases(split: str, rng: Random) -> list[Case]:
    generator = np.random.default_rng(rng.getrandbits(64))
    instances, length = SIZES[split]
    return [Case(f"{split}-{k}", {"items": weibull(generator, length), "capacity": CAPACITY}) for k in range(instances)]


def weibull(generator: np.random.Generator, length: int) -> np.ndarray:
    """Shape 3, scale 45, cut down to whole numbers; int64."""
    return np.clip(45.0 * generator.weibull(3.0, length), 1, CAPACITY).astype(np.int64)


task = Task(
    name="online_bin_packing",
    goal="Items arrive one at a time and must go into a bin at once. Give each bin a priority such that few bins are used in the end.",
    parameters={"priority": "seed.py"},
    objectives=[Objective("excess", "min", reference=0.0068, floor=0.0)],
    cases=cases,
    imports=("numpy",),
    limits=Limits(seconds=20),
    budget="75s",
)
task.run(run)
task.score(score)
