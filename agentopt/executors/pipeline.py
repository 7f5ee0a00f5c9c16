"""Candidates in the caller's process: their values take the place of the parameters of a workflow that is there already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from agentopt.core import wire
from agentopt.core.candidate import Candidate
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import FAILURE_KINDS, Failure, FailureKind, Measured, Rollout
from agentopt.core.metering import Meter
from agentopt.core.protocols import ExecutorContext, Session
from agentopt.core.running import CodeFailed
from agentopt.core.task import Case, Task, Values
from agentopt.core.text import clean_text
from agentopt.sandbox.levels import beside, trust
from agentopt.sandbox.session import output_digest, splits_of
from agentopt.scoring.judge import Judge, Verdict
from agentopt.trace.calling import Call, Called, Caller, show_error
from agentopt.trace.workflow import Attempt, Surroundings, Workflow, call_metered

__all__ = ["Pipeline", "Trial", "Trials", "TriedBefore"]

Job = tuple[str, int, int]
"""Case id, repeat, rng_seed."""


class Pipeline:
    """Calls ``task.functions["pipeline"]`` and ``score``, either of them sync or async. Both are trusted; code parameters are not, and run
    in boxes of their own.

    ``capacity`` is how many calls there are at once, over all sessions. A rollout's random numbers are those of ``ctx``; with a capacity
    of 1, those of ``random`` and numpy too. Raises TaskError for a task without the two functions or that needs walls, ConsentError for
    code from elsewhere.
    """

    def __init__(self, context: ExecutorContext) -> None:
        trust(context.task, context.wish, "pipeline")
        self.capacity = context.capacity
        self.sandbox = beside(context.task, context.wish, "pipeline")
        self._shared = _Shared(context)
        self._sessions: set[_Session] = set()

    async def open(self, candidate: Candidate) -> Session:
        session = _Session(self._shared, candidate.values, self._sessions.discard)
        self._sessions.add(session)
        return session

    async def close(self) -> None:
        """Threads that passed their deadline and still run are left to themselves."""
        for session in list(self._sessions):
            await session.close()


@dataclass(frozen=True)
class Trial:
    """A row tried: what the workflow did, and what ``score`` said of its output, if there is one."""

    attempt: Attempt
    scored: Called | None


class TriedBefore(Protocol):
    """Rows tried before the run began, with the seed's values. ``task.functions["known"]`` may be one."""

    def __call__(self, values: Values, case_id: str, repeat: int) -> Trial | None: ...
    async def pay(self, meter: Meter) -> None:
        """Put what they took into the log of the run, once."""
        ...


class Trials:
    """Tries rows and scores them: at most ``at_once`` at one time."""

    def __init__(self, task: Task, at_once: int, around: Surroundings) -> None:
        """Raises TaskError for a task that lacks one of the two functions."""
        for name in ("pipeline", "score"):
            if name not in task.functions:
                raise TaskError(f"task {task.name!r} has no {name}; the executor pipeline needs functions['pipeline'] and @task.score")
        self._caller = Caller()
        self._workflow = Workflow(task.functions["pipeline"], task.limits.seconds, self._caller)
        self._score, self._limits, self._around = task.functions["score"], task.limits, around
        self._slots = asyncio.Semaphore(at_once)

    async def trial(self, values: Values, case: Case, rng_seed: int) -> Trial:
        """Raises BudgetSpent, InfrastructureError for boxes that failed, and RunFailed when threads pile up that cannot be ended."""
        async with self._slots:
            attempt = await self._workflow.attempt(values, case.input, rng_seed, self._around)
            called = attempt.called
            if isinstance(called.error, InfrastructureError):
                raise called.error
            if called.error or called.late:
                return Trial(attempt, None)
            call = Call(self._score, (case, called.value, _measured(called, rng_seed)))
            scored = await call_metered(self._caller, call, self._limits.score_seconds, self._around.meter)
            return Trial(attempt, scored)

    def failure(self, trial: Trial) -> Failure | None:
        """Why the workflow gave no output."""
        called = trial.attempt.called
        if called.late:
            left = ", and its thread cannot be ended" if self._caller.left else ""
            return Failure("timeout", f"no output within limits.seconds: {self._limits.seconds:g} s{left}")
        if called.error is None:
            return None
        if isinstance(called.error, CodeFailed) and called.error.kind in FAILURE_KINDS:
            return Failure(cast("FailureKind", called.error.kind), clean_text(show_error(called.error)))
        return Failure("crash", clean_text(show_error(called.error)))

    def verdict(self, trial: Trial, judge: Judge, rng_seed: int) -> Verdict:
        """What the trial is worth."""
        if failure := self.failure(trial):
            return Verdict(failure=failure)
        scored = trial.scored
        assert scored
        if scored.late:
            message = f"score took longer than {self._limits.score_seconds:g} s (limits.score_seconds)"
            return Verdict(failure=Failure("wrong", message, scorer_error=True))
        if scored.error:
            return judge.raised(scored.error, show_error(scored.error))
        return judge.read(scored.value, _measured(trial.attempt.called, rng_seed))


