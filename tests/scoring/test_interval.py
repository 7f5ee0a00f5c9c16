"""Intervals of paired differences, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from agentopt.scoring.interval import paired_interval, student_quantile, student_tail


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [*range(1, 40), 100, 1000])
def test_quantiles_agree_with_scipy(confidence, freedom):
    assert student_quantile(confidence, freedom) == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-4)


@pytest.mark.parametrize("t", [-2.0, 0.0, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("freedom", [*range(1, 12), 100, 1000])
def test_tails_agree_with_scipy(t, freedom):
    assert student_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("n", [2, 3, 10, 80])
def test_the_interval_is_scipys(n):
    differences = np.random.default_rng(n).normal(0.3, 1.0, n)
    mean, low, high = paired_interval(differences.tolist()) or (0.0, 0.0, 0.0)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((differences.mean(), expected.low, expected.high), rel=1e-4)


def test_fewer_than_two_differences_say_nothing():
    assert paired_interval([]) is None
    assert paired_interval([1.0]) is None


def test_equal_differences_leave_no_doubt():
    assert paired_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)
