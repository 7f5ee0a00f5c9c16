"""Sessions whose candidates run in boxes: what every boxed executor is made of. The scorer comes from outside."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from agentopt.core import wire
from agentopt.core.candidate import Candidate
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Failure, Measured, Rollout
from agentopt.core.protocols import ExecutorContext
from agentopt.core.task import Cases, Task
from agentopt.sandbox import kernel
from agentopt.sandbox.check import static_failure
from agentopt.sandbox.client import Box, BoxPlan, Report, Zygote
from agentopt.sandbox.levels import Sandbox
from agentopt.sandbox.payload import box_files, box_path, pickle_for_box, trusted_path
from agentopt.sandbox.program import Piece, pieces_of, pieces_to_json
from agentopt.sandbox.programs import program_cases
from agentopt.sandbox.walls import Caps, caps_of
from agentopt.sandbox.watch import disk_use

__all__ = ["BoxSession", "Boxes", "Inputs", "Output", "Scorer", "Scorers", "Verdict", "output_digest", "splits_of"]


Job = tuple[str, int, int]
"""Case id, repeat, rng_seed."""
_MOMENT = 0.02
_MOST_AT_ONCE = 64
_MOST_BYTES_AT_ONCE = 1 << 20


class Verdict(Protocol):
    """What a scorer says of one output."""

    @property
    def scores(self) -> Mapping[str, float]: ...
    @property
    def measures(self) -> Mapping[str, float]: ...
    @property
    def feedback(self) -> str: ...
    @property
    def failure(self) -> Failure | None: ...


Output = tuple[str, bytes | memoryview, Measured]
"""The id of a case, what the candidate gave for it (encoded), and what was measured meanwhile."""


class Scorer(Protocol):
    """Judges encoded outputs, where the candidate cannot reach."""

    async def judge(self, outputs: Sequence[Output]) -> Sequence[Verdict]: ...
    def give_back(self) -> None: ...


class Scorers(Protocol):
    """Lends scorers to sessions."""

    def borrow(self) -> Scorer: ...
    async def close(self) -> None: ...


class Inputs:
    """The cases' inputs as bytes, each encoded once."""

    def __init__(self, cases: Cases) -> None:
        self._cases = {case.id: case for members in cases.values() for case in members}
        self._encoded: dict[str, bytes] = {}

    def __getitem__(self, case_id: str) -> bytes:
        """Raises TaskError for an input that cannot cross into the box."""
        if case_id not in self._encoded:
            try:
                self._encoded[case_id] = wire.encode(self._cases[case_id].input)
            except wire.WireError as error:
                raise TaskError(f"case {case_id!r}: the input cannot enter the box: {error}") from None
        return self._encoded[case_id]


def splits_of(cases: Cases) -> dict[str, str]:
    """The split of every case id."""
    return {case.id: split for split, members in cases.items() for case in members}


def output_digest(output: bytes | memoryview) -> str:
    return hashlib.sha256(output).hexdigest()[:16] if output else ""


def _caps(task: Task) -> Caps:
    """The task's own files do not count among what a candidate writes."""
    caps = caps_of(task.limits)
    return caps._replace(scratch=caps.scratch + sum(_size(path) for path in box_files(task)))


def _size(path: str) -> int:
    return disk_use(path, sys.maxsize) if os.path.isdir(path) else os.path.getsize(path)


class Boxes:
    """Opens sessions at one level of the sandbox. Raises TaskError for a task whose functions or files cannot enter a box."""

    def __init__(self, context: ExecutorContext, sandbox: Sandbox, scorers: Scorers) -> None:
        task = context.task
        self.context = context
        self.scorers = scorers
        self.inputs = Inputs(program_cases(context.cases) if task.command else context.cases)
        self.splits = splits_of(context.cases)
        self._sessions: set[BoxSession] = set()
        self._closed = kernel.Closed() if sandbox.level != "worker" else None
        self.zygote = Zygote(
            BoxPlan(
                task=task.name,
                sandbox=sandbox,
                path=trusted_path(task) if sandbox.level == "worker" else box_path(task),
                imports=("agentopt.sandbox.programs",) if task.command else ("cloudpickle", *task.imports),
                box_files=box_files(task),
                caps=_caps(task),
                work=pickle_for_box(task),
            )
        )

    async def open(self, candidate: Candidate) -> BoxSession:
        task = self.context.task
        pieces = pieces_of(task.resolved, candidate.values)
        if task.self_judged and not task.command:  # what judges loads the candidate, in its own way
            pieces = [piece._replace(language="text") for piece in pieces]
        session = BoxSession(self, pieces)
        self._sessions.add(session)
        return session

    def forget(self, session: BoxSession) -> None:
        self._sessions.discard(session)

    async def close(self) -> None:
        for session in list(self._sessions):
            await session.close()
        await self.zygote.close()
        await self.scorers.close()
        if self._closed is not None:
            self._closed.end()


