"""Does a long run keep its speed, whatever its archive? CPU per candidate in the first and in the last tenth of a run.

``python -m benchmarks.archives.run`` from the root of the checkout. Every run is a process of its own. The optimizer breeds from what
the archive gives it, the task has cases with coarse scores (so that there are ties to keep) and two measures. As on a shared machine
the clock's speed changes, the cost of a candidate is also given in yardsticks: a fixed piece of work, timed ten times in every tenth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import agentopt
from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation, Rollout
from agentopt.core.protocols import Answer, Archive, ArchiveContext, OptimizerContext, View
from agentopt.plugins import resolve
from benchmarks.engine.marks import cpu_seconds, resident_bytes, yardstick
from benchmarks.rows import ROOT, append, summary

ARCHIVES: dict[str, Any] = {
    "pareto": "pareto",
    "grid": "grid",
    "islands": "islands",
    "islands of grids": {"name": "islands", "options": {"archive": "grid"}},
    "case_front": "case_front",
}
CASES = 4
TENTHS = 10


class Tenths:
    """CPU seconds and resident bytes at the end of every tenth, and what a yardstick took in it; yardsticks do not count."""

    def __init__(self, size: int) -> None:
        self.each = size // TENTHS
        self.seen = 0
        self.cpu = [0.0]
        self.resident = [0]
        self.yards: list[list[float]] = [[] for _ in range(TENTHS + 1)]
        self.spent = 0.0

    def count(self) -> None:
        if self.seen == 0:
            self.cpu[0], self.resident[0] = cpu_seconds(), resident_bytes()
        if self.seen % (self.each // 10) == 0:
            begun = cpu_seconds()
            yardstick()
            self.yards[min(self.seen // self.each, TENTHS)].append(cpu_seconds() - begun)
            self.spent += cpu_seconds() - begun
        self.seen += 1
        if self.seen % self.each == 0 and len(self.cpu) <= TENTHS:
            self.cpu.append(cpu_seconds() - self.spent)
            self.resident.append(resident_bytes())

    def figures(self) -> dict[str, Any]:
        cpu = [(late - early) / self.each for early, late in zip(self.cpu, self.cpu[1:], strict=False)]
        yards = [seconds / median(taken) for seconds, taken in zip(cpu, self.yards, strict=False)]
        growth = (self.resident[-1] - self.resident[1]) / (self.each * (TENTHS - 1))
        return {"cpu_ms": [1000 * seconds for seconds in cpu], "yards": yards, "growth": growth}


class Breed:
    """A random step from what the archive gives."""

    def __init__(self, tenths: Tenths) -> None:
        self.tenths = tenths

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        parent = view.sample(1, rng)[0]
        x = parent.candidate.values["x"] + rng.gauss(0.0, 0.3)
        return [agentopt.Proposal({"x": min(max(x, 0.0), 1.0) + 1e-9 * rng.random()}, (parent.id,), operator="step")]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.tenths.count()


def make_task() -> agentopt.Task:
    task = agentopt.Task(
        name="near",
        goal="Be near to each of several points.",
        parameters={"x": agentopt.Parameter("x", "value", 0.5)},
        objectives=[agentopt.Objective("distance", "min")],
        measures=[agentopt.Measure("place", 0.0, 1.0), agentopt.Measure("digit", 0.0, 1.0)],
        cases={"train": [agentopt.Case(f"c{k}", k / (CASES - 1)) for k in range(CASES)]},
    )

    @task.run
    def run(program: Any, input: Any) -> float:  # pyright: ignore[reportUnusedFunction]
        return abs(program.x - input)

    @task.score
    def score(case: Any, output: Any, measured: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        return agentopt.Score(distance=round(output, 1), measures={"place": output, "digit": output * 100 % 1})

    return task


def measure(archive: str, size: int, rng_seed: int) -> dict[str, Any]:
    tenths = Tenths(size)

    def optimizer(context: OptimizerContext) -> Breed:
        return Breed(tenths)

    with tempfile.TemporaryDirectory() as folder:
        where: dict[str, Any] = {"out": Path(folder) / "run", "executor": "inline", "workers": 1, "rng_seed": rng_seed}
        agentopt.evolve(make_task(), budget=f"{size + 1}evals", optimizer=optimizer, archive=ARCHIVES[archive], **where)
    return tenths.figures()


def report(archive: str, size: int, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    columns = {
        "last tenth / first tenth": ("ratio of yardsticks/candidate", [run["yards"][-1] / run["yards"][0] for run in runs]),
        "first tenth": ("ms CPU/candidate", [run["cpu_ms"][0] for run in runs]),
        "last tenth": ("ms CPU/candidate", [run["cpu_ms"][-1] for run in runs]),
        "memory growth after the first tenth": ("bytes/candidate", [run["growth"] for run in runs]),
    }
    return [{"what": f"{archive}, {what}", "unit": unit, "candidates": size} | summary(each) for what, (unit, each) in columns.items()]


def thinning(members: int = 500, cases: int = 1_000) -> list[dict[str, Any]]:
    """What a case front of that many members takes to find the superfluous ones: its first sample after a new member, without a second."""
    rng = Random(0)
    archive = build("case_front", {"members": 2 * members})
    leading = [set(rng.sample(range(members), 1 + int(rng.expovariate(0.3)))) for _ in range(cases)]
    for k in range(members):
        archive.add(entry(f"member {k}", [float(k in leaders) for leaders in leading]))
    taken: list[float] = []
    for turn in range(50):
        archive.add(entry(f"new {turn}", [float(case == turn) for case in range(cases)]))
        begun = time.thread_time()
        archive.sample(1, rng)
        between = time.thread_time()
        archive.sample(1, rng)
        taken.append(1000 * (between - begun - (time.thread_time() - between)))
    return [{"what": "case_front, removing the superfluous", "unit": "ms CPU", "members": members, "cases": cases} | summary(taken)]


def build(name: str, options: Mapping[str, Any]) -> Archive:
    return resolve("archives", name)(ArchiveContext((agentopt.Objective("right", "max"),), (), options, build))


def entry(name: str, scores: Sequence[float]) -> Entry:
    rollouts = tuple(Rollout(f"case {k}", "train", 0, 0, {"right": score}) for k, score in enumerate(scores))
    train = Aggregate({"right": sum(scores) / len(scores)}, len(scores), {"right": 0.0})
    return Entry(Candidate(name, {}), Evaluation(name, rollouts, {"train": train}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="candidates of a run")
    parser.add_argument("--runs", type=int, default=3, help="how many with each archive")
    parser.add_argument("--archive", choices=ARCHIVES, action="append", help="only this one; may be given several times")
    parser.add_argument("--one", nargs=2, metavar=("ARCHIVE", "RNG_SEED"), help="make one run and print its figures")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], given.size, int(given.one[1]))))
        return
    append("archives", thinning())
    for archive in given.archive or ARCHIVES:
        command = [sys.executable, "-m", "benchmarks.archives.run", "--size", str(given.size), "--one", archive]
        runs: list[dict[str, Any]] = []
        for seed in range(given.runs):
            done = subprocess.run([*command, str(seed)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        append("archives", report(archive, given.size, runs))


if __name__ == "__main__":
    main()
