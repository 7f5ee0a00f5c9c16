"""What a box costs: CPU and wall time per evaluation beside other ways to isolate a candidate, and the rate of calls into one box.

    python -m benchmarks.sandbox.run

from the root of the checkout. The candidate is trivial: its source is loaded, ``f`` is called once, the answer comes back. The ways:

- fresh        a new ``python -I`` that imports the module
- forkserver   ``multiprocessing`` with a forkserver that has the module preloaded
- bare fork    one ``os.fork`` from a process that has imported the module, no walls: the floor
- L2, L1       the real executor at that level: a session is opened, makes one rollout and is closed

Each way is a process of its own and is asked for blocks of evaluations in turn, so that a machine that changes its speed hits all of
them. CPU is that of the whole process tree, reaped children included; the scorer's share is a row of its own, for the other ways score
nothing. Differences and ratios are taken within a round, and given with Student's interval over the rounds.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from statistics import quantiles
from types import TracebackType
from typing import Any

from agentopt.scoring.interval import paired_interval
from benchmarks.rows import ROOT, append, summary

MODULES = {"numpy": 5, "sklearn.ensemble": 1, "torch": 1}
"""Module -> how many fresh interpreters make a block."""
WAYS = ("fresh", "forkserver", "bare fork", "L2", "L1")
AT_ONCE = (1, 2, 8)
START = "from benchmarks.sandbox.ways import main; main()"

Row = dict[str, Any]


class Worker:
    """A way at work, in its own process."""

    def __init__(self, way: str, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, way, module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.__exit__(kind, error, trace)

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def compare(module: str, rounds: int, size: int) -> list[Row]:
    """Blocks of all ways in turn."""
    workers = {way: Worker(way, module) for way in WAYS}
    taken: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    sizes = {way: MODULES[module] if way == "fresh" else size for way in WAYS}
    for worker in workers.values():
        worker.ask(evaluations=1)
    for number in range(rounds):
        for way in (*WAYS[number % len(WAYS) :], *WAYS[: number % len(WAYS)]):
            taken[way].append(workers[way].ask(evaluations=sizes[way]))
    for worker in workers.values():
        with worker:
            pass
    return _rows(module, taken, sizes)


def _rows(module: str, taken: dict[str, list[dict[str, Any]]], sizes: dict[str, int]) -> list[Row]:
    rows: list[Row] = []
    cpu = {
        way: [1000 * (sum(block["cpu"].values()) - block["cpu"].get("scorer", 0.0)) / sizes[way] for block in taken[way]] for way in WAYS
    }
    for way in WAYS:
        about = {"module": module, "way": way, "evaluations_per_block": sizes[way]}
        about |= {"sandbox": taken[way][0]["sandbox"]} if "sandbox" in taken[way][0] else {}
        rows.append({"what": "one evaluation", "unit": "ms CPU", **about, **summary(cpu[way])})
        rows.append(
            {"what": "one evaluation", "unit": "ms wall", **about, **spread([wall for block in taken[way] for wall in block["walls"]])}
        )
        if way in ("L1", "L2"):
            for part, name in (("ours", "controller's share"), ("scorer", "scorer, not counted above")):
                shares = [1000 * block["cpu"][part] / sizes[way] for block in taken[way]]
                rows.append({"what": name, "unit": "ms CPU", **about, **summary(shares)})
    for way in ("L2", "L1"):
        over = [a - b for a, b in zip(cpu[way], cpu["bare fork"], strict=True)]
        rows.append({"what": f"{way} over a bare fork", "unit": "ms CPU", "module": module, **interval(over), **summary(over)})
        times = [math.log(a / b) for a, b in zip(cpu["fresh"], cpu[way], strict=True)]
        found = {key: math.exp(value) for key, value in interval(times).items()}
        rows.append(
            {"what": f"{way} cheaper than fresh", "unit": "times", "module": module, **found, **summary([math.exp(t) for t in times])}
        )
    return rows


def spread(walls: Sequence[float]) -> dict[str, Any]:
    """Median and 99th percentile in ms over all evaluations; the largest where there are fewer than a hundred."""
    ordered = sorted(1000 * wall for wall in walls)
    last = quantiles(ordered, n=100, method="inclusive")[98] if len(ordered) > 1 else ordered[0]
    return {"n": len(ordered), "p50": round(ordered[len(ordered) // 2], 3), "p99": round(last, 3), "max": round(ordered[-1], 3)}


def interval(values: Sequence[float]) -> dict[str, float]:
    found = paired_interval(values)
    return {} if found is None else dict(zip(("mean", "mean_low", "mean_high"), (float(f"{value:.4g}") for value in found), strict=True))


def at_once(rounds: int, size: int) -> list[Row]:
    """Wall time per evaluation with several candidates open at the same time."""
    walls: dict[int, list[float]] = {count: [] for count in AT_ONCE}
    rates: dict[int, list[float]] = {count: [] for count in AT_ONCE}
    with Worker("L2", "numpy") as worker:
        worker.ask(evaluations=16, at_once=8)
        for _ in range(rounds):
            for count in AT_ONCE:
                block = worker.ask(evaluations=size, at_once=count)
                walls[count] += block["walls"]
                rates[count].append(size / block["seconds"])
    rows: list[Row] = []
    for count in AT_ONCE:
        about = {"module": "numpy", "way": "L2", "at_once": count}
        rows.append({"what": "one evaluation", "unit": "ms wall", **about, **spread(walls[count])})
        rows.append({"what": "evaluations", "unit": "per second", **about, **summary(rates[count])})
    return rows


def calls(rounds: int, size: int) -> list[Row]:
    """Rates of calls into one box, with and without scoring, and of 1 MB arrays."""
    orders: dict[str, dict[str, Any]] = {
        "small calls, 64 together": {"box_calls": size, "together": 64},
        "small calls, one by one": {"box_calls": size // 4, "together": 1},
        "small calls, scored, as a session does them": {"calls": size, "together": True},
        "small calls, scored, one by one": {"calls": size // 4, "together": False},
        "1 MB of float64 there and back": {"round_trips": max(10, size // 40)},
    }
    rates: dict[str, list[float]] = {what: [] for what in orders}
    with Worker("L2", "numpy") as worker:
        worker.ask(evaluations=3)
        for _ in range(rounds):
            for what, order in orders.items():
                rates[what].append(next(iter(order.values())) / worker.ask(**order)["seconds"])
    return [{"what": what, "unit": "per second", "module": "numpy", "way": "L2", **summary(found)} for what, found in rates.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how many blocks of each way")
    parser.add_argument("--evaluations", type=int, default=50, help="evaluations in a block; fresh interpreters are fewer")
    parser.add_argument("--calls", type=int, default=4000, help="small calls in a block")
    parser.add_argument("--modules", nargs="*", default=list(MODULES), choices=list(MODULES))
    parser.add_argument("--save", action="store_true", help="add the rows to results/")
    given = parser.parse_args()
    rows: list[Row] = []
    for module in given.modules:
        rows += compare(module, given.rounds, given.evaluations)
    rows += at_once(given.rounds, 2 * given.evaluations)
    rows += calls(given.rounds, given.calls)
    if given.save:
        append("sandbox", rows)
    else:
        for row in rows:
            print(json.dumps({key: value for key, value in row.items() if key != "values"}))


if __name__ == "__main__":
    main()
