"""A toy: find the law behind noisy points. The seed is a line; the law is not among what a search is told."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from agentopt import Case, Limits, Objective, Reject, Score, Task

POINTS = 60
NOISE = 0.02
REACH = {"train": 2.0, "test": 2.5}
"""Inputs lie between minus and plus this: on test a little further out than on train."""

SEED = """\
import numpy as np


def law(x, y):
    \"\"\"The value at each point; x and y are arrays.\"\"\"
    a = 0.5 * x
    b = 0.5 * y
    return a + b + 0.1
"""


def truth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 1.3 * x * np.abs(y) + 0.7 * y**2 - 0.9 * np.tanh(2.0 * x)


def cases(split: str, rng: Random) -> list[Case] | None:
    if split not in REACH:
        return None
    generator = np.random.default_rng(rng.getrandbits(64))
    made: list[Case] = []
    for k in range(8):
        points = generator.uniform(-REACH[split], REACH[split], (2, POINTS))
        values = truth(*points) + NOISE * generator.normal(size=POINTS)
        made.append(Case(f"{split}-{k}", {"points": points}, values))
    return made


task = Task(
    name="symbolic",
    goal="Write the law that gives the values at the points: the root of the mean squared error, in standard deviations, is to be small.",
    parameters={"law": SEED},
    objectives=[Objective("error", "min", floor=0.0)],
    cases=cases,
    imports=("numpy",),
    limits=Limits(seconds=5),
)


@task.run
def run(program: Any, input: dict[str, Any]) -> np.ndarray:
    x, y = input["points"]
    return np.broadcast_to(np.asarray(program.law(x, y), dtype=np.float64), x.shape).copy()


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    if not isinstance(output, np.ndarray) or output.shape != case.expected.shape or not np.isfinite(output).all():
        raise Reject("the law must give one finite number per point")
    error = np.sqrt(np.mean((output - case.expected) ** 2)) / case.expected.std()
    return Score(error=float(min(error, 1e6)))
