"""The online scheduling task: its jobs, the simulator against the contract, the judge, the noise, and the figures of the README."""

from __future__ import annotations

import random
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agentopt import Case, Reject, Score
from tests.tasks import bundled

FILE = "online_scheduling/task.py"
MODULE = bundled.module(FILE)


def jobs(arrival: Any, actual: Any, weight: Any = None, expected: Any = None) -> Any:
    actual = np.array(actual)
    return MODULE.Jobs(
        np.array(arrival), np.array(weight or [1] * len(arrival)), np.array(actual if expected is None else expected), actual
    )


def first_come(waited: np.ndarray, weight: np.ndarray, times: np.ndarray, free: np.ndarray) -> np.ndarray:
    return waited[:, None] - 0.001 * times


def case() -> Case:
    return bundled.cases(FILE)["train"][0]


def schedule(rng_seed: int = 5, priority: Any = first_come) -> Any:
    return bundled.solve(FILE, SimpleNamespace(priority=priority), case(), rng_seed)


def judged(output: Any, rng_seed: int = 5) -> Score:
    return bundled.scorer(FILE, rng_seed)(case(), output)


def drawn(rng_seed: int = 5) -> Any:
    return MODULE.draw(case().input, random.Random(rng_seed))


# --- jobs


def test_jobs_are_drawn_anew_for_each_seed_and_the_same_for_one() -> None:
    first, again, other = drawn(1), drawn(1), drawn(2)
    for name in ("arrival", "weight", "expected", "actual"):
        assert (getattr(first, name) == getattr(again, name)).all()
        assert (getattr(first, name) != getattr(other, name)).any()


def test_the_box_draws_the_same_jobs_from_the_module_random() -> None:
    random.seed(2**40 + 3)
    boxed, judges = MODULE.draw(case().input, random), drawn(2**40 + 3)
    assert (boxed.arrival == judges.arrival).all()
    assert (boxed.actual == judges.actual).all()


def test_jobs_are_as_described() -> None:
    some = [drawn(seed) for seed in range(40)]
    assert {(one.arrival.shape, one.expected.shape) for one in some} == {((80,), (80, 4))}
    assert all((np.diff(one.arrival) >= 0).all() for one in some)
    assert set(np.concatenate([one.weight for one in some])) == {1, 3, 10}
    ratio = np.concatenate([(one.actual / one.expected)[one.expected > 20] for one in some])
    assert 0.55 < ratio.min() < 0.65
    assert 1.55 < ratio.max() < 1.65
    gaps = np.mean([one.arrival[-1] / 80 for one in some])
    assert gaps == pytest.approx(case().input["gap"], rel=0.1)


# --- the simulator


def test_jobs_start_as_the_priority_ranks_them() -> None:
    both = jobs([0, 0, 0], [[10, 20], [10, 20], [10, 20]], weight=[1, 5, 1])
    by_weight = MODULE.dispatch(lambda waited, weight, times, free: weight[:, None] - 0.01 * times, both)
    assert by_weight.tolist() == [[1, 0], [0, 0], [0, 10]]


def test_a_job_can_be_held_back_for_a_better_machine() -> None:
    def only_first(waited: np.ndarray, weight: np.ndarray, times: np.ndarray, free: np.ndarray) -> np.ndarray:
        return np.where(np.arange(times.shape[1])[None] == 0, first_come(waited, weight, times, free), -np.inf)

    assert MODULE.dispatch(only_first, jobs([0, 3], [[10, 50], [10, 50]])).tolist() == [[0, 0], [0, 10]]
    with pytest.raises(ValueError, match="held back 2 jobs for ever"):
        MODULE.dispatch(lambda waited, weight, times, free: np.full(times.shape, -np.inf), jobs([0, 3], [[1, 1], [1, 1]]))


def test_what_a_priority_is_told() -> None:
    told: list[list[Any]] = []

    def spy(waited: np.ndarray, weight: np.ndarray, times: np.ndarray, free: np.ndarray) -> np.ndarray:
        told.append([array.tolist() for array in (waited, weight, times, free)])
        return first_come(waited, weight, times, free)

    MODULE.dispatch(spy, jobs([0, 2, 4], [[10], [7], [7]], [1, 3, 10], expected=[[5], [6], [8]]))
    assert told == [
        [[0.0], [1.0], [[5.0]], [0.0]],
        [[8.0, 6.0], [3.0, 10.0], [[6.0], [8.0]], [0.0]],  # nothing was asked while the only machine was busy
        [[13.0], [10.0], [[8.0]], [0.0]],
    ]


def test_a_machine_that_takes_longer_than_said_is_free_soon() -> None:
    told: list[list[float]] = []

    def spy(waited: np.ndarray, weight: np.ndarray, times: np.ndarray, free: np.ndarray) -> np.ndarray:
        told.append(free.tolist())
        return first_come(waited, weight, times, free)

    MODULE.dispatch(spy, jobs([0, 3, 9], [[20, 90], [2, 2], [2, 2]], expected=[[5, 90], [4, 4], [4, 4]]))
    assert told == [[0.0, 0.0], [2.0, 0.0], [1.0, 0.0]]


def test_a_priority_cannot_change_the_jobs() -> None:
    def meddles(waited: np.ndarray, weight: np.ndarray, times: np.ndarray, free: np.ndarray) -> np.ndarray:
        rank = first_come(waited, weight, times, free)
        for array in (waited, weight, times, free):
            array[:] = 0.0
        return rank

    assert (schedule(priority=meddles) == schedule()).all()