def _measured(called: Called, rng_seed: int) -> Measured:
    return Measured(called.wall, called.cpu, rng_seed=rng_seed)


class _Shared:
    """What all sessions of an executor use."""

    def __init__(self, context: ExecutorContext) -> None:
        task = context.task
        self.put = context.put
        self.meter = context.meter
        self.at_once = context.capacity
        self.judge = Judge.of(task)
        self.cases = {case.id: case for members in context.cases.values() for case in members}
        self.splits = splits_of(context.cases)
        self.known = cast("TriedBefore | None", task.functions.get("known"))
        self.trials = Trials(task, context.capacity, Surroundings(None, context.meter, context.capacity == 1))


class _Session:
    """One candidate. Rows are tried ahead of being asked for, as many at once as the executor may."""

    def __init__(self, shared: _Shared, values: Values, forget: Callable[[_Session], None]) -> None:
        self._shared, self._values, self._forget = shared, values, forget
        self._ahead: dict[Job, asyncio.Task[Rollout]] = {}

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        return (await self.rollouts([(case_id, repeat, rng_seed)]))[0]

    async def rollouts(self, jobs: Sequence[Job]) -> list[Rollout]:
        """The first of the jobs, and those after it that are done by then."""
        for job in jobs[: self._shared.at_once]:
            if job not in self._ahead:
                self._ahead[job] = asyncio.create_task(self._one(*job))
        landed = [await self._ahead.pop(jobs[0])]
        for job in jobs[1:]:
            task = self._ahead.get(job)
            if task is None or not task.done() or task.cancelled() or task.exception():
                break
            landed.append(self._ahead.pop(job).result())
        return landed

    async def _one(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        shared = self._shared
        if shared.known and shared.meter:
            await shared.known.pay(shared.meter)
        trial = shared.known(self._values, case_id, repeat) if shared.known else None
        if trial is None:
            trial = await shared.trials.trial(self._values, shared.cases[case_id], rng_seed)
        verdict = shared.trials.verdict(trial, shared.judge, rng_seed)
        called = trial.attempt.called
        return Rollout(
            case_id,
            shared.splits[case_id],
            repeat,
            rng_seed,
            scores=verdict.scores,
            measures=verdict.measures,
            feedback=verdict.feedback,
            output=_digest(called),
            failure=verdict.failure,
            measured=_measured(called, 0),
        )

    async def close(self) -> None:
        self._forget(self)
        ahead = list(self._ahead.values())
        self._ahead.clear()
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


def _digest(called: Called) -> str:
    """Of the output, where it is plain data."""
    with suppress(wire.WireError):
        return output_digest(wire.encode(called.value)) if called.error is None and not called.late else ""
    return ""
