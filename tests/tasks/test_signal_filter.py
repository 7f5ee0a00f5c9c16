"""The signal filter task: its signals, what a candidate is shown, the judge, and the figures of the README."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agentopt import Case, Reject, Score
from tests.tasks import bundled

FILE = "signal_filter/task.py"
MODULE = bundled.module(FILE)


def estimates(estimate: Any, signal: Any) -> Any:
    return bundled.task(FILE).functions["run"](SimpleNamespace(estimate=estimate), {"signal": np.array(signal, dtype=float)})


def first_case() -> Case:
    return bundled.cases(FILE)["train"][0]


def judged(output: Any, case: Case | None = None) -> Score:
    return bundled.scorer(FILE)(case or first_case(), output)


# --- signals


def test_signals_are_as_described() -> None:
    for split, count in {"train": 6, "validation": 8, "test": 16}.items():
        members = bundled.cases(FILE)[split]
        assert [case.input["signal"].shape for case in members] == [(400,)] * count
        assert [case.expected.shape for case in members] == [(400,)] * count
    off = np.concatenate([case.input["signal"] - case.expected for case in bundled.cases(FILE)["test"]])
    assert off.mean() == pytest.approx(0.0, abs=0.05)
    assert 0.01 < (np.abs(off) > 3.0).mean() < 0.03  # the few that are far off
    stretches = off.reshape(-1, 50)
    strength = np.median(np.abs(stretches), axis=1) / 0.6745
    assert strength.min() < 0.2 < 0.7 < strength.max()


# --- what a candidate is shown


def test_a_candidate_sees_no_sample_to_come() -> None:
    seen: list[list[float]] = []

    def estimate(history: np.ndarray) -> float:
        seen.append(history.tolist())
        return float(history[-1])

    signal = np.arange(100.0)
    assert estimates(estimate, signal).tolist() == signal.tolist()
    assert seen[0] == [0.0]
    assert seen[2] == [0.0, 1.0, 2.0]
    assert seen[99] == list(range(36, 100))


def test_a_candidate_cannot_change_the_signal() -> None:
    def erases(history: np.ndarray) -> float:
        newest = history[-1]
        history[:] = 0.0
        return float(newest) + float(history.sum())

    assert estimates(erases, [1.0, 2.0, 3.0]).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("answer", [None, "much", [1.0, 2.0], 1j])
def test_an_estimate_that_is_no_number_is_an_error(answer: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        estimates(lambda history: answer, [1.0])


# --- the judge


def test_the_true_signal_has_no_error_and_the_noisy_one_all_of_it() -> None:
    clean, noisy = first_case().expected, first_case().input["signal"]
    perfect, raw = judged(clean.copy()), judged(noisy.copy())
    assert perfect.scores == {"error": 0.0}
    assert perfect.measures["lag"] == 0.0
    assert raw.scores == {"error": 1.0}
    assert raw.measures["roughness"] == 1.0
    halved = judged((clean + noisy) / 2)
    assert halved.scores["error"] == pytest.approx(0.5)
    assert "error 0.500 of the noise" in halved.feedback


@pytest.mark.parametrize("behind", [0, 1, 4, 9])
def test_lag_is_measured_in_samples(behind: int) -> None:
    clean = first_case().expected
    late = np.concatenate([np.full(behind, clean[0]), clean[: len(clean) - behind]])
    assert judged(late).measures["lag"] == pytest.approx(behind, abs=0.2)


def test_lag_lies_between_whole_samples() -> None:
    clean = np.sin(np.arange(400) / 15.0)
    case = Case("wave", {"signal": clean + 0.1}, expected=clean)
    assert judged(np.sin((np.arange(400) - 2.5) / 15.0), case).measures["lag"] == pytest.approx(2.5, abs=0.01)


def test_a_smoother_estimate_is_less_rough_and_lags_more() -> None:
    noisy = first_case().input["signal"]

    def mean_of(samples: int) -> Score:
        return judged(estimates(lambda history: history[-samples:].mean(), noisy))

    few, many = mean_of(3), mean_of(15)
    assert few.measures["roughness"] > 2 * many.measures["roughness"]
    assert few.measures["lag"] + 3 < many.measures["lag"]


def test_measures_of_odd_estimates_stay_finite() -> None:
    for odd in (np.zeros(400), np.full(400, 1e6), np.resize([1e6, -1e6], 400), first_case().input["signal"][::-1].copy()):
        found = judged(odd)
        assert np.isfinite([*found.scores.values(), *found.measures.values()]).all()
        assert 0.0 <= found.measures["lag"] <= 20.0


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (np.zeros(399), "shape"),
        (np.zeros(401), "shape"),
        (np.zeros((400, 1)), "shape"),
        (np.where(np.arange(400) == 7, np.nan, 0.0), "estimate 7 is not finite"),
        (np.where(np.arange(400) == 9, -np.inf, 0.0), "estimate 9 is not finite"),
        (np.where(np.arange(400) == 3, -1e7, 0.0), "estimate 3 is 1e\\+07 in size"),
        (np.full(400, 1e308), "no signal comes near"),
        (np.zeros(400, dtype=np.float32), "float64"),
        (np.zeros(400, dtype=int), "float64"),
        (np.zeros(400, dtype=complex), "float64"),
        ([0.0] * 400, "float64"),
        ({"error": 0.0}, "float64"),
        (0.0, "float64"),
    ],
)
def test_false_estimates_are_rejected(output: Any, why: str) -> None:
    with pytest.raises(Reject, match=why):
        judged(output)


# --- the seed and the figures


def test_the_seed_is_a_moving_average() -> None:
    noisy = first_case().input["signal"]
    found = estimates(bundled.program(FILE).estimate, noisy)
    assert found == pytest.approx(estimates(lambda history: history[-20:].mean(), noisy))


def test_what_a_candidate_does_shows_in_its_measures() -> None:
    for name in ("", "known/robust_line.py"):
        subject = bundled.program(FILE, name)
        for case in bundled.cases(FILE)["train"]:
            measures = judged(bundled.solve(FILE, subject, case), case).measures
            for measure in bundled.task(FILE).measures:
                assert measure.low <= measures[measure.name] <= measure.high + 2.0


@pytest.mark.parametrize(
    ("name", "split", "error"),
    [
        ("seed.py", "train", 0.7585),
        ("seed.py", "validation", 0.8526),
        ("seed.py", "test", 0.9702),
        ("known/robust_line.py", "train", 0.3884),
        ("known/robust_line.py", "validation", 0.4293),
        ("known/robust_line.py", "test", 0.4551),
    ],
)
def test_the_figures_of_the_readme_hold(name: str, split: str, error: float) -> None:
    assert bundled.mean_score(FILE, split, name) == pytest.approx(error, abs=5e-4)
    assert f"{error:.4f}" in bundled.readme(FILE)
