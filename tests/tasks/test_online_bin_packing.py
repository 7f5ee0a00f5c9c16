"""The two bin packing tasks: their instances, the packing loop, the judge, and the figures of the README."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt import Case, Reject
from tests.tasks import bundled

WEIBULL, OR3 = "online_bin_packing/task.py", "online_bin_packing/or3.py"
BOTH = pytest.mark.parametrize("file", [WEIBULL, OR3])


def pack(priority: Any, items: Any, capacity: int) -> list[int]:
    run = bundled.task(WEIBULL).functions["run"]
    return run(SimpleNamespace(priority=priority), {"items": np.array(items, dtype=np.int64), "capacity": capacity}).tolist()


def plainly(priority: Any, items: Any, capacity: int) -> list[int]:
    """The contract, word for word: no bin is ever forgotten."""
    left: list[float] = [float(capacity)]
    packing: list[int] = []
    for item in items:
        fitting = [index for index, room in enumerate(left) if room >= item]
        ranks = list(priority(float(item), np.array([left[index] for index in fitting])))
        chosen = fitting[ranks.index(max(ranks))]
        left[chosen] -= item
        packing.append(chosen)
        if chosen == len(left) - 1:
            left.append(float(capacity))
    return packing


def all_bins_from_the_start(priority: Any, items: Any, capacity: int) -> int:
    """The number of bins used in FunSearch's setting: as many empty bins as items are there from the first item on."""
    left = np.full(len(items), float(capacity))
    for item in items:
        fitting = np.flatnonzero(left >= item)
        left[fitting[np.argmax(priority(float(item), left[fitting]))]] -= item
    return int((left < capacity).sum())


def best_fit(item: float, bins: np.ndarray) -> np.ndarray:
    return item - bins


def by_position(item: float, bins: np.ndarray) -> np.ndarray:
    return np.sin(np.arange(len(bins)) * item) - np.diff(bins, prepend=0.0) / 7


def candidate(name: str) -> Any:
    return bundled.program(WEIBULL, name).priority


# --- instances


def test_weibull_instances_are_as_described() -> None:
    for split, (count, length) in {"train": (2, 1500), "validation": (4, 5000), "test": (12, 5000)}.items():
        members = bundled.cases(WEIBULL)[split]
        assert [case.input["items"].shape for case in members] == [(length,)] * count
    items = np.concatenate([case.input["items"] for case in bundled.cases(WEIBULL)["test"]])
    assert items.dtype == np.int64
    assert 1 <= items.min() < items.max() <= 100
    # of a Weibull distribution with shape 3 and scale 45: mean 40.18, deviation 14.60; cutting decimals takes half a unit
    assert items.mean() == pytest.approx(40.18 - 0.5, abs=0.3)
    assert items.std() == pytest.approx(14.60, abs=0.3)


def test_or3_instances_are_as_described() -> None:
    for split, count in {"train": 8, "validation": 12, "test": 20}.items():
        assert [case.input["items"].shape for case in bundled.cases(OR3)[split]] == [(500,)] * count
    items = np.concatenate([case.input["items"] for members in bundled.cases(OR3).values() for case in members])
    assert set(np.unique(items)) == set(range(20, 101))
    assert {case.input["capacity"] for members in bundled.cases(OR3).values() for case in members} == {150}


# --- packing


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=120), st.integers(20, 45), st.sampled_from([best_fit, by_position]))
def test_packing_follows_the_contract_to_the_letter(items: list[int], capacity: int, priority: Any) -> None:
    assert pack(priority, items, capacity) == plainly(priority, items, capacity)


@pytest.mark.parametrize("priority", [best_fit, by_position])
def test_dropping_full_bins_changes_no_decision(priority: Any) -> None:
    items = bundled.cases(WEIBULL)["train"][0].input["items"][:700]
    assert pack(priority, items, 100) == plainly(priority, items.tolist(), 100)


@pytest.mark.parametrize("name", ["seed.py", "known/funsearch_or3.py"])
def test_a_priority_of_item_and_bin_alone_uses_as_many_bins_as_in_funsearchs_setting(name: str) -> None:
    items = bundled.cases(OR3)["train"][0].input["items"]
    assert len(set(pack(candidate(name), items, 150))) == all_bins_from_the_start(candidate(name), items.tolist(), 150)


