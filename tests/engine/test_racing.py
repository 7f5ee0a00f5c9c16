"""The statistics: right levels on data of known truth, and the corners."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.engine.racing import chance_of_no_lead, discovery_level, least_lead, limit_at_end, spend

SHAPES = {
    "normal": lambda rng: rng.gauss(0, 1),
    "heavy": lambda rng: rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1.5, 2) / 3),
    "spikes": lambda rng: rng.choice([0.0] * 9 + [-5.0, 5.0]),
}


@given(st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True).map(sorted), st.floats(0.001, 0.4))
def test_the_looks_spend_what_there_is_and_no_more(looks: list[int], level: float):
    shares = spend(looks, 100, level)
    assert all(share > 0 for share in shares)
    assert sum(shares) < level
    assert sum(spend([*looks, 100], 100, level)) == pytest.approx(level)


@pytest.mark.thorough
@pytest.mark.parametrize("shape", ["normal", "heavy"])
def test_the_end_lies_above_its_limit_as_often_as_said(shape: str):
    rng, above = Random(1), 0
    for _ in range(4000):
        everything = [SHAPES[shape](rng) for _ in range(32)]
        above += fmean(everything) > limit_at_end(everything[:8], 32, 0.1)
    assert 0.07 < above / 4000 < 0.13


def test_the_limit_after_everything_is_the_mean():
    assert limit_at_end([1.0, 2.0, 6.0], 3, 0.01) == 3.0


def test_two_pairs_have_a_limit_and_numbers_that_are_not_finite_stop_nobody():
    assert limit_at_end([-1.0, -1.0], 8, 0.1) == -1.0
    assert not limit_at_end([-math.inf, -1.0, 0.0], 8, 0.1) < 0
    assert not limit_at_end([-1e308, -1e308, 1e308], 8, 0.1) < 0


@pytest.mark.parametrize("shape", SHAPES)
def test_no_lead_is_taken_for_one_no_more_often_than_said(shape: str):
    rng, found = Random(2), 0
    for _ in range(4000):
        found += chance_of_no_lead([SHAPES[shape](rng) for _ in range(12)]) <= 0.05
    assert found / 4000 < 0.06


def test_a_lead_is_found():
    rng = Random(3)
    found = sum(chance_of_no_lead([rng.gauss(1, 1) for _ in range(12)]) <= 0.05 for _ in range(500))
    assert found > 400


def test_signs_bound_the_chance():
    assert chance_of_no_lead([1.0] * 4) == 1 / 16
    assert chance_of_no_lead([1.0]) == 1.0
    assert chance_of_no_lead([-1.0, 0.5]) == 1.0
    assert chance_of_no_lead([math.nan, 1.0]) == 1.0
    assert chance_of_no_lead([1.0, 3.0]) == pytest.approx(0.25)


def test_the_least_lead_is_what_the_test_asks_for():
    rng = Random(4)
    differences = [rng.gauss(0, 1) for _ in range(10)]
    shift = least_lead(differences, 10, 0.05) - fmean(differences)
    assert chance_of_no_lead([difference + shift for difference in differences]) == pytest.approx(0.05, rel=1e-6)


def test_levels_of_discoveries():
    assert sum(discovery_level(place, [], 0.05) for place in range(1, 5000)) < 0.025
    assert discovery_level(1, [], 0.05) == pytest.approx(0.025 / 2.285765653)
    first, second = discovery_level(3, [2], 0.05), discovery_level(3, [1, 2], 0.05)
    assert discovery_level(3, [], 0.05) < first < second < 0.05


def test_few_discoveries_are_false_when_true_ones_are_rare():
    rng, false, kept = Random(5), 0.0, 0
    for _ in range(300):
        wins: list[int] = []
        wrong = 0
        for place in range(1, 41):
            true = place % 8 == 0
            p = rng.random() ** (6 if true else 1)
            if p <= discovery_level(place, wins, 0.05):
                wins.append(place)
                wrong += not true
        kept += len(wins)
        false += wrong / max(1, len(wins))
    assert kept > 100
    assert false / 300 < 0.05
