"""Candidates in the caller's process: their values take the place of the parameters of a workflow that is there already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from agentopt.core import wire
from agentopt.core.candidate import Candidate
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import FAILURE_KINDS, Failure, FailureKind, Measured, Rollout
from agentopt.core.metering import ROLLOUT, Meter
from agentopt.core.protocols import ExecutorContext, Session, Wish
from agentopt.core.running import CodeCall, CodeFailed
from agentopt.core.task import Case, Limits, Task, Values
from agentopt.core.text import clean_text
from agentopt.sandbox.code_runner import BoxedCode, open_runner
from agentopt.sandbox.levels import beside, trust
from agentopt.sandbox.session import output_digest, splits_of
from agentopt.scoring.judge import Judge, Verdict
from agentopt.trace.calling import Call, Called, Caller, show_error
from agentopt.trace.clients import capture_clients
from agentopt.trace.graph import Graph
from agentopt.trace.jsonl import dump
from agentopt.trace.threads import carried
from agentopt.trace.values import Proxy, text_of
from agentopt.trace.workflow import Attempt, Surroundings, Workflow, call_metered, put

__all__ = ["Pipeline", "Trial", "Trials", "TriedBefore"]

Job = tuple[str, int, int]
"""Case id, repeat, rng_seed."""
_CODE_SECONDS = 10.0
"""Most of one call of a code parameter."""
_LONGEST = 32768
"""Characters of a value that are left when a trace is too large; then an eighth of that, and so on."""


class Pipeline:
    """Calls ``task.functions["pipeline"]`` and ``score``, either of them sync or async. Both are trusted; code parameters that the task
    does not name ``trusted`` are not, and run in boxes of their own.

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
        session = _Session(self._shared, candidate, self._sessions.discard)
        self._sessions.add(session)
        return session

    def take_notes(self) -> list[str]:
        """Threads that passed their deadline: said once."""
        return self._shared.trials.take_notes()

    async def close(self) -> None:
        """Threads that passed their deadline and still run are left to themselves."""
        for session in list(self._sessions):
            await session.close()
        self._shared.trials.close()


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


class _Code:
    """A ``CodeRunner`` that opens its boxes when something is called."""

    def __init__(self, wish: Wish, limits: Limits) -> None:
        self._wish, self._limits = wish, replace(limits, seconds=min(limits.seconds, _CODE_SECONDS))
        self._lock = threading.Lock()
        self._runner: BoxedCode | None = None

    def _opened(self) -> BoxedCode:
        with self._lock:
            if self._runner is None:
                self._runner = open_runner(self._wish, self._limits)
            return self._runner

    @property
    def sandbox(self) -> str:
        return self._opened().sandbox

    def call(self, call: CodeCall) -> Any:
        return self._opened().call(call)

    async def acall(self, call: CodeCall) -> Any:
        return await self._opened().acall(call)

    def close(self) -> None:
        if self._runner:
            self._runner.close()


