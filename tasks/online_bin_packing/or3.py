"""Online bin packing on instances like OR-Library's u500 (called OR3 by FunSearch): 500 items of 20 to 100, bins of 150."""

from __future__ import annotations

from random import Random

import numpy as np
from packing_rules import run, score

from agentopt import Case, Limits, Objective, Task

CAPACITY = 150
ITEMS = 500
INSTANCES = {"train": 8, "validation": 12, "test": 20}


def cases(split: str, rng: Random) -> list[Case]:
    generator = np.random.default_rng(rng.getrandbits(64))
    return [Case(f"{split}-{k}", {"items": generator.integers(20, 101, ITEMS), "capacity": CAPACITY}) for k in range(INSTANCES[split])]


task = Task(
    name="online_bin_packing_or3",
    goal="Items arrive one at a time and must go into a bin at once. Give each bin a priority such that few bins are used in the end.",
    parameters={"priority": "seed.py"},
    objectives=[Objective("excess", "min", reference=0.0311, floor=0.0)],
    cases=cases,
    imports=("numpy",),
    limits=Limits(seconds=20),
    budget="75s",
)
task.run(run)
task.score(score)
