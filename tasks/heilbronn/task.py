"""Heilbronn's problem: n points in the unit square, the smallest triangle among them as large as possible."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np

from agentopt import Case, Limits, Objective, Reject, Score, Task

BEST = {
    6: 1 / 8,
    7: 0.0838590090,
    8: (sqrt(13) - 1) / 36,
    9: (9 * sqrt(65) - 55) / 320,
    10: 0.046537,
    11: 1 / 27,
    12: 0.0325988587,
    13: 0.0270,
    14: 0.0243,
    15: 0.0211,
    16: 7 / 341,
}
"""Largest smallest area known by n: see the README."""
SPLITS = {"train": (7, 9, 10, 12), "validation": (8, 11), "test": (6, 13, 14, 15, 16)}

task = Task(
    name="heilbronn",
    goal=(
        "construct(n) places n points in the unit square such that the smallest of all triangles with corners among them is as large as "
        "possible. A point outside of the square, by however little, is rejected. It is tried with many n from 6 to 16, also with n that "
        "are not shown, and has 2 seconds for each; you may import numpy and the standard library."
    ),
    parameters={"construct": "seed.py"},
    objectives=[Objective("share", "max", reference=1.0, floor=0.0)],
    cases={split: [Case(f"square-{n}", {"n": n}) for n in members] for split, members in SPLITS.items()},
    imports=("numpy",),
    limits=Limits(seconds=2),
    on_case_failure="worst",
    budget="75s",
)


@task.run
def run(program: Any, input: dict[str, Any]) -> np.ndarray:
    return np.asarray(program.construct(input["n"]), dtype=np.float64)


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    """The smallest area is found in exact arithmetic on the returned numbers, and rounded once."""
    n = case.input["n"]
    points = _checked(output, n)
    corners = exact(points)
    areas = {corner: abs(_doubled(*(corners[k] for k in corner))) for corner in combinations(range(n), 3)}
    smallest = min(areas, key=lambda corner: areas[corner])
    least = areas[smallest] / 2
    close = sum(area <= 2 * least * Fraction(11, 10) for area in areas.values())
    inner = int(((points > 0.02) & (points < 0.98)).all(axis=1).sum())
    return Score(
        share=float(least) / BEST[n],
        feedback=(
            f"n={n}: smallest area {float(least):.6f} (best known {BEST[n]:.6f}), of the points {', '.join(map(str, smallest))}; "
            f"{close} of {len(areas)} triangles are less than 10 % larger; {n - inner} points lie within 0.02 of a side"
        ),
    )


def exact(points: np.ndarray) -> list[tuple[Fraction, Fraction]]:
    return [(Fraction(x), Fraction(y)) for x, y in points.tolist()]


def _doubled(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction], c: tuple[Fraction, Fraction]) -> Fraction:
    """Twice the signed area."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])


def _checked(output: Any, n: int) -> np.ndarray:
    if not isinstance(output, np.ndarray) or output.dtype != np.float64:
        raise Reject("the points must be an array of float64")
    if output.shape != (n, 2):
        raise Reject(f"the points have the shape {output.shape}; it must be {(n, 2)}")
    if not np.isfinite(output).all():
        raise Reject("the points hold a number that is not finite")
    outside = ((output < 0) | (output > 1)).any(axis=1)
    if outside.any():
        k = int(outside.argmax())
        raise Reject(f"point {k} lies at {tuple(output[k].tolist())}, outside of the square from 0 to 1")
    return output