class Trials:
    """Tries rows and scores them: at most ``at_once`` at one time. Calls of models and threads that the workflow starts are seen."""

    def __init__(self, task: Task, at_once: int, wish: Wish, meter: Meter | None = None) -> None:
        """Raises TaskError for a task that lacks one of the two functions."""
        for name in ("pipeline", "score"):
            if name not in task.functions:
                raise TaskError(f"task {task.name!r} has no {name}; the executor pipeline needs functions['pipeline'] and @task.score")
        self._caller, self._said = Caller(), False
        self._workflow = Workflow(task.functions["pipeline"], task.limits.seconds, self._caller)
        self._score, self._limits, self._meter = task.functions["score"], task.limits, meter
        self._code = _Code(wish, task.limits)
        self._around = Surroundings(self._code, meter, at_once == 1, getattr(meter, "price", None))
        self._slots = asyncio.Semaphore(at_once)
        self._hooks = ExitStack()
        self._hooks.enter_context(capture_clients())
        self._hooks.enter_context(carried())

    def take_notes(self) -> list[str]:
        """As ``Pipeline.take_notes``."""
        if not self._caller.left or self._said:
            return []
        self._said = True
        return ["a call of the workflow passed its deadline in a thread, which nobody can end: it was left to itself (said once a run)"]

    def close(self) -> None:
        """May be called twice."""
        self._hooks.close()
        self._code.close()

    async def trial(self, values: Values, case: Case, rng_seed: int) -> Trial:
        """Raises BudgetSpent, InfrastructureError for boxes that failed, and RunFailed when threads pile up that cannot be ended."""
        async with self._slots:
            attempt = await self._workflow.attempt(values, case.input, rng_seed, self._around)
            called = attempt.called
            if isinstance(called.error, InfrastructureError):
                raise called.error
            if called.error or called.late:
                return Trial(attempt, None)
            output: Any = called.value
            if isinstance(output, Proxy):
                output = cast("Any", output).value
            call = Call(self._score, (case, output, _measured(called, rng_seed)))
            scored = await call_metered(self._caller, call, self._limits.score_seconds, self._meter)
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
        self.most = int(task.limits.artifacts_mb * (1 << 20))
        self.trials = Trials(task, context.capacity, context.wish, context.meter)


class _Session:
    """One candidate. Rows are tried ahead of being asked for, as many at once as the executor may."""

    def __init__(self, shared: _Shared, candidate: Candidate, forget: Callable[[_Session], None]) -> None:
        self._shared, self._candidate, self._forget = shared, candidate, forget
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
        trial = await self._trial(case_id, repeat, rng_seed)
        verdict = shared.trials.verdict(trial, shared.judge, rng_seed)
        called = trial.attempt.called
        trace = dump_trace(trial.attempt, verdict, shared.most)
        return Rollout(
            case_id,
            shared.splits[case_id],
            repeat,
            rng_seed,
            scores=verdict.scores,
            measures=verdict.measures,
            feedback=verdict.feedback,
            output=_digest(called),
            trace=shared.put(trace) if trace else "",
            failure=verdict.failure,
            measured=_measured(called, 0),
        )

    async def _trial(self, case_id: str, repeat: int, rng_seed: int) -> Trial:
        shared, values = self._shared, self._candidate.values
        if shared.known:
            if shared.meter:
                await shared.known.pay(shared.meter)
            if trial := shared.known(values, case_id, repeat):
                return trial
        with put(ROLLOUT, {"candidate": self._candidate.id, "case": case_id, "repeat": repeat}):
            return await shared.trials.trial(values, shared.cases[case_id], rng_seed)

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


def dump_trace(attempt: Attempt, verdict: Verdict, most: int) -> bytes:
    """As ``trace.jsonl`` writes it, with what was said of the outcome; long texts are cut until it has at most ``most`` bytes.

    Empty if even so it has more.
    """
    called, trace = attempt.called, attempt.trace
    text = verdict.feedback or (verdict.failure.message if verdict.failure else "")
    trace.feedback.append((called.error or called.value, text, verdict.scores))
    graph = trace.graph()
    data, longest = dump(graph), _LONGEST
    while len(data) > most and longest:
        data, longest = dump(_shortened(graph, longest)), longest // 8
    return data if len(data) <= most else b""


def _shortened(graph: Graph, longest: int) -> Graph:
    short = Graph()
    short.functions, short.params, short.feedback = graph.functions, graph.params, graph.feedback
    short.output, short.meta = graph.output, graph.meta
    for node in graph:
        literals = tuple((role, _short(value, longest)) for role, value in node.literals)
        short.add(node._replace(value=_short(node.value, longest), literals=literals))
    return short


def _short(value: Any, longest: int) -> Any:
    if isinstance(value, bool | int | float | None):
        return value
    text = value if isinstance(value, str) else text_of(value, longest)
    return value if len(text) <= longest else clean_text(text, max(longest, 16))
