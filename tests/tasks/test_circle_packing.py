"""The circle packing task: the exact judge, the seed, and the figures of the README."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt import Reject
from tests.tasks import bundled

FILE = "circle_packing/task.py"
N = 26
Arrays = dict[str, np.ndarray]
SEED = bundled.names(bundled.TASKS / "circle_packing" / "seed.py")


def points_on_the_top() -> Arrays:
    """26 circles without size, side by side on the upper edge."""
    return {"centers": np.column_stack([np.arange(N) / 32, np.ones(N)]), "radii": np.zeros(N)}


def with_circles(*circles: tuple[float, float, float]) -> Arrays:
    """Circles (x, y, r) in the place of the first points."""
    output = points_on_the_top()
    for k, (x, y, r) in enumerate(circles):
        output["centers"][k] = x, y
        output["radii"][k] = r
    return output


def judged(output: Any) -> float:
    return bundled.scorer(FILE)(bundled.cases(FILE)["train"][0], output).scores["sum_radii"]


def up(value: float) -> float:
    return math.nextafter(value, 2.0)


def down(value: float) -> float:
    return math.nextafter(value, 0.0)


# --- the judge


@pytest.mark.parametrize(
    ("output", "total"),
    [
        (points_on_the_top(), 0.0),
        (with_circles((0.25, 0.25, 0.25), (0.75, 0.25, 0.25)), 0.5),
        (with_circles((0.25, 0.25, 0.125), (0.625, 0.75, 0.5 - 0.125 - 0.125)), 0.375),  # gap (0.375, 0.5): exactly 0.625 apart
        (with_circles((0.5, 0.25, 0.25), (0.5, 0.5, 0.0)), 0.25),  # a point on a circle
        (with_circles((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)), 0.0),
    ],
)
def test_circles_that_touch_are_fine(output: Arrays, total: float) -> None:
    assert judged(output) == total


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (with_circles((0.25, 0.25, 0.25), (0.75, 0.25, up(0.25))), "circle 1 reaches out"),
        (with_circles((0.25, 0.25, 0.25), (0.75, 0.3, up(0.25))), "circle 1 reaches out"),
        (with_circles((0.25, 0.25, 0.25), (down(0.75), 0.25, 0.25)), "circles 0 and 1 overlap"),
        (with_circles((0.25, 0.5, 0.25), (0.625, 0.5, up(0.125))), "circles 0 and 1 overlap"),
        (with_circles((0.5, 0.5, 0.25), (0.5, down(0.75), 0.0)), "circles 0 and 1 overlap"),
        (with_circles((0.5, 0.5, 0.25), (0.5, 0.5, 0.25)), "circles 0 and 1 overlap"),
        (with_circles((down(0.25), 0.25, 0.25)), "circle 0 reaches out"),
        (with_circles((0.25, down(0.25), 0.25)), "circle 0 reaches out"),
        (with_circles((up(0.75), 0.25, 0.25)), "circle 0 reaches out"),
        (with_circles((0.25, up(0.75), 0.25)), "circle 0 reaches out"),
        (with_circles((-5e-324, 0.5, 0.0)), "circle 0 reaches out"),
        (with_circles((1e308, 1e308, 0.0)), "circle 0 reaches out"),
        (with_circles((0.5, 0.5, -5e-324)), "circle 0 has a negative radius"),
        (with_circles((0.5, 0.5, -1e308)), "circle 0 has a negative radius"),
        (with_circles((0.5, 0.5, 0.6)), "circle 0 reaches out"),
        (with_circles((0.5, 0.5, math.nan)), "not finite"),
        (with_circles((0.5, math.nan, 0.1)), "not finite"),
        (with_circles((math.inf, 0.5, math.inf)), "not finite"),
        (with_circles((0.5, 0.5, math.inf)), "not finite"),
        (points_on_the_top() | {"radii": np.zeros(25)}, "shape"),
        (points_on_the_top() | {"radii": np.zeros(27)}, "shape"),
        (points_on_the_top() | {"radii": np.zeros((26, 1))}, "shape"),
        (points_on_the_top() | {"centers": np.zeros((2, 26))}, "shape"),
        (points_on_the_top() | {"centers": np.zeros((26, 3))}, "shape"),
        (points_on_the_top() | {"centers": np.zeros(52)}, "shape"),
        (points_on_the_top() | {"radii": np.zeros(26, dtype=np.float32)}, "float64"),
        (points_on_the_top() | {"radii": np.zeros(26, dtype=int)}, "float64"),
        (points_on_the_top() | {"radii": np.zeros(26, dtype=bool)}, "float64"),
        (points_on_the_top() | {"radii": np.zeros(26, dtype=complex)}, "float64"),
        (points_on_the_top() | {"radii": [0.0] * 26}, "float64"),
        (points_on_the_top() | {"radii": 0.0}, "float64"),
        (points_on_the_top() | {"sum_radii": 3.0}, "centers and radii"),
        ({"centers": np.zeros((26, 2))}, "centers and radii"),
        ([np.zeros((26, 2)), np.zeros(26)], "centers and radii"),
    ],
)
def test_a_false_packing_is_rejected(output: Any, why: str) -> None:
    with pytest.raises(Reject, match=why):
        judged(output)


def test_the_judge_sees_what_floating_point_does_not() -> None:
    output = with_circles((0.25, 0.25, 0.25), (0.25, 0.5, 2**-60))
    assert math.dist(*output["centers"][:2]) >= output["radii"][0] + output["radii"][1]  # 0.25 + 2**-60 is 0.25 in floats
    with pytest.raises(Reject, match="circles 0 and 1 overlap"):
        judged(output)


def test_the_sum_is_rounded_once() -> None:
    output = with_circles(*((0.1 * k + 0.05, 0.05, 2.0**-60) for k in range(9)), (0.5, 0.5, 0.25))
    assert judged(output) == 0.25 + 8 * 2.0**-60 + 2.0**-60


def test_no_packing_passes_the_ceiling() -> None:
    (objective,) = bundled.task(FILE).objectives
    assert objective.reference is not None
    assert objective.ceiling is not None
    assert objective.reference < objective.ceiling == pytest.approx(2.8768, abs=1e-4)


def test_feedback_tells_what_could_grow() -> None:
    found = bundled.scorer(FILE)(bundled.cases(FILE)["train"][0], with_circles((0.5, 0.5, 0.125)))
    assert "radii from 0.0000 to 0.1250; 1 circles touch nothing and could grow" in found.feedback


# --- the seed


def test_run_takes_lists_too() -> None:
    points = points_on_the_top()
    program = SimpleNamespace(construct=lambda n: (points["centers"].tolist(), points["radii"].tolist()))
    assert judged(bundled.task(FILE).functions["run"](program, {"n": N})) == 0.0


coordinates = st.one_of(st.floats(0.01, 0.99), st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.99]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=N, max_size=N), st.floats(0.01, 0.6))
def test_the_seeds_radii_never_overlap_wherever_the_centres_are(centers: list[tuple[float, float]], largest: float) -> None:
    places = np.array(centers)
    assert judged({"centers": places, "radii": SEED["fit"](places, largest)}) >= 0.0


@pytest.mark.parametrize("strength", [-0.1, 0.05, 0.4, 3.0])
def test_pushed_centres_stay_inside(strength: float) -> None:
    places = SEED["spread"](SEED["place"](N), 0.2, strength)
    assert (places >= 0.01).all()
    assert (places <= 0.99).all()
    assert judged({"centers": places, "radii": SEED["fit"](places, 0.5)}) > 0.0


def test_the_seed_makes_any_number_of_circles() -> None:
    for n in (1, 2, 9, 25, 26, 27, 40):
        centers, radii = SEED["construct"](n)
        assert centers.shape == (n, 2)
        assert radii.shape == (n,)


def test_the_seed_holds_no_list_of_coordinates() -> None:
    text = (bundled.TASKS / "circle_packing" / "seed.py").read_text()
    assert sum(character == "." for character in text if character.isascii()) < 120
    assert len([word for word in text.replace("(", " ").replace(",", " ").split() if word.replace(".", "").isdigit()]) < 40


# --- figures


def test_the_figures_of_the_readme_hold() -> None:
    assert bundled.mean_score(FILE, "train") == pytest.approx(0.959764, abs=5e-7)
    assert "0.959764" in bundled.readme(FILE)
    assert "2.63598308" in bundled.readme(FILE)
