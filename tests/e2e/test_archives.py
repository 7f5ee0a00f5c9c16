"""Runs with each archive: listed, chosen on the command line, killed and resumed to the same log; bad options are one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import agentopt
from agentopt.core.events import canonical
from agentopt.store.layout import is_run_folder
from agentopt.store.sqlite import SqliteStore
from tests.toys import write_task
from tests.untraced import untraced

ROOT = Path(__file__).parents[2]
TASK = """
import ast

from agentopt import Case, Measure, Objective, Score, Task

task = Task(
    name="line",
    goal="Find the line through the points.",
    parameters={"f": "seed.py"},
    objectives=[Objective("error", "min")],
    measures=[Measure("slope", -2.0, 6.0, 8), Measure("offset", -1.0, 1.0, 4)],
    cases={s: [Case(f"{s}-{k}", [0.5 * k, 1.0], [1.5 * k + 0.3, 3.0]) for k in range(3)] for s in ("train", "validation", "test")},
)

@task.run
def run(program, input):
    return [program.f(x) for x in (*input, 0.0)]

@task.score
def score(case, output, measured):
    found = dict(slope=output[1] - output[2], offset=output[2])
    return Score(error=sum(abs(a - b) for a, b in zip(output, case.expected)), measures=found)
"""
SEED = "def f(x):\n    slope = 1.0\n    if x > 0.7:\n        slope = slope + 0.2\n    return slope * x + 0.1\n"
ARCHIVES = {
    "grid": ("archive=grid", "archive.options.elites=2", "archive.options.tournament=2"),
    "islands": ("archive=islands", "archive.options.islands=3", "archive.options.every=5", "archive.options.inner.bench=4"),
    "islands of grids": ("archive=islands", "archive.options.archive=grid", "archive.options.inner.axes=slope"),
    "case_front": ("archive=case_front", "archive.options.members=20"),
}


def process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    environment = untraced() | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.Popen([sys.executable, "-m", "agentopt", *arguments], cwd=folder, env=environment, **pipes)


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    running = process(folder, *arguments)
    out, err = running.communicate(timeout=120)
    return running.returncode, out, err


def log(folder: Path) -> list[Any]:
    with SqliteStore.open(folder, read_only=True) as store:
        return canonical(list(store.read()))


def told(folder: Path) -> int:
    if not is_run_folder(folder):
        return 0
    with SqliteStore.open(folder, read_only=True) as store:
        return sum(event.kind == "admitted" for event in store.read())


@pytest.fixture
def task(tmp_path: Path) -> str:
    return str(write_task(tmp_path / "line", TASK, SEED))


@pytest.mark.parametrize("name", [name if name == "islands of grids" else pytest.param(name, marks=pytest.mark.slow) for name in ARCHIVES])
@pytest.mark.thorough
def test_killed_and_resumed_the_log_is_the_same(task: str, tmp_path: Path, name: str):
    flags = ["--optimizer", "mutate", "--workers", "1", "--rng-seed", "3", "--budget", "30evals"]
    for setting in ARCHIVES[name]:
        flags += ["--set", setting]
    code, _, err = call(tmp_path, "evolve", task, *flags, "--out", "whole")
    assert code == 0, err
    running = process(tmp_path, "evolve", task, *flags, "--out", "killed")
    until = time.monotonic() + 60
    while told(tmp_path / "killed") < 12:
        assert time.monotonic() < until
        assert running.poll() is None
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert told(tmp_path / "killed") < told(tmp_path / "whole") >= 30
    code, _, err = call(tmp_path, "resume", "killed")
    assert code == 0, err
    assert log(tmp_path / "killed") == log(tmp_path / "whole")


@pytest.mark.thorough
def test_the_archive_is_what_the_search_breeds_from(task: str, tmp_path: Path):
    """Equal seeds, other archives: other parents."""
    chosen: dict[str, list[Any]] = {}
    for name in ("pareto", "grid", "islands", "case_front"):
        run = tmp_path / name
        agentopt.evolve(task, optimizer="mutate", archive=name, budget="20evals", workers=1, rng_seed=3, out=run)
        chosen[name] = [data["parents"] for kind, data in log(run) if kind == "proposed"]
    assert len({str(parents) for parents in chosen.values()}) >= 3


def test_they_are_listed(tmp_path: Path):
    code, out, err = call(tmp_path, "list", "archives")
    assert code == 0, err
    for name in ("case_front", "grid", "islands", "pareto"):
        assert f"\n{name} " in out, out


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["archive=grids"], "archive: there is no 'grids'; there is case_front, grid, islands, pareto, or give package.module:Name"),
        (
            ["archive=grid", "archive.options.axes=size"],
            "archive.axes names 'size', which is no measure of the task; those are: slope, offset",
        ),
        (["archive=islands", "archive.options.islands=none"], "archive.islands is 'none'; it must be of type int"),
        (["archive=islands", "archive.options.inner.bench=-1"], "archive.bench is -1; it must be 0 or more"),
        (["archive=case_front", "archive.options.members=0"], "archive.members is 0; it must be 1 or more"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(task: str, tmp_path: Path, settings: list[str], sentence: str):
    flags = [flag for setting in settings for flag in ("--set", setting)]
    code, out, err = call(tmp_path, "evolve", task, "--optimizer", "mutate", *flags, "--out", "run")
    assert (code, out) == (2, "")
    assert sentence in err
    assert not (tmp_path / "run").exists()
