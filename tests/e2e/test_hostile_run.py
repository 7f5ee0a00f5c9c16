"""100 candidates, a few of them hostile: each ends as the kind of failure it is, the others score exactly as without them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

import agentopt as ao
from agentopt.core.errors import StoreError
from agentopt.core.protocols import Exhausted
from agentopt.store.sqlite import SqliteStore
from tests.toys import Steps, write_task

FORKED = """
import os, time
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open({marks!r}, "a").write(str(os.getpid()) + " ")
            time.sleep(600)
        os._exit(0)
    time.sleep(0.05)
    return 2.5 * x
"""

FLOOD = "def f(x):\n    for _ in range(200):\n        print('x' * (1 << 20))\n    return 2.6 * x\n"
WRITER = """
import os
def f(x):
    for name in os.listdir({run!r}):
        path = os.path.join({run!r}, name)
        if os.path.isfile(path):
            with open(path, "ab") as file:
                file.write(b"garbage from a candidate")
    open({run!r} + "/was-here", "w").close()
    return 2.7 * x
"""

HOSTILE = {
    "timeout": "def f(x):\n    while True:\n        pass\n",
    "memory": "def f(x):\n    return len(bytearray(4 << 30)) * x\n",
    "crash": "import os\ndef f(x):\n    os._exit(0)\n",
    "oversize": FLOOD,
}
FORGED = 'import sys\ndef f(x):\n    print(\'{"error": -1e9, "scores": {"error": -1e9}}\', flush=True)\n    return 2.4 * x\n'


def honest(k: int) -> str:
    return f"def f(x):\n    return {0.05 * k + 0.013:.3f} * x\n"


def run(folder: Path, sources: list[str], name: str, sandbox: str = "L2") -> tuple[ao.Result, dict[str, dict[str, Any]]]:
    """The result, and what was said of each candidate's values."""

    class Given(Steps):
        def __init__(self, context: Any) -> None:
            self.left = list(sources)

        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            if not self.left:
                return Exhausted("all proposed")
            return [ao.Proposal({"f": self.left.pop(0)}, (), "given", "given")]

    said: dict[str, dict[str, Any]] = {}
    limits = {"seconds": 1.0, "memory_mb": 512}
    file = folder / "task" / "task.py"
    settings: dict[str, Any] = {"budget": "200evals", "limits": limits, "workers": 2, "select": "error", "sandbox": sandbox}
    result = ao.evolve(file, optimizer=Given, out=folder / name, **settings)
    with SqliteStore.open(folder / name, read_only=True) as store:
        for event in store.read():
            if event.kind == "proposed":
                said[event.data["candidate"]] = {"source": store.get(event.data["values"]).decode()}
            elif event.kind == "evaluated" and event.data["stage"] == "train":
                said[event.data["candidate"]] |= {key: event.data.get(key) for key in ("splits", "failure")}
    by_source = {source: found for source in sources for found in said.values() if found["source"] == json.dumps({"f": source})}
    return result, by_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_task(tmp_path / "task")
    return tmp_path


def expected(folder: Path, factor: float) -> Any:
    """How an honest candidate with that factor scores."""
    _, said = run(folder, [f"def f(x):\n    return {factor} * x\n"], f"expected-{factor}")
    return next(iter(said.values()))["splits"]


def test_hostile_candidates_fail_by_name_and_the_others_do_not_notice(folder: Path):
    marks = folder / "marks"
    forked = FORKED.format(marks=str(marks))
    sources = [honest(k) for k in range(94)]
    _, alone = run(folder, sources, "alone")
    mixed = list(sources)
    for position, source in zip((5, 20, 35, 50, 65, 80), [*HOSTILE.values(), FORGED, forked], strict=True):
        mixed.insert(position, source)
    assert len(mixed) == 100
    result, said = run(folder, mixed, "mixed")
    assert result.status == "exhausted"
    for source in sources:
        assert said[source]["splits"] == alone[source]["splits"]
    for kind, source in HOSTILE.items():
        assert said[source]["failure"]["kind"] == kind
    assert said[forked]["failure"]["kind"] == "crash"
    assert "PermissionError" in said[forked]["failure"]["message"]
    assert not marks.exists()
    assert result.failures == {**dict.fromkeys(HOSTILE, 1), "crash": 2}
    assert said[FORGED]["splits"] == expected(folder, 2.4)


def test_where_processes_can_be_forked_they_end_with_the_candidate(folder: Path):
    marks = folder / "marks"
    forked = FORKED.format(marks=str(marks))
    _, said = run(folder, [honest(1), forked, honest(2)], "forked", "L1")
    assert said[forked]["splits"] == expected(folder, 2.5)
    assert marks.exists()
    assert not [pid for pid in marks.read_text().split() if psutil.pid_exists(int(pid))]
    assert not [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def test_a_candidate_cannot_write_into_the_run_folder(folder: Path):
    victim = folder / "victim"
    writer = WRITER.format(run=str(victim))
    _, said = run(folder, [honest(1), writer, honest(2)], "victim")
    assert "PermissionError" in said[writer]["failure"]["message"]
    assert not (victim / "was-here").exists()
    with SqliteStore.open(victim, read_only=True) as store:
        assert store.verify() > 0


def test_where_a_candidate_can_write_into_the_run_folder_it_does_not_go_unnoticed(folder: Path):
    """Level 1 does not prevent it; the log is intact or the damage is said."""
    victim = folder / "victim"
    sources = [honest(1), WRITER.format(run=str(victim)), honest(2)]
    damaged = ""
    try:
        run(folder, sources, "victim", "L1")
    except StoreError as error:
        damaged = str(error)
    if not damaged:
        with SqliteStore.open(victim, read_only=True) as store:
            assert store.verify() > 0
    else:
        assert "victim" in damaged
    assert (victim / "was-here").exists()
