"""Candidates in the user's own process: no walls, no deadline, next to no cost. For trusted code and quick evaluators."""

from __future__ import annotations

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

from agentopt.core.candidate import Candidate
from agentopt.core.errors import TaskError
from agentopt.core.evaluation import Measured, Rollout
from agentopt.core.protocols import ExecutorContext, Session
from agentopt.core.task import Task
from agentopt.sandbox.check import static_failure
from agentopt.sandbox.files import copy_files, remove_folder
from agentopt.sandbox.harness import Harness, Outcome, Work, failure_of
from agentopt.sandbox.levels import trust
from agentopt.sandbox.payload import box_files
from agentopt.sandbox.program import Piece, pieces_of
from agentopt.sandbox.session import Inputs, output_digest, splits_of
from agentopt.sandbox.walls import caps_of
from agentopt.scoring.judge import Judge, Verdict

__all__ = ["Inline"]

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Inline:
    """Runs and scores synchronously. A loop that never ends never ends here either: use a box for code one does not know.

    Raises TaskError for a task that needs walls or whose warm fails, ConsentError for code from elsewhere.
    """

    sandbox = "inline"

    def __init__(self, context: ExecutorContext) -> None:
        trust(context.task, context.wish, "inline")
        self.capacity = context.capacity
        self._context = context
        self._shared = _Shared(context)
        self._sessions: list[_InlineSession] = []

    async def open(self, candidate: Candidate) -> Session:
        session = _InlineSession(self._shared, pieces_of(self._context.task.resolved, candidate.values))
        self._sessions = [other for other in self._sessions if not other.closed] + [session]
        return session

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()


class _Shared:
    """What all sessions of an executor use."""

    def __init__(self, context: ExecutorContext) -> None:
        task: Task = context.task
        self.task = task
        self.put = context.put
        self.judge = Judge.of(task)
        self.work = Work(task.functions.get("run"), task.functions.get("evaluate"))
        _warm(task)
        self.cases = {case.id: case for members in context.cases.values() for case in members}
        self.inputs = Inputs(context.cases)
        self.splits = splits_of(context.cases)
        self.output_cap = caps_of(task.limits).output
        self.box_files = box_files(task)


def _warm(task: Task) -> None:
    try:
        task.functions.get("warm", bool)()
    except Exception as error:
        raise TaskError(f"task {task.name!r}: warm failed: {type(error).__name__}: {error}") from error


class _InlineSession:
    """Input and output cross as bytes, as they would into a box, so a candidate sees and can spoil only copies."""

    def __init__(self, shared: _Shared, pieces: list[Piece]) -> None:
        self.closed = False
        self._shared = shared
        self._pieces = pieces
        self._syntax = static_failure(pieces)
        self._harness: Harness | None = None
        self._loaded = Outcome("ok")
        self._folder: Path | None = None

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        split = self._shared.splits[case_id]
        if self._syntax:
            return Rollout(case_id, split, repeat, rng_seed, failure=self._syntax)
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed), self._inside():
            outcome, measured = self._run(case_id, rng_seed)
        failure = failure_of(outcome)
        verdict = Verdict(failure=failure) if failure else self._judged(case_id, outcome.output, replace(measured, rng_seed=rng_seed))
        return Rollout(
            case_id,
            split,
            repeat,
            rng_seed,
            scores=verdict.scores,
            measures=verdict.measures,
            feedback=verdict.feedback,
            output=output_digest(outcome.output),
            printed=self._keep(printed),
            artifacts={name: self._shared.put(data) for name, data in outcome.artifacts},
            failure=verdict.failure,
            measured=measured,
        )

    def _judged(self, case_id: str, output: bytes, measured: Measured) -> Verdict:
        return self._shared.judge.judge(self._shared.cases[case_id], output, measured)

    def _run(self, case_id: str, rng_seed: int) -> tuple[Outcome, Measured]:
        shared = self._shared
        data = shared.inputs[case_id]
        if self._harness is None or shared.task.fresh_per_case:
            self._harness = Harness(shared.work, self._pieces, self._scratch, shared.output_cap, private=False)
            with self._harness.on():
                self._loaded = self._harness.load()
        if self._loaded.status != "ok":
            return self._loaded, Measured()
        wall, cpu = time.perf_counter(), time.process_time()
        with self._harness.on():
            outcome = self._harness.rollout(data, rng_seed)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
        return outcome, Measured(time.perf_counter() - wall, time.process_time() - cpu, peak)

    def _keep(self, printed: io.StringIO) -> str:
        text = printed.getvalue()
        return self._shared.put(text.encode(errors="backslashreplace")[: 64 << 10]) if text else ""

    def _scratch(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="agentopt-inline-"))
        return self._folder

    @contextmanager
    def _inside(self) -> Generator[None, None, None]:
        """With box files the working directory is the scratch folder that holds them, as in a box."""
        if not self._shared.box_files:
            yield
            return
        if self._folder is None:
            copy_files(self._shared.box_files, self._scratch())
        before = os.getcwd()
        os.chdir(self._scratch())
        sys.path.insert(0, str(self._folder))
        try:
            yield
        finally:
            sys.path.remove(str(self._folder))
            os.chdir(before)

    async def close(self) -> None:
        self.closed = True
        if self._folder is not None:
            remove_folder(self._folder)
            self._folder = None
