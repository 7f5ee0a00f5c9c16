"""The sorting network task: the judge against sorting itself, the seed, known networks, and the figures of the README."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt import Case, Reject, Score
from tests.tasks import bundled

FILE = "sorting_network/task.py"
MODULE = bundled.module(FILE)
FOUR = [(0, 2), (1, 3), (0, 1), (2, 3), (1, 2)]


def judged(comparators: Any, n: int = 4) -> Score:
    output = np.array(comparators, dtype=np.int64).reshape(-1, 2) if isinstance(comparators, list) else comparators
    return bundled.scorer(FILE)(Case("case", {"n": n}), output)


def network(name: str, n: int) -> Any:
    return bundled.task(FILE).functions["run"](bundled.program(FILE, name), {"n": n})


def sorts(comparators: list[tuple[int, int]], n: int) -> bool:
    """By trying every order of n different numbers."""
    for order in permutations(range(n)):
        values = list(order)
        for low, high in comparators:
            values[low], values[high] = sorted((values[low], values[high]))
        if values != sorted(values):
            return False
    return True


# --- the judge


def test_a_network_is_scored_by_its_comparators_and_layers() -> None:
    found = judged(FOUR)
    assert found.scores == {"size": 1.0, "depth": 1.0}
    assert "n=4: 5 comparators (best known 5) in 3 layers (best known 3); 0 of them never exchange anything" in found.feedback
    twice = judged([*FOUR, *FOUR])
    assert twice.scores == {"size": 2.0, "depth": 2.0}
    assert "5 of them never exchange anything" in twice.feedback


pairs = st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(lambda pair: pair[0] < pair[1])


@settings(max_examples=60, deadline=None)
@given(st.lists(pairs, max_size=5), st.integers(0, 9), st.booleans())
def test_the_judge_agrees_with_trying_every_order(extra: list[tuple[int, int]], missing: int, before: bool) -> None:
    five = [tuple(pair) for pair in network("known/optimal.py", 5).tolist()]
    kept = five[:missing] + five[missing + 1 :]
    comparators = extra + kept if before else kept + extra
    if sorts(comparators, 5):
        assert judged(comparators, 5).scores["size"] == len(comparators) / 9
    else:
        with pytest.raises(Reject, match="does not sort"):
            judged(comparators, 5)


@pytest.mark.parametrize("n", [4, 6, 8, 13])
def test_no_comparator_of_a_known_network_can_go(n: int) -> None:
    known = network("known/optimal.py", n)
    for k in range(len(known)):
        with pytest.raises(Reject, match="does not sort"):
            judged(np.delete(known, k, axis=0), n)


def test_a_rejection_shows_an_input_that_is_not_sorted() -> None:
    with pytest.raises(Reject, match=r"for n=4 does not sort: 1 0 0 0 becomes 1 0 0 0, where wire 0 is above wire 1"):
        judged([])


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ([*FOUR[:4], (2, 1)], "comparator 4 is \\(2, 1\\); its first wire must be below"),
        ([*FOUR[:4], (1, 1)], "comparator 4 is \\(1, 1\\); its first"),
        ([(0, 4), *FOUR], "comparator 0 is \\(0, 4\\); wires are numbered 0 to 3"),
        ([(-1, 2), *FOUR], "comparator 0 is \\(-1, 2\\); wires"),
        (np.array([[0, 2**64 - 1]], dtype=np.uint64), "wires are numbered"),
        (np.array([[0, 2**63 - 1]]), "wires are numbered"),
        (FOUR * 4, "20 comparators; more than 16 are never needed"),
        (np.zeros(10, dtype=int), "shape"),
        (np.zeros((5, 3), dtype=int), "shape"),
        (np.zeros((5, 2, 1), dtype=int), "shape"),
        (np.array(FOUR, dtype=float), "whole numbers"),
        (np.array(FOUR, dtype=bool), "whole numbers"),
        (np.array(FOUR, dtype=object), "whole numbers"),
        (tuple(FOUR), "whole numbers"),
        ({"network": np.array(FOUR)}, "whole numbers"),
    ],
)
def test_a_false_network_is_rejected(output: Any, why: str) -> None:
    with pytest.raises(Reject, match=why):
        judged(output)


@pytest.mark.parametrize(("pairs", "error"), [([(0.0, 1.0)], TypeError), ([(0, 1, 2)], ValueError), ([3], TypeError), (None, TypeError)])
def test_what_is_no_list_of_pairs_is_an_error(pairs: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        bundled.task(FILE).functions["run"](SimpleNamespace(network=lambda n: pairs), {"n": 4})


# --- known networks and the seed


def test_wires_hold_every_input() -> None:
    columns = MODULE.columns(5)
    assert [[column >> k & 1 for column in columns] for k in range(32)] == [[k >> wire & 1 for wire in range(5)] for k in range(32)]


@pytest.mark.parametrize("n", range(4, 11))
def test_the_optimum_is_reached_by_a_known_network(n: int) -> None:
    assert judged(network("known/optimal.py", n), n).scores["size"] == 1.0


@pytest.mark.parametrize(("n", "size"), [(8, 19), (10, 31), (16, 63), (20, 97)])
def test_merge_exchange_has_batchers_size(n: int, size: int) -> None:
    known = network("known/merge_exchange.py", n)
    assert len(known) == size
    assert judged(known, n).scores["size"] == size / MODULE.BEST_SIZE[n]


@pytest.mark.parametrize("n", [4, 7, 16])
def test_the_seed_is_a_little_better_than_bubble_sort(n: int) -> None:
    seed = bundled.names(bundled.TASKS / "sorting_network" / "seed.py")
    bubbles, found = seed["needed"](n, seed["bubbles"](n)), network("seed.py", n)
    assert len(bubbles) == n * (n - 1) / 2 > len(found) >= MODULE.BEST_SIZE[n]
    assert " 0 of them never exchange" in judged(found, n).feedback


@settings(max_examples=30, deadline=None)
@given(st.lists(pairs, max_size=12))
def test_the_seed_keeps_only_what_is_needed_and_still_sorts(start: list[tuple[int, int]]) -> None:
    seed = bundled.names(bundled.TASKS / "sorting_network" / "seed.py")
    found = judged(seed["needed"](5, start + seed["bubbles"](5)), 5)
    assert " 0 of them never exchange" in found.feedback


def test_best_known_numbers_are_ordered() -> None:
    for table in (MODULE.BEST_SIZE, MODULE.BEST_DEPTH):
        assert list(table) == list(range(4, 21))
        assert sorted(table.values()) == list(table.values())


# --- figures


@pytest.mark.parametrize(
    ("name", "split", "size", "depth"),
    [
        ("seed.py", "train", 1.2840, 1.8190),
        ("seed.py", "validation", 1.5525, 2.5476),
        ("seed.py", "test", 1.7467, 2.7882),
        ("known/merge_exchange.py", "train", 1.0138, 1.0971),
        ("known/merge_exchange.py", "validation", 1.0396, 1.1270),
        ("known/merge_exchange.py", "test", 1.0522, 1.1761),
        ("known/optimal.py", "train", 1.0, 1.0286),
    ],
)
def test_the_figures_of_the_readme_hold(name: str, split: str, size: float, depth: float) -> None:
    assert bundled.mean_score(FILE, split, name) == pytest.approx(size, abs=1e-4)
    assert bundled.mean_score(FILE, split, name, objective=1) == pytest.approx(depth, abs=1e-4)
    assert f"{size:.4f}" in bundled.readme(FILE)
    assert f"{depth:.4f}" in bundled.readme(FILE)
