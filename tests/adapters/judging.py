"""The driver of the box without a box: a process of its own in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentopt.core.errors import Reject
from agentopt.core.evaluation import Measured
from agentopt.core.task import Score, Task
from agentopt.loading import load_task, make_cases

FOLDERS = Path(__file__).parent / "folders"
_START = "import sys; from agentopt.adapters.inside.driver import main; main(*sys.argv[1:])"


@dataclass
class Judged:
    """How the process ended, what it printed, and what the task's ``score`` makes of that."""

    status: int
    said: str
    words: str
    score: Score | None
    rejected: str


def judge(task: Task, tmp_path: Path, environ: dict[str, str] | None = None, **files: str) -> Judged:
    """The candidate is the seed, but for the files named here by their parameter."""
    box, work = tmp_path / "box", tmp_path / "work"
    for name, value in {**task.seed_values, **files}.items():
        path = box / str(task.resolved[name].path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)
    work.mkdir(parents=True)
    command = [sys.executable, "-c", _START, task.command[-1], str(box), str(work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    try:
        score, rejected = verdict(task, done.stdout), ""
    except Reject as reason:
        score, rejected = None, str(reason)
    return Judged(done.returncode, done.stdout, done.stderr, score, rejected)


def verdict(task: Task, output: Any) -> Score:
    """Raises Reject."""
    return task.functions["score"](make_cases(task)["train"][0], output, Measured())


def said(**members: Any) -> str:
    return json.dumps(members)


def folder(name: str) -> Task:
    return load_task(FOLDERS / name)
