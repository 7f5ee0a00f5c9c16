"""What recording a workflow costs, beside a floor and beside other recorders.

``python -m benchmarks.trace.run`` from the root of the checkout. ``--trace-opt PYTHON`` and ``--textgrad PYTHON`` name interpreters that
have them: trace-opt with graphviz; textgrad with diskcache, platformdirs, tenacity, python-dotenv, httpx, pillow, openai and requests. The
rest of what they depend on is large and not needed here. Each round is a process of its own per system, one after the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT, append, summary

PEER = Path(__file__).with_name("peer.py")


def figures_of(command: list[str], folder: str) -> dict[str, float]:
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trace-opt", metavar="PYTHON", help="also measure trace-opt, installed for this interpreter")
    parser.add_argument("--textgrad", metavar="PYTHON", help="also measure textgrad, installed for this interpreter")
    given = parser.parse_args()
    systems = {"agentopt": [sys.executable, "-m", "benchmarks.trace.ours"]}
    for name, python, which in (("trace-opt", given.trace_opt, "trace"), ("textgrad", given.textgrad, "textgrad")):
        if python:
            systems[name] = [python, str(PEER), which]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    with tempfile.TemporaryDirectory() as empty:  # textgrad writes logs where it is
        for _ in range(given.rounds):
            for name, command in systems.items():
                found[name].append(figures_of(command, str(ROOT) if name == "agentopt" else empty))
    rows: list[dict[str, Any]] = []
    for name, rounds in found.items():
        rows += [{"what": f"{name}: {what}", **summary([each[what] for each in rounds])} for what in rounds[0]]
    append("trace", rows)


if __name__ == "__main__":
    main()