@BOTH
def test_the_seed_is_best_fit(file: str) -> None:
    case = bundled.cases(file)["validation"][0]
    items, capacity = case.input["items"], case.input["capacity"]
    assert pack(bundled.program(file).priority, items, capacity) == pack(best_fit, items, capacity)


def test_the_first_of_equal_bins_is_taken() -> None:
    assert pack(lambda item, bins: np.zeros(len(bins)), [6, 6, 3, 4], 10) == [0, 1, 0, 1]


def test_a_priority_cannot_change_the_bins() -> None:
    def greedy(item: float, bins: np.ndarray) -> np.ndarray:
        bins[:] = 1e9
        return np.arange(len(bins))[::-1]

    assert pack(greedy, [6, 6, 4, 4], 10) == [0, 1, 0, 1]


@pytest.mark.parametrize("ranks", [[1.0] * 7, [], 1.0, [[1.0]]])
def test_a_priority_of_the_wrong_shape_is_an_error_that_says_so(ranks: Any) -> None:
    with pytest.raises(ValueError, match="return one number per bin"):
        pack(lambda item, bins: ranks, [5, 5], 10)


# --- the judge


@pytest.fixture
def small() -> Case:
    return Case("small", {"items": np.array([6, 5, 4, 5, 10]), "capacity": 10})


def test_a_packing_is_scored_by_its_bins(small: Case) -> None:
    score = bundled.scorer(WEIBULL)
    assert score(small, np.array([0, 1, 0, 1, 2])).scores == {"excess": 0.0}
    assert score(small, np.array([4, 1, 4, 2, 3], dtype=np.int8)).scores == {"excess": pytest.approx(1 / 3)}
    assert score(small, np.arange(5)).scores["excess"] == pytest.approx(2 / 3)
    assert "5 bins, 2 above the bound of 3; empty by less than 5 %: 1, by 5 to 25 %: 0, by more: 4" in score(small, np.arange(5)).feedback


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (np.array([0, 0, 0, 1, 2]), "bin 0 holds 15 of 10"),
        (np.array([0, 1, 0, 1]), "needs? \\(5,\\)"),
        (np.array([0, 1, 0, 1, 2, 3]), "needs? \\(5,\\)"),
        (np.array([[0, 1, 0, 1, 2]]), "shape"),
        (np.array([0, 1, 0, 1, -1]), "outside"),
        (np.array([0, 1, 0, 1, 5]), "outside"),
        (np.array([0, 1, 0, 1, 2**63 - 1]), "outside"),
        (np.array([0, 1, 0, 1, 2**64 - 1], dtype=np.uint64), "outside"),
        (np.array([0.0, 1.0, 0.0, 1.0, 2.0]), "whole numbers"),
        (np.array([0.0, 1.0, np.nan, 1.0, 2.0]), "whole numbers"),
        (np.array([True, False, True, False, True]), "whole numbers"),
        (np.array([0, 1, 0, 1, 10**30], dtype=object), "whole numbers"),
        ([0, 1, 0, 1, 2], "whole numbers"),
        ({"bins": np.arange(5)}, "whole numbers"),
    ],
)
def test_a_false_packing_is_rejected(small: Case, output: Any, why: str) -> None:
    with pytest.raises(Reject, match=why):
        bundled.scorer(WEIBULL)(small, output)


# --- figures


@pytest.mark.parametrize(
    ("file", "name", "excess"),
    [
        (WEIBULL, "seed.py", 0.0391),
        (WEIBULL, "known/funsearch_weibull.py", 0.0066),
        (OR3, "seed.py", 0.0498),
        (OR3, "known/funsearch_or3.py", 0.0289),
    ],
)
def test_the_figures_of_the_readme_hold(file: str, name: str, excess: float) -> None:
    assert bundled.mean_score(file, "test", name) == pytest.approx(excess, abs=5e-5)
    assert f"{excess:.4f}" in bundled.readme(file)
