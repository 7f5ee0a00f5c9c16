"""What a model call costs in this process, and how many complete in a second, beside the library underneath alone.

``python -m benchmarks.llm.run`` from the root of the checkout. The server is ``agentopt dev fake-llm`` in a process of its own and answers
at once; it shares the cores with the client and with whatever else runs (``highest_load`` tells), so that calls per second are a lower
bound. ``--litellm PYTHON`` names an interpreter that has litellm, which needs an older openai SDK. Every figure comes from a fresh
process; the ways take turns, so that a busy moment hits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from statistics import median
from typing import Any

from benchmarks.llm.calls import IN_FLIGHT
from benchmarks.rows import ROOT, append, summary

Run = dict[str, Any]


def environment() -> dict[str, str]:
    dropped = ("PYTHONDONTWRITEBYTECODE", "OPENAI_", "COVERAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | {"PYTHONPATH": str(ROOT)}


def one(python: str, what: str, url: str, calls: int) -> Run:
    command = [python, "-m", "benchmarks.llm.calls", what, url, str(calls)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1]) | {"load": round(os.getloadavg()[0], 1)}


def rows(alone: str, ours: str, runs: dict[str, list[Run]], calls: int) -> list[dict[str, Any]]:
    load = max(run["load"] for run in [*runs[alone], *runs[ours]])
    about = {"calls": calls, "in_flight": IN_FLIGHT, "openai": runs[ours][0]["openai"], "highest_load": load}
    found = [
        {"what": what, "unit": unit, **about, **summary([run[key] for run in runs[what]])}
        for what in (alone, ours)
        for key, unit in (("cpu_ms", "ms CPU/call"), ("rate", "calls/s"))
    ]
    ratios = [mine["cpu_ms"] / theirs["cpu_ms"] for mine, theirs in zip(runs[ours], runs[alone], strict=True)]
    return [*found, {"what": f"{ours} over {alone}", "unit": "ratio of CPU", **about, **summary(ratios)}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="processes per way")
    parser.add_argument("--calls", type=int, default=1000, help="calls per process")
    parser.add_argument("--litellm", metavar="PYTHON", help="also measure over litellm, installed for this interpreter")
    given = parser.parse_args()
    pairs = [(sys.executable, "openai SDK alone", "agentopt, openai SDK")]
    if given.litellm:
        pairs += [(given.litellm, "openai SDK alone", "agentopt, openai SDK"), (given.litellm, "litellm alone", "agentopt, litellm")]
    command = [sys.executable, "-m", "agentopt", "dev", "fake-llm"]
    with subprocess.Popen(command, cwd=ROOT, env=environment() | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        for python, alone, ours in pairs:
            runs: dict[str, list[Run]] = {alone: [], ours: []}
            for _ in range(given.runs):
                for what in runs:
                    runs[what].append(one(python, what, url, given.calls))
            append("llm", rows(alone, ours, runs, given.calls))
            rate = median(run["rate"] for run in runs[ours])
            if rate < 50:
                print(f"{ours}: {rate:.0f} calls/s is below the aim of 50", file=sys.stderr)
        server.terminate()


if __name__ == "__main__":
    main()
