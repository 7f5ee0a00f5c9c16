"""Online scheduling: jobs arrive over time and are dispatched to unlike machines; every rollout draws its jobs anew."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentopt import Case, Limits, Objective, Reject, Score, Task

JOBS, MACHINES, KINDS, LOAD = 80, 4, 3, 0.9
SHOPS = {"train": 6, "validation": 8, "test": 12}


def cases(split: str, rng: random.Random) -> list[Case]:
    """Shops: how long each kind of job takes on each machine, and how often jobs come. The jobs are drawn in each rollout."""
    return [Case(f"{split}-{k}", shop(rng)) for k in range(SHOPS[split])]


def shop(rng: random.Random) -> dict[str, Any]:
    ticks = np.array([[rng.randrange(20, 120) for _ in range(MACHINES)] for _ in range(KINDS)])
    return {"ticks": ticks, "gap": float(1.0 / (LOAD * (1.0 / ticks.mean(axis=0)).sum())), "jobs": JOBS}


@dataclass(frozen=True)
class Jobs:
    """n jobs in the order of their arrival, on m machines. Times are whole ticks, so that schedules are checked exactly."""

    arrival: np.ndarray
    weight: np.ndarray
    expected: np.ndarray
    """(n, m): what a job is said to take on each machine."""
    actual: np.ndarray
    """(n, m): what it does take, known when it is done."""


def draw(shop: dict[str, Any], rng: Any) -> Jobs:
    """The jobs of one rollout; ``rng`` is a Random, or the module ``random`` with its state set."""
    n, ticks = shop["jobs"], shop["ticks"].tolist()
    arrival: list[int] = []
    clock = 0.0
    while len(arrival) < n:
        crowd = rng.choice((1, 1, 1, 1, 6))
        clock += rng.expovariate(1.0 / shop["gap"]) * crowd
        arrival += [int(clock)] * crowd
    weight = [rng.choice((1, 1, 1, 3, 10)) for _ in range(n)]
    expected, actual = np.empty((2, n, len(ticks[0])), dtype=np.int64)
    for job in range(n):
        kind, size = rng.randrange(len(ticks)), rng.lognormvariate(0.0, 0.5)
        surprise = rng.uniform(0.6, 1.6)
        for machine, typical in enumerate(ticks[kind]):
            expected[job, machine] = max(1, round(typical * size))
            actual[job, machine] = max(1, round(typical * size * surprise))
    return Jobs(np.array(arrival[:n], dtype=np.int64), np.array(weight, dtype=np.int64), expected, actual)


def dispatch(priority: Callable[..., Any], jobs: Jobs) -> np.ndarray:
    """The schedule (n, 2) of machine and start that a priority makes. It is asked again until no job starts, then at the next event."""
    n, m = jobs.expected.shape
    schedule = np.empty((n, 2), dtype=np.int64)
    done, promised = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.int64)
    waiting: list[int] = []
    for now, came in events(jobs, done):
        waiting += came
        while waiting and (done <= now).any():
            free = np.where(done <= now, 0, np.maximum(promised - now, 1))
            job, machine = chosen(priority, jobs, waiting, now, free)
            if job < 0:
                break
            waiting.remove(job)
            schedule[job] = machine, now
            done[machine], promised[machine] = now + jobs.actual[job, machine], now + jobs.expected[job, machine]
    if waiting:
        raise ValueError(f"priority held back {len(waiting)} jobs for ever: nothing was running and nothing more would come")
    return schedule


def events(jobs: Jobs, done: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Each moment at which a job comes or is done, and the jobs that come. ``done`` (m,) says when machines are; it changes meanwhile."""
    now, come, n = -1, 0, len(jobs.arrival)
    while True:
        ahead = [*done[done > now].tolist(), *jobs.arrival[come : come + 1].tolist()]
        if not ahead:
            return
        now, first = min(ahead), come
        while come < n and jobs.arrival[come] <= now:
            come += 1
        yield now, list(range(first, come))