@pytest.mark.parametrize(
    ("ranks", "why"),
    [(1.0, "one number per job and machine"), ([1.0], "one number"), ([[1.0]], "one number"), ([[1.0, np.nan]], "returned nan")],
)
def test_ranks_of_the_wrong_form_are_an_error_that_says_so(ranks: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        MODULE.dispatch(lambda waited, weight, times, free: ranks, jobs([0], [[1, 1]]))


# --- the judge


@pytest.mark.parametrize("rng_seed", [0, 5, 2**52 + 1])
def test_every_schedule_of_the_simulator_is_valid(rng_seed: int) -> None:
    for name in ("seed.py", "known/weighted_shortest.py"):
        output = bundled.solve(FILE, bundled.program(FILE, name), case(), rng_seed)
        assert judged(output, rng_seed).scores["stretch"] > 1.0


def test_a_schedule_is_scored_by_weighted_time() -> None:
    some = drawn()
    fastest = some.actual.argmin(axis=1)
    done = np.zeros(4, dtype=int)
    plan = np.empty((80, 2), dtype=np.int64)
    spent = 0
    for job in range(80):
        machine = int(fastest[job])
        start = max(int(done[machine]), int(some.arrival[job]))
        done[machine] = start + some.actual[job, machine]
        plan[job] = machine, start
        spent += int(some.weight[job]) * int(done[machine] - some.arrival[job])
    found = judged(plan)
    assert found.scores["stretch"] == pytest.approx(spent / (some.weight * some.actual.min(axis=1)).sum())
    assert "100% ran on their fastest machine" in found.feedback


def test_a_schedule_for_other_jobs_is_rejected() -> None:
    with pytest.raises(Reject, match=r"at the same time|arrives at"):
        judged(schedule(rng_seed=6), rng_seed=5)


def test_who_forges_the_random_numbers_is_judged_on_the_true_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(random, "lognormvariate", lambda mean, spread: 0.01)
        plan = schedule()
    with pytest.raises(Reject, match="at the same time"):
        judged(plan)


def forged(job: int, machine: int | None = None, start: int | None = None) -> np.ndarray:
    plan = schedule()
    plan[job] = plan[job, 0] if machine is None else machine, plan[job, 1] if start is None else start
    return plan


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (lambda: forged(79, start=0), "job 79 starts at 0 and arrives at"),
        (lambda: forged(3, machine=4), "job 3 is on machine 4; there are 4, from 0"),
        (lambda: forged(3, machine=-1), "below 0"),
        (lambda: forged(3, start=2**41), "above 2\\^40"),
        (lambda: np.column_stack([np.zeros(80, dtype=int), drawn().arrival]), "on machine 0 at the same time"),
        (lambda: forged(3).astype(np.uint64) + np.uint64(2**63), "above 2\\^40"),
        (lambda: forged(3)[:79], "80 jobs need \\(80, 2\\)"),
        (lambda: forged(3).T, "shape"),
        (lambda: forged(3).ravel(), "shape"),
        (lambda: forged(3).astype(float), "whole numbers"),
        (lambda: forged(3).astype(bool), "whole numbers"),
        (lambda: forged(3).tolist(), "whole numbers"),
        (lambda: {"stretch": 1.0}, "whole numbers"),
    ],
)
def test_a_false_schedule_is_rejected(output: Any, why: str) -> None:
    with pytest.raises(Reject, match=why):
        judged(output())


def test_one_tick_too_early_is_rejected() -> None:
    plan, took = schedule(), drawn().actual
    order = np.lexsort((plan[:, 1], plan[:, 0]))
    before, after = next(
        (a, b)
        for a, b in pairwise(order)
        if plan[a, 0] == plan[b, 0] and plan[b, 1] == plan[a, 1] + took[a, plan[a, 0]] and drawn().arrival[b] < plan[b, 1]
    )
    plan[after, 1] -= 1
    with pytest.raises(Reject, match=rf"jobs {before} and {after} are on machine {plan[after, 0]} at the same time"):
        judged(plan)


def test_no_schedule_passes_the_floor() -> None:
    (objective,) = bundled.task(FILE).objectives
    assert objective.floor == 1.0
    assert bundled.task(FILE).repeats > 1


# --- the seed, the noise and the figures


def test_the_seed_is_first_come_first_served() -> None:
    found, arrival = bundled.solve(FILE, bundled.program(FILE), case(), 7), drawn(7).arrival
    order = np.lexsort((arrival, found[:, 1]))
    assert np.diff(arrival[order]).min() >= -3  # of two that came within three ticks the shorter may be first


def test_rng_seeds_differ_by_more_than_a_small_improvement() -> None:
    scores = [judged(bundled.solve(FILE, bundled.program(FILE), case(), seed), seed).scores["stretch"] for seed in range(20)]
    assert np.std(scores) > 0.1 * np.mean(scores)


@pytest.mark.parametrize(("name", "stretch"), [("seed.py", 4.27), ("known/weighted_shortest.py", 2.13)])
def test_the_figures_of_the_readme_hold(name: str, stretch: float) -> None:
    assert bundled.mean_score(FILE, "test", name, range(10)) == pytest.approx(stretch, abs=0.006)
    assert f"{stretch:.2f}" in bundled.readme(FILE)
