"""What the engine itself costs per candidate, from 100 to 100,000 of them, and OpenEvolve beside it.

``python -m benchmarks.engine.run`` from the root of the checkout. ``--openevolve PYTHON`` names an interpreter that has OpenEvolve
(``python -m venv peer && peer/bin/pip install openevolve``). Every run is a process of its own and gives figures for all sizes it passes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.engine import peer
from benchmarks.engine.marks import SIZES
from benchmarks.rows import ROOT, append, summary

Run = dict[str, Any]


def our_run(size: int, rng_seed: int) -> Run:
    command = [sys.executable, "-m", "benchmarks.engine.ours", str(size), str(rng_seed)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    run: Run = json.loads(done.stdout.splitlines()[-1])
    return run | {"sizes": {int(size): figures for size, figures in run["sizes"].items()}}


def row(what: str, unit: str, size: int, values: Sequence[float], **more: Any) -> dict[str, Any]:
    return {"what": what, "unit": unit, "candidates": size, **summary(values), **more}


def report(name: str, runs: Sequence[Run], up_to: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """A row per size and quantity that the runs, all of ``up_to`` candidates, give."""
    rows: list[dict[str, Any]] = []
    for size in (size for size in SIZES if size <= up_to):
        figures = [run["sizes"][size] for run in runs]
        for key, unit in (
            ("rate", "candidates/s"),
            ("cpu_ms", "ms CPU/candidate"),
            ("yards", "yardsticks/candidate"),
            ("resident", "bytes"),
        ):
            if key in figures[0]:
                rows.append(row(name, unit, size, [each[key] for each in figures], run_length=up_to, rng_seeds=list(seeds)))
    rows.append(row(f"{name}, on disk", "bytes/candidate", up_to, [run["log_bytes"] for run in runs], rng_seeds=list(seeds)))
    if "cpu_ms" in runs[0]:
        rows.append(row(f"{name}, whole run", "ms CPU/candidate", up_to, [run["cpu_ms"] for run in runs], rng_seeds=list(seeds)))
    if "resident" in runs[0]["sizes"][up_to] and up_to > 1_000:
        growth = [(run["sizes"][up_to]["resident"] - run["sizes"][1_000]["resident"]) / (up_to - 1_000) for run in runs]
        rows.append(row(f"{name}, memory growth", "bytes/candidate", up_to, growth, rng_seeds=list(seeds)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="candidates of each of the repeated runs")
    parser.add_argument("--runs", type=int, default=5, help="how many of them")
    parser.add_argument("--long-runs", type=int, default=3, help="how many runs of 100,000 candidates; 0 for none")
    parser.add_argument("--openevolve", metavar="PYTHON", help="also measure OpenEvolve, installed for this interpreter")
    parser.add_argument("--openevolve-size", type=int, default=1_000, help="iterations of each of its runs")
    parser.add_argument("--openevolve-runs", type=int, default=5, help="how many of them")
    given = parser.parse_args()
    for size, count in ((given.size, given.runs), (SIZES[-1], given.long_runs)):
        if count:
            append("engine", report("agentopt", [our_run(size, seed) for seed in range(count)], size, range(count)))
    if given.openevolve:
        size, seeds = given.openevolve_size, range(given.openevolve_runs)
        append("engine", report("openevolve", [peer.measure(given.openevolve, size, seed) for seed in seeds], size, seeds))


if __name__ == "__main__":
    main()
