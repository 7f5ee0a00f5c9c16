"""Searches beside each other under one proposal stream, all with as many evaluations; see README.md.

    python -m benchmarks.search.run --python openevolve=VENV/bin/python --python gepa=... --python shinka=...
    python -m benchmarks.search.run --report

A finished cell is a row of results/cells.jsonl, and is not run again: the command can be ended and given again at any time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agentopt.core.errors import ConfigError
from benchmarks.rows import ROOT, commit, machine
from benchmarks.search.cell import Cell
from benchmarks.search.problems import PROBLEMS, load

__all__ = ["RESULTS", "cells", "read_rows"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
CELLS = "cells.jsonl"
SEEDS, EVALUATIONS = 10, 200
SHINKA_TASKS, SHINKA_SEEDS, SHINKA_EVALUATIONS = ("circle_packing", "tsp_constructive", "symbolic"), 5, 50
PEERS = ("openevolve", "gepa", "shinka")
CONTROLS = ("best_of_n", "restarts")
WITH_A_MODEL, WITHOUT = ("reevo", "evolve", "auto"), ("mutate", "memetic")
READ_ONLY = ("failures", "feedback_cases", "artifacts", "attempts", "failed_edits")
"""What only a model that reads can use: without it the stand-in answers the same."""
NO_IDEAS = ("temperature", "max_output_tokens", "extra_calls", "if_known", "initial")
OFF: Mapping[type, Sequence[Any]] = {bool: (False,), int: (0, 1), float: (0.0,), str: ("rewrite",)}
_SPARE_SECONDS = 60


def command(search: str, pythons: Mapping[str, str]) -> tuple[list[str], dict[str, Any]] | None:
    """What starts the search, and its options; None for a peer without an interpreter or an optimizer that is not there."""
    name, _, switch = search.partition("-")
    if name in PEERS:
        return ([pythons[name], str(HERE / "peers" / f"{name}_search.py")], {}) if name in pythons else None
    if name in CONTROLS:
        return [sys.executable, "-m", "benchmarks.search.plain"], {"search": name}
    if find_spec(f"agentopt.optimizers.{name}") is None:
        return None
    optimizer = {"name": name, "options": {switch: switched_off(name)[switch]}} if switch else {"name": name}
    return [sys.executable, "-m", "benchmarks.search.ours"], {"optimizer": optimizer, "asks": name not in WITHOUT}


def switched_off(name: str = "evolve") -> dict[str, Any]:
    """The ideas of an optimizer that this benchmark can measure, each with the value that leaves it out: false, or the least there is."""
    if find_spec(f"agentopt.optimizers.{name}") is None:
        return {}
    module = import_module(f"agentopt.optimizers.{name}")
    (options,) = (value for key, value in vars(module).items() if key == f"{name.title()}Options")
    found: dict[str, Any] = {}
    for field in fields(options):
        if field.name not in (*READ_ONLY, *NO_IDEAS):
            found[field.name] = next((off for off in OFF[type(field.default)] if _allowed(options, field.name, off)), field.default)
    return {name: off for name, off in found.items() if off != getattr(options(), name)}


def _allowed(options: type, name: str, value: Any) -> bool:
    try:
        options(**{name: value})
    except ConfigError:
        return False
    return True


def cells(given: argparse.Namespace) -> Iterator[tuple[str, str, int, int]]:
    """(task, search, seed, evaluations), seed by seed, so that what is done at any time is balanced."""
    without = ["evolve", *(f"evolve-{switch}" for switch in switched_off())] if given.ablate else []
    for seed in range(given.seeds):
        for task in given.tasks:
            searches = [search for search in without if search != "evolve-grid" or load(task).task.measures] or given.searches
            yield from ((task, search, seed, given.evaluations) for search in searches)
            if not given.ablate and task in SHINKA_TASKS and seed < SHINKA_SEEDS:
                yield task, "shinka", seed, SHINKA_EVALUATIONS


def read_rows(folder: Path = RESULTS) -> list[dict[str, Any]]:
    file = folder / CELLS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def run_cell(cell: Cell) -> dict[str, Any]:
    """The cell's row, from a process of its own; one that dies gives a row that says so."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(cell), file)
        file.flush()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.search.cell", file.name],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=cell.seconds + _SPARE_SECONDS,
            )
            row = json.loads(done.stdout.splitlines()[-1])
        except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
            why = done.stderr[-400:] if not isinstance(error, subprocess.TimeoutExpired) else str(error)
            row = {
                "task": cell.task,
                "search": cell.search,
                "seed": cell.seed,
                "evaluations": cell.evaluations,
                "status": "failed",
                "why": why,
            }
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return row | {"cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)}


def key(row: Mapping[str, Any]) -> tuple[str, str, int, int]:
    return row["task"], row["search"], row["seed"], row["evaluations"]


def grid(given: argparse.Namespace) -> None:
    given.results.mkdir(exist_ok=True)
    done = {key(row) for row in read_rows(given.results)}
    stamp = {"commit": commit(), "machine": machine()}
    for task, search, seed, evaluations in cells(given):
        if (task, search, seed, evaluations) in done:
            continue
        started = command(search, given.pythons)
        if started is None:
            continue
        row = run_cell(Cell(task, search, seed, evaluations, *started))
        with (given.results / CELLS).open("a") as file:
            file.write(json.dumps(row | stamp) + "\n")
        shown = ("task", "search", "seed", "status", "used", "train", "held_out", "calls", "cpu_s", "wall_s")
        print(*(row.get(name) for name in shown), row["why"] if row["status"] == "failed" else "", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--searches", nargs="+", default=[*WITH_A_MODEL, *PEERS[:2], *CONTROLS])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS)
    parser.add_argument("--python", action="append", default=[], metavar="PEER=FILE", help="the interpreter that has the peer")
    parser.add_argument("--ablate", action="store_true", help="evolve with each of its ideas switched off")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the rows and tables")
    parser.add_argument("--report", action="store_true", help="tables of what is done")
    given = parser.parse_args()
    given.pythons = dict(pair.split("=", 1) for pair in given.python)
    if given.report:
        from benchmarks.search.report import write

        write(read_rows(given.results), given.results)
    else:
        grid(given)


if __name__ == "__main__":
    main()
