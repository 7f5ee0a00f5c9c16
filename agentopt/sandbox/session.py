"""Sessions whose candidates run in boxes: what every boxed executor is made of. The scorer comes from outside."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Protocol

from agentopt.core import wire
from agentopt.core.candidate import Candidate
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Failure, Measured, Rollout
from agentopt.core.protocols import ExecutorContext
from agentopt.core.task import Cases
from agentopt.sandbox.check import static_failure
from agentopt.sandbox.client import Box, BoxPlan, Report, Zygote
from agentopt.sandbox.levels import Sandbox
from agentopt.sandbox.payload import box_files, box_path, pickle_for_box, trusted_path
from agentopt.sandbox.program import Piece, pieces_of, pieces_to_json
from agentopt.sandbox.walls import caps_of

__all__ = ["BoxSession", "Boxes", "Inputs", "Scorer", "Scorers", "Verdict", "output_digest", "splits_of"]


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


class Scorer(Protocol):
    """Judges encoded outputs, where the candidate cannot reach."""

    async def judge(self, case_id: str, data: bytes, measured: Measured) -> Verdict: ...
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


def output_digest(output: bytes) -> str:
    return hashlib.sha256(output).hexdigest()[:16] if output else ""


class Boxes:
    """Opens sessions at one level of the sandbox. Raises TaskError for a task whose functions or files cannot enter a box."""

    def __init__(self, context: ExecutorContext, sandbox: Sandbox, scorers: Scorers) -> None:
        task = context.task
        self.context = context
        self.scorers = scorers
        self.inputs = Inputs(context.cases)
        self.splits = splits_of(context.cases)
        self._sessions: set[BoxSession] = set()
        self.zygote = Zygote(
            BoxPlan(
                task=task.name,
                sandbox=sandbox,
                path=trusted_path(task) if sandbox.level == "worker" else box_path(task),
                imports=("cloudpickle", *task.imports),
                box_files=box_files(task),
                caps=caps_of(task.limits),
                work=pickle_for_box(task),
            )
        )

    async def open(self, candidate: Candidate) -> BoxSession:
        session = BoxSession(self, pieces_of(self.context.task.resolved, candidate.values))
        self._sessions.add(session)
        return session

    def forget(self, session: BoxSession) -> None:
        self._sessions.discard(session)

    async def close(self) -> None:
        for session in list(self._sessions):
            await session.close()
        await self.zygote.close()
        await self.scorers.close()


class BoxSession:
    """One candidate. The box opens with the first rollout, and again after a failure that ended it."""

    def __init__(self, boxes: Boxes, pieces: list[Piece]) -> None:
        self._boxes = boxes
        self._task = boxes.context.task
        self._syntax = static_failure(pieces)
        self._spec = b"" if self._syntax else wire.encode(pieces_to_json(pieces))
        self._box: Box | None = None
        self._scorer: Scorer | None = None
        self._lock = asyncio.Lock()

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        async with self._lock:
            split = self._boxes.splits[case_id]
            if self._syntax:
                return Rollout(case_id, split, repeat, rng_seed, failure=self._syntax)
            try:
                report = await self._run(case_id, rng_seed)
                printed = self._boxes.context.put(report.printed) if report.printed else ""
                if report.failure:
                    return Rollout(case_id, split, repeat, rng_seed, printed=printed, failure=report.failure, measured=report.measured)
                verdict = await self._judge(case_id, report)
            except InfrastructureError as error:
                return Rollout(case_id, split, repeat, rng_seed, failure=Failure("infrastructure", str(error)))
            return Rollout(
                case_id,
                split,
                repeat,
                rng_seed,
                scores=verdict.scores,
                measures=verdict.measures,
                feedback=verdict.feedback,
                output=output_digest(report.output),
                printed=printed,
                failure=verdict.failure,
                measured=report.measured,
            )

    async def _run(self, case_id: str, rng_seed: int) -> Report:
        data = self._boxes.inputs[case_id]
        if self._box is not None and not self._box.usable:
            await self._close_box()
        if self._box is None:
            self._box = await self._boxes.zygote.open(self._spec)
        try:
            return await self._box.rollout(self._task.limits.seconds, rng_seed, data)
        finally:
            if self._task.fresh_per_case or not self._box.usable:
                await self._close_box()

    async def _judge(self, case_id: str, report: Report) -> Verdict:
        if self._scorer is None:
            self._scorer = self._boxes.scorers.borrow()
        return await self._scorer.judge(case_id, report.output, report.measured)

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
