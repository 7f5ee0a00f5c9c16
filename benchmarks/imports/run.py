"""What ``import agentopt`` and ``agentopt --help`` cost beside a bare interpreter and an empty typer app.

``python -m benchmarks.imports.run`` from the root of the checkout. The four are run in turn, so that a busy moment hits all of them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from statistics import median

from benchmarks.rows import ROOT, append, summary

ROUNDS = 15
TYPER = """
import sys
import typer
app = typer.Typer()

@app.command()
def work(path: str, count: int = 3) -> None:
    "Do it."

sys.argv = ["app", "--help"]
app()
"""
PROGRAMS = {
    "python -c pass": "pass",
    "import agentopt": "import agentopt",
    "bare typer --help": TYPER,
    "agentopt --help": "import sys; sys.argv = ['agentopt', '--help']; from agentopt.cli import main; sys.exit(main())",
}


def measure(program: str) -> tuple[float, float]:
    """(wall, CPU) seconds of a new interpreter that runs ``program``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(ROOT)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    for program in PROGRAMS.values():
        measure(program)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            taken[name].append(measure(program))
    rows = [
        {"what": name, "unit": unit, **summary([1000 * pair[column] for pair in pairs])}
        for name, pairs in taken.items()
        for column, unit in enumerate(("ms wall", "ms CPU"))
    ]
    cpu = {name: median(pair[1] for pair in pairs) for name, pairs in taken.items()}
    over = 1000 * (cpu["import agentopt"] - cpu["python -c pass"])
    ratio = cpu["agentopt --help"] / cpu["bare typer --help"]
    rows += [
        {"what": "import agentopt over python -c pass", "unit": "ms CPU", **summary([over])},
        {"what": "agentopt --help over bare typer", "unit": "ratio of CPU", **summary([ratio])},
    ]
    append("imports", rows)


if __name__ == "__main__":
    main()