class BoxSession:
    """One candidate. The box opens with the first rollout, and again after a failure that ended it."""

    def __init__(self, boxes: Boxes, pieces: list[Piece]) -> None:
        self._boxes = boxes
        self._task = boxes.context.task
        self._syntax = static_failure(pieces)
        self._spec = b"" if self._syntax else wire.encode(pieces_to_json(pieces))
        self._box: Box | None = None
        self._scorer: Scorer | None = None
        self._pace: float | None = None
        self._alone = self._task.fresh_per_case or any(objective.source == "outside" for objective in self._task.objectives)
        self._lock = asyncio.Lock()

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        return (await self.rollouts([(case_id, repeat, rng_seed)]))[0]

    async def rollouts(self, jobs: Sequence[Job]) -> list[Rollout]:
        """The first of the jobs, and as many after it as are done in a moment: short ones share the way into the box and back."""
        async with self._lock:
            if self._syntax:
                return [self._failed(jobs[0], self._syntax)]
            jobs = jobs[: self._fitting(jobs)]
            try:
                reports = await self._run(jobs)
                verdicts = await self._judge(jobs, [report for report in reports if not report.failure])
            except (InfrastructureError, OSError) as error:  # no file, process or space for us
                return [self._failed(jobs[0], Failure("infrastructure", str(error)))]
            self._pace = max(report.measured.wall for report in reports)
            return [self._rollout(job, report, verdicts) for job, report in zip(jobs, reports, strict=False)]

    def _fitting(self, jobs: Sequence[Job]) -> int:
        """How many jobs to do at once. What is measured outside, or wants a fresh box, is done alone."""
        if self._pace is None or self._alone:
            return 1
        many = max(1, min(len(jobs), int(_MOMENT / max(self._pace, 1e-6)), _MOST_AT_ONCE))
        size = 0
        for count, (case_id, _, _) in enumerate(jobs[:many], 1):
            size += len(self._boxes.inputs[case_id])
            if size > _MOST_BYTES_AT_ONCE:
                return max(1, count - 1)
        return many

    def _failed(self, job: Job, failure: Failure) -> Rollout:
        case_id, repeat, rng_seed = job
        return Rollout(case_id, self._boxes.splits[case_id], repeat, rng_seed, failure=failure)

    def _rollout(self, job: Job, report: Report, verdicts: Iterator[Verdict]) -> Rollout:
        printed = self._boxes.context.put(report.printed) if report.printed else ""
        if report.failure:
            return replace(self._failed(job, report.failure), printed=printed, measured=report.measured)
        verdict = next(verdicts)
        case_id, repeat, rng_seed = job
        return Rollout(
            case_id,
            self._boxes.splits[case_id],
            repeat,
            rng_seed,
            scores=verdict.scores,
            measures=verdict.measures,
            feedback=verdict.feedback,
            output=output_digest(report.output),
            printed=printed,
            artifacts={name: self._boxes.context.put(data) for name, data in report.artifacts.items()},
            failure=verdict.failure,
            measured=report.measured,
        )

    async def _run(self, jobs: Sequence[Job]) -> list[Report]:
        calls = [(rng_seed, self._boxes.inputs[case_id]) for case_id, _, rng_seed in jobs]
        if self._box is not None and not self._box.usable:
            await self._close_box()
        if self._box is None:
            self._box = await self._boxes.zygote.open(self._spec)
        try:
            return await self._box.rollouts(self._task.limits.seconds, calls)
        finally:
            if self._task.fresh_per_case or not self._box.usable:
                await self._close_box()

    async def _judge(self, jobs: Sequence[Job], reports: Sequence[Report]) -> Iterator[Verdict]:
        if not reports:
            return iter(())
        if self._scorer is None:
            self._scorer = self._boxes.scorers.borrow()
        outputs = [
            (case_id, report.output, replace(report.measured, rng_seed=rng_seed))
            for (case_id, _, rng_seed), report in zip(jobs, reports, strict=False)
        ]
        return iter(await self._scorer.judge(outputs))

    async def _close_box(self) -> None:
        if self._box is not None:
            await self._box.close()
            self._box = None

    async def close(self) -> None:
        """A rollout that is still under way is ended first."""
        self._boxes.forget(self)
        if self._box is not None:
            self._box.hang_up()
        async with self._lock:
            if self._scorer is not None:
                self._scorer.give_back()
                self._scorer = None
            await self._close_box()
