"""Circle packing: 26 circles in the unit square, the sum of their radii as large as possible."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from agentopt import Case, Limits, Objective, Reject, Score, Task

CIRCLES = 26
# Disjoint circles cover at most the square: pi * sum(r^2) <= 1, and Cauchy-Schwarz gives sum(r) <= sqrt(n * sum(r^2)).
CEILING = math.sqrt(CIRCLES / math.pi)

Circle = tuple[Fraction, Fraction, Fraction]

task = Task(
    name="circle_packing",
    goal=(
        "Place 26 circles in the unit square such that they do not overlap and the sum of their radii is as large as possible. "
        "construct(n) returns centers (n, 2) and radii (n,) for any n; it is judged for n = 26. It may search: it has 20 seconds on "
        "one core, its imports included. numpy is there, scipy only where it is installed; there is no network. The judge computes "
        "exactly with the float64 values returned and grants no tolerance: two circles that overlap by 1e-17, or one that reaches as "
        "far out of the square, fail the program, so radii found with a tolerance have to be shrunk."
    ),
    parameters={"construct": "seed.py"},
    objectives=[Objective("sum_radii", "max", reference=2.63598308, floor=0.0, ceiling=CEILING)],
    cases={"train": [Case("square-26", {"n": CIRCLES})]},
    imports=("numpy",),
    limits=Limits(seconds=20),
    budget="2m",
)


@task.run
def run(program: Any, input: dict[str, Any]) -> dict[str, np.ndarray]:
    centers, radii = program.construct(input["n"])
    return {"centers": np.asarray(centers, dtype=np.float64), "radii": np.asarray(radii, dtype=np.float64)}


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    """Feasibility is decided in exact arithmetic on the returned numbers, without any tolerance."""
    n = case.input["n"]
    if not isinstance(output, dict) or set(output) != {"centers", "radii"}:
        raise Reject("construct must return centers and radii")
    centers = _array(output["centers"], (n, 2), "centers")
    radii = _array(output["radii"], (n,), "radii")
    circles = [(Fraction(x), Fraction(y), Fraction(r)) for (x, y), r in zip(centers.tolist(), radii.tolist(), strict=True)]
    for k, circle in enumerate(circles):
        _check_inside(k, circle)
    for (i, a), (j, b) in combinations(enumerate(circles), 2):
        if (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 < (a[2] + b[2]) ** 2:
            raise Reject(f"circles {i} and {j} overlap")
    return Score(sum_radii=float(sum(circle[2] for circle in circles)), feedback=_feedback(centers, radii))


def _array(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
        raise Reject(f"{name} must be an array of float64")
    if value.shape != shape:
        raise Reject(f"{name} has the shape {value.shape}; it must be {shape}")
    if not np.isfinite(value).all():
        raise Reject(f"{name} holds a number that is not finite")
    return value


def _check_inside(k: int, circle: Circle) -> None:
    x, y, r = circle
    if r < 0:
        raise Reject(f"circle {k} has a negative radius")
    if x < r or y < r or x + r > 1 or y + r > 1:
        raise Reject(f"circle {k} reaches out of the square")


def _feedback(centers: np.ndarray, radii: np.ndarray) -> str:
    gaps = np.sqrt(((centers[:, None] - centers[None]) ** 2).sum(axis=2)) - radii[:, None] - radii[None]
    np.fill_diagonal(gaps, np.inf)
    room = np.minimum(gaps.min(axis=1), np.minimum(centers, 1.0 - centers).min(axis=1) - radii)
    return (
        f"radii from {radii.min():.4f} to {radii.max():.4f}; {(room > 1e-6).sum()} circles touch nothing and could grow; "
        f"they cover {math.pi * (radii**2).sum():.0%} of the square"
    )
