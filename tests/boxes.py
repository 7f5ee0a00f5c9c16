"""What the tests of boxes share: a small task, candidates from source, and a count of what is left behind."""

from __future__ import annotations

import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.evaluation import Rollout
from agentopt.core.protocols import ExecutorContext, Wish
from agentopt.core.task import Case, Limits, Objective, Parameter, Task
from agentopt.sandbox import client
from agentopt.scoring import client as scoring_client

DOUBLE = "def f(x):\n    return x * 2\n"


# where coverage is measured, it is measured in our own processes too
_MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS")}
if _MEASURED:
    client.environment = lambda level, plain=client.environment: plain(level) | _MEASURED
    scoring_client._KEPT_VARIABLES += tuple(_MEASURED)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


def make_task(source: str = DOUBLE, **changes) -> Task:
    """``f(x)`` is to double its input; a right answer scores 1."""
    settings = {
        "name": "double",
        "parameters": {"f": Parameter("f", "code", source)},
        "objectives": [Objective("right", "max")],
        "cases": {"train": [Case("one", {"x": 1}, 2), Case("two", {"x": 2}, 4)], "test": [Case("ten", {"x": 10}, 20)]},
        "limits": Limits(seconds=2.0, memory_mb=256, printed_mb=1.0, output_mb=1.0, score_seconds=10.0),
    } | changes
    task = Task(**settings)

    @task.run
    def run(program, input):
        return program.f(input["x"])

    @task.score
    def score(case, output, measured):
        return 1.0 if output == case.expected else 0.0

    return task


def candidate(task: Task, **values) -> Candidate:
    return Candidate.of(Proposal({**task.seed_values, **values}), task.resolved)


def context(task: Task, capacity: int = 1, kept: list[bytes] | None = None, wish: Wish = Wish()) -> ExecutorContext:  # noqa: B008
    def put(data: bytes) -> str:
        if kept is not None:
            kept.append(data)
        return f"printed-{len(data)}"

    return ExecutorContext(task, task.make_cases(), capacity, put, wish)


@asynccontextmanager
async def opened(executor_class, task: Task, **settings):
    """An executor that is closed at the end, and must then have left nothing behind."""
    before, folders = descriptors(), scratch_folders()
    executor = executor_class(context(task, **settings))
    try:
        yield executor
    finally:
        await executor.close()
    assert scratch_folders() == folders
    assert psutil.Process().children(recursive=True) == []
    assert descriptors() == before


async def once(executor, task: Task, source: str, case: str = "two") -> Rollout:
    """One rollout of a candidate whose ``f`` is ``source``, in a session that is closed again."""
    session = await executor.open(candidate(task, f=source))
    try:
        return await session.rollout(case, 0, 1)
    finally:
        await session.close()


def scratch_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).iterdir())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
