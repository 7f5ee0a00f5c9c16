"""A winner of circle_packing at other sizes: does the program search, or does it remember one answer?

    python -m benchmarks.sizes.run BEST.py --sizes 26 20 32

The program is run unchanged, in the box, with the task's own judge in exact arithmetic. Its numeric literals are counted: a program with
more than a dozen of them may hold the answer.
"""

from __future__ import annotations

import argparse
import ast
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentopt import Case, Task, load_task
from agentopt.inspection import score_candidate
from benchmarks.rows import append


def literals(source: str) -> tuple[int, int]:
    """Numeric literals of the program, and those of them that are no whole number up to 10 in size."""
    found = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and type(node.value) in (int, float)]
    return len(found), sum(not (value == int(value) and abs(value) <= 10) for value in found)


def sized(n: int) -> Task:
    task = load_task("circle_packing")
    (objective,) = task.objectives
    # no packing can pass it: see the task
    bounded = replace(objective, ceiling=math.sqrt(n / math.pi))
    return replace(task, objectives=[bounded], cases={"train": [Case(f"square-{n}", {"n": n})]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[26, 20, 32])
    parser.add_argument("--name", default="")
    given = parser.parse_args()
    source = given.program.read_text(encoding="utf-8")
    every, unusual = literals(source)
    rows: list[dict[str, Any]] = []
    for n in given.sizes:
        found = score_candidate(sized(n), {"construct": source}, "train")
        (rollout,) = found.rollouts
        row = {"what": given.name or given.program.stem, "n": n, "sum_radii": found.scores.get("sum_radii")}
        row |= {"failure": found.failure.kind if found.failure else None, "wall": round(rollout.measured.wall, 2)}
        rows.append(row | {"literals": every, "unusual_literals": unusual, "sandbox": found.sandbox})
    append("sizes", rows)


if __name__ == "__main__":
    main()
