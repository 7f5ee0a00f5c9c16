"""kill -9 at random instants: of the controller process alone, and of the whole tree; then resume and compare.

    python -m benchmarks.kill.run --times 50

Counts, over all kills: processes alive one second later, rollouts done twice, final logs that differ from the uninterrupted run's.
Every figure must be zero, but for rollouts: at most the one in flight per kill.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from agentopt.core.events import canonical
from agentopt.store.layout import is_run_folder
from agentopt.store.sqlite import SqliteStore
from benchmarks.rows import append

HERE = Path(__file__).parent
IN_FLIGHT = 2
"""Rollouts that a candidate of the task can have under way at once: the first of a split's three cases goes alone."""
_PR_SET_CHILD_SUBREAPER = 36


def start(*arguments: str, marks: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"KILL_MARKS": str(marks)}
    return subprocess.Popen(
        [sys.executable, "-m", "agentopt", *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def evolve(out: Path, budget: str, marks: Path) -> subprocess.Popen[bytes]:
    settings = ("--budget", budget, "--workers", "1", "--rng-seed", "3", "--optimizer", "mutate", "--out", str(out))
    return start("evolve", str(HERE / "task.py"), *settings, marks=marks)


def read(folder: Path) -> list[Any]:
    with contextlib.closing(SqliteStore.open(folder, read_only=True)) as store:
        return canonical(store.read())


def kill(process: subprocess.Popen[bytes], whole_tree: bool) -> None:
    targets = [process.pid]
    if whole_tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            targets += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def left_running() -> list[str]:
    """Descendants that are still alive; orphans come to us because we are a subreaper."""
    alive: list[str] = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                alive.append(f"{child.pid} {' '.join(child.cmdline())[:60]}")
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return alive


def one(whole_tree: bool, seconds: float, budget: str, expected: list[Any], work: Path) -> dict[str, Any]:
    """One run, killed once ``seconds`` after its log was made and resumed to its end."""
    out, marks = work / "run", work / "marks"
    shutil.rmtree(out, ignore_errors=True)
    marks.write_text("")
    process = evolve(out, budget, marks)
    while not is_run_folder(out) and process.poll() is None:
        time.sleep(0.001)
    time.sleep(seconds)
    finished = process.poll() is not None
    kill(process, whole_tree)
    time.sleep(1.0)
    alive = left_running()
    code = start("resume", str(out), marks=marks).wait()
    log = read(out)
    judged = sum(kind == "rollout" and data.get("failure", {}).get("kind", "wrong") == "wrong" for kind, data in log)
    return {
        "whole_tree": whole_tree,
        "seconds": round(seconds, 3),
        "finished_before": finished,
        "alive": alive,
        "exit_code": code,
        "identical": log == expected,
        "rollouts_repeated": len(marks.read_text()) - judged,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="kills of each kind")
    parser.add_argument("--budget", default="40evals")
    parser.add_argument("--rng-seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="add the verdict to results/")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    rng = random.Random(options.rng_seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "marks").touch()
        if evolve(work / "whole", options.budget, work / "marks").wait():
            print("the uninterrupted run failed", file=sys.stderr)
            return 2
        expected = read(work / "whole")
        length = json.loads((work / "whole" / "summary.json").read_text())["spent"]["seconds"]
        rows: list[dict[str, Any]] = []
        for whole_tree in (False, True):
            for _ in range(options.times):
                rows.append(one(whole_tree, rng.uniform(0.0, length), options.budget, expected, work))
                print(json.dumps(rows[-1]), flush=True)
    in_run = [row for row in rows if not row["finished_before"]]
    verdict = {
        "kills": len(rows),
        "in_a_run": len(in_run),
        "left_alive": sum(bool(row["alive"]) for row in rows),
        "not_identical": sum(not row["identical"] for row in rows),
        "bad_exit": sum(row["exit_code"] != 0 for row in rows),
        "most_rollouts_repeated": max(row["rollouts_repeated"] for row in in_run) if in_run else 0,
    }
    if options.save:
        append("kill", [verdict])
    print(json.dumps(verdict))
    good = not (verdict["left_alive"] or verdict["not_identical"] or verdict["bad_exit"]) and verdict["most_rollouts_repeated"] <= IN_FLIGHT
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
