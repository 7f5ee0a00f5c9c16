"""The Heilbronn task: the exact judge, the seed, known points, and the figures of the README."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agentopt import Case, Reject
from tests.tasks import bundled

FILE = "heilbronn/task.py"
BEST: dict[int, float] = bundled.module(FILE).BEST
SEED = bundled.names(bundled.TASKS / "heilbronn" / "seed.py")
CORNERS = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]


def judged(points: Any, n: int = 6) -> float:
    """The smallest area."""
    return bundled.scorer(FILE)(Case("case", {"n": n}), points).scores["share"] * BEST[n]


def with_points(*changed: tuple[int, float, float]) -> np.ndarray:
    """The best six points, some of them elsewhere."""
    points = np.array([*CORNERS, (0.25, 0.5), (0.75, 0.5)])
    for k, x, y in changed:
        points[k] = x, y
    return points


# --- the judge


def test_the_smallest_triangle_counts() -> None:
    assert judged(with_points()) == 0.125
    assert judged(with_points((5, 0.625, 0.5))) == 0.0625  # with two corners of a diagonal
    assert judged(with_points((5, 0.25, 0.5))) == 0.0  # one point twice
    assert judged(with_points((4, 0.5, 0.5))) == 0.0  # three on a diagonal


def test_area_is_decided_in_exact_arithmetic() -> None:
    off = with_points((0, 0.5, 0.5), (1, 1.0, 1.0), (2, 0.25, math.nextafter(0.25, 1.0)), (3, 0.0, 1.0), (4, 0.0, 0.5), (5, 1.0, 0.25))
    assert judged(off) == 2.0**-56


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (with_points((3, 1.0, math.nextafter(1.0, 2.0))), "point 3 lies at .* outside of the square"),
        (with_points((2, -5e-324, 0.5)), "point 2 lies at"),
        (with_points((2, 1e308, 0.5)), "point 2 lies at"),
        (with_points((0, math.nan, 0.5)), "not finite"),
        (with_points((0, 0.5, math.inf)), "not finite"),
        (with_points((0, -math.inf, 0.5)), "not finite"),
        (with_points()[:5], "shape"),
        (np.concatenate([with_points(), with_points()]), "shape"),
        (with_points().T, "shape"),
        (with_points().ravel(), "shape"),
        (with_points()[None], "shape"),
        (np.zeros((6, 3)), "shape"),
        (with_points().astype(np.float32), "float64"),
        (np.zeros((6, 2), dtype=int), "float64"),
        (np.zeros((6, 2), dtype=bool), "float64"),
        (np.zeros((6, 2), dtype=complex), "float64"),
        (with_points().tolist(), "float64"),
        ({"points": with_points()}, "float64"),
        (0.125, "float64"),
    ],
)
def test_false_points_are_rejected(output: Any, why: str) -> None:
    with pytest.raises(Reject, match=why):
        judged(output)


def test_feedback_names_the_smallest_triangle() -> None:
    found = bundled.scorer(FILE)(Case("case", {"n": 6}), with_points((5, 0.625, 0.5)))
    assert "n=6: smallest area 0.062500 (best known 0.125000), of the points" in found.feedback
    assert "of 20 triangles" in found.feedback


def test_run_takes_lists_too() -> None:
    program = SimpleNamespace(construct=lambda n: with_points().tolist())
    assert judged(bundled.task(FILE).functions["run"](program, {"n": 6})) == 0.125


# --- known points and the seed


@pytest.mark.parametrize("n", [6, 7, 8, 12])
def test_known_points_reach_the_best_known_area(n: int) -> None:
    assert judged(bundled.program(FILE, "known/points.py").construct(n), n) == pytest.approx(BEST[n], rel=1e-8)


def test_best_known_areas_shrink_with_n() -> None:
    assert list(BEST) == list(range(6, 17))
    assert sorted(BEST.values(), reverse=True) == list(BEST.values())
    assert {case.input["n"] for members in bundled.cases(FILE).values() for case in members} == set(BEST)


def test_the_seed_is_erdos_points() -> None:
    for n in BEST:
        assert judged(SEED["construct"](n), n) == pytest.approx(SEED["smallest"](SEED["parabola"](n)), rel=1e-9)
        assert judged(SEED["construct"](n), n) > 0


def test_a_step_is_all_the_seed_lacks() -> None:
    for n in (7, 10):
        points = SEED["climb"](SEED["parabola"](n), 600, 0.1)
        assert judged(points, n) > 1.5 * judged(SEED["construct"](n), n)


# --- figures


@pytest.mark.parametrize(("split", "share"), [("train", 0.1177), ("validation", 0.1020), ("test", 0.1016)])
def test_the_figures_of_the_readme_hold(split: str, share: float) -> None:
    assert bundled.mean_score(FILE, split) == pytest.approx(share, abs=5e-5)
    assert f"{share:.4f}" in bundled.readme(FILE)