def chosen(priority: Callable[..., Any], jobs: Jobs, waiting: list[int], now: int, free: np.ndarray) -> tuple[int, int]:
    """The job to start now and its machine; job -1 if the priority holds all of them back."""
    times = jobs.expected[waiting].astype(np.float64)
    waited = (now - jobs.arrival[waiting]).astype(np.float64)
    ranks = np.array(priority(waited, jobs.weight[waiting].astype(np.float64), times, free.astype(np.float64)), dtype=np.float64)
    if ranks.shape != times.shape:
        raise ValueError(f"priority returned the shape {ranks.shape}; return one number per job and machine, {times.shape}")
    if np.isnan(ranks).any():
        raise ValueError("priority returned nan; return numbers, and -inf to hold a job back from a machine")
    ranks[:, free > 0] = -np.inf
    job, machine = divmod(int(ranks.argmax()), len(free))
    return (waiting[job] if ranks[job, machine] > -np.inf else -1), machine


task = Task(
    name="online_scheduling",
    goal=(
        "Jobs arrive over time on unlike machines. priority(waited, weight, times, free) gives a rank (jobs, machines) to starting each "
        "waiting job on each machine now, such that the weighted time that jobs spend in the shop is short. Every rollout draws other "
        "jobs, so scores are noisy. You may import numpy and the standard library."
    ),
    parameters={"priority": "seed.py"},
    objectives=[Objective("stretch", "min", reference=2.13, floor=1.0)],
    cases=cases,
    imports=("numpy",),
    limits=Limits(seconds=10),
    repeats=2,
    noisy=True,
    budget="75s",
)


@task.run
def run(program: Any, input: dict[str, Any]) -> np.ndarray:
    return dispatch(program.priority, draw(input, random))


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    """The jobs are drawn again from the rollout's rng_seed; nothing is believed but which job starts where and when."""
    jobs = draw(case.input, random.Random(measured.rng_seed))
    machine, start = _checked(output, jobs)
    took = jobs.actual[np.arange(len(start)), machine]
    _check_one_at_a_time(machine, start, start + took)
    spent = start + took - jobs.arrival
    least = jobs.actual.min(axis=1)
    heavy = jobs.weight == jobs.weight.max()
    busy = np.bincount(machine, took, minlength=jobs.actual.shape[1]) / (start + took).max()
    return Score(
        stretch=float((jobs.weight * spent).sum() / (jobs.weight * least).sum()),
        feedback=(
            f"jobs spend {spent.mean():.0f} ticks in the shop, {(start - jobs.arrival).mean():.0f} of them waiting; those of weight "
            f"{jobs.weight.max()} spend {spent[heavy].mean():.0f}; {(took == least).mean():.0%} ran on their fastest machine; "
            f"machines are busy {', '.join(f'{share:.0%}' for share in busy)} of the time"
        ),
    )


def _checked(output: Any, jobs: Jobs) -> tuple[np.ndarray, np.ndarray]:
    n, m = jobs.actual.shape
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "iu":
        raise Reject("the schedule must be an array of whole numbers, the machine and the start of each job")
    if output.shape != (n, 2):
        raise Reject(f"the schedule has the shape {output.shape}; {n} jobs need {(n, 2)}")
    if (output < 0).any() or (output > 2**40).any():
        raise Reject("the schedule holds a number below 0 or above 2^40")
    machine, start = output.astype(np.int64).T
    if (machine >= m).any():
        raise Reject(f"job {int((machine >= m).argmax())} is on machine {machine.max()}; there are {m}, from 0")
    if (early := start < jobs.arrival).any():
        job = int(early.argmax())
        raise Reject(f"job {job} starts at {start[job]} and arrives at {jobs.arrival[job]}")
    return machine, start


def _check_one_at_a_time(machine: np.ndarray, start: np.ndarray, end: np.ndarray) -> None:
    order = np.lexsort((start, machine))
    before, after = order[:-1], order[1:]
    clash = (machine[before] == machine[after]) & (start[after] < end[before])
    if clash.any():
        k = int(clash.argmax())
        raise Reject(f"jobs {before[k]} and {after[k]} are on machine {machine[before[k]]} at the same time")
