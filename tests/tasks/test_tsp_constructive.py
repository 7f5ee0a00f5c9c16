"""The travelling salesman task: its instances, the construction loop, the judge, and the figures of the README."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agentopt import Case, Reject
from tests.tasks import bundled

FILE = "tsp_constructive/task.py"


def tours(select: Any, points: Any) -> Any:
    return bundled.task(FILE).functions["run"](SimpleNamespace(select_next_node=select), {"points": np.array([points], dtype=float)})


def nearest(current: int, destination: int, unvisited: np.ndarray, distances: np.ndarray) -> int:
    return min(unvisited.tolist(), key=lambda node: distances[current, node])


SQUARE = [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)]


# --- instances


def test_instances_are_as_described() -> None:
    for split, (count, instances) in {"train": (8, 8), "validation": (8, 16), "test": (16, 16)}.items():
        points = [case.input["points"] for case in bundled.cases(FILE)[split]]
        assert [array.shape for array in points] == [(instances, 50, 2)] * count
        assert all(array.dtype == np.float64 for array in points)
    every = np.concatenate([case.input["points"] for case in bundled.cases(FILE)["test"]]).reshape(-1, 2)
    assert 0 <= every.min() < 0.01 < 0.99 < every.max() <= 1
    assert every.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.02)


def test_no_single_tour_problem_is_shared() -> None:
    problems = [points.tobytes() for members in bundled.cases(FILE).values() for case in members for points in case.input["points"]]
    assert len(problems) == len(set(problems)) == 64 + 128 + 256


# --- construction


def test_the_seed_is_nearest_neighbour() -> None:
    points = bundled.cases(FILE)["validation"][0].input["points"]
    found = bundled.task(FILE).functions["run"](bundled.program(FILE), {"points": points})
    assert found.tolist() == [tours(nearest, one)[0].tolist() for one in points]


def test_what_a_candidate_is_told() -> None:
    seen: list[tuple[int, int, list[int]]] = []

    def select(current: int, destination: int, unvisited: np.ndarray, distances: np.ndarray) -> int:
        seen.append((current, destination, unvisited.tolist()))
        assert distances[0].tolist() == pytest.approx([0.0, 2**0.5, 1.0, 1.0])
        return int(unvisited[-1])

    assert tours(select, SQUARE).tolist() == [[0, 3, 2, 1]]
    assert seen == [(0, 0, [1, 2, 3]), (3, 0, [1, 2]), (2, 0, [1])]


def test_a_candidate_cannot_change_the_problem() -> None:
    def forgets(current: int, destination: int, unvisited: np.ndarray, distances: np.ndarray) -> int:
        chosen = int(unvisited[0])
        unvisited[:] = 0
        return chosen

    def shortens(current: int, destination: int, unvisited: np.ndarray, distances: np.ndarray) -> int:
        distances[:] = 0.0
        return int(unvisited[0])

    assert tours(forgets, SQUARE).tolist() == [[0, 1, 2, 3]]
    with pytest.raises(ValueError, match="read-only"):
        tours(shortens, SQUARE)


@pytest.mark.parametrize(("node", "error"), [(0, ValueError), (4, ValueError), (-1, ValueError), (1.0, TypeError), (None, TypeError)])
def test_a_node_that_cannot_be_visited_is_an_error(node: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        tours(lambda current, destination, unvisited, distances: node, SQUARE)


# --- the judge


@pytest.fixture
def square() -> Case:
    return Case("square", {"points": np.array([SQUARE, SQUARE])})


def test_tours_are_scored_by_their_length(square: Case) -> None:
    score = bundled.scorer(FILE)
    assert score(square, np.array([[0, 2, 1, 3], [3, 0, 2, 1]])).scores == {"length": pytest.approx(4.0)}
    assert score(square, np.array([[0, 1, 2, 3], [0, 2, 1, 3]], dtype=np.uint8)).scores == {"length": pytest.approx(3.0 + 2**0.5)}
    assert "tours from 4.000 to 4.828" in score(square, np.array([[0, 1, 2, 3], [0, 2, 1, 3]])).feedback


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (np.array([[0, 1, 2, 3], [0, 1, 2, 2]]), "tour 1 does not visit every node exactly once"),
        (np.array([[0, 1, 2, -1], [0, 1, 2, 3]]), "tour 0"),
        (np.array([[0, 1, 2, 4], [0, 1, 2, 3]]), "tour 0"),
        (np.array([[0, 1, 2, 2**63 - 1], [0, 1, 2, 3]]), "tour 0"),
        (np.array([[0, 1, 2, 2**64 - 1], [0, 1, 2, 3]], dtype=np.uint64), "tour 0"),
        (np.array([[0, 1, 2, 3]]), "shape"),
        (np.array([[0, 1, 2], [0, 1, 2]]), "shape"),
        (np.array([0, 1, 2, 3]), "shape"),
        (np.array([[[0, 1, 2, 3], [0, 1, 2, 3]]]), "shape"),
        (np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, np.nan]]), "whole numbers"),
        (np.array([[True, False, True, True], [True, False, True, True]]), "whole numbers"),
        ([[0, 1, 2, 3], [0, 1, 2, 3]], "whole numbers"),
        ({"tours": 1}, "whole numbers"),
    ],
)
def test_false_tours_are_rejected(square: Case, output: Any, why: str) -> None:
    with pytest.raises(Reject, match=why):
        bundled.scorer(FILE)(square, output)


# --- figures


@pytest.mark.parametrize(("split", "length"), [("train", 7.0704), ("validation", 7.0039), ("test", 6.9419)])
def test_the_figures_of_the_readme_hold(split: str, length: float) -> None:
    assert bundled.mean_score(FILE, split) == pytest.approx(length, abs=5e-4)
    assert f"{length:.4f}" in bundled.readme(FILE)
