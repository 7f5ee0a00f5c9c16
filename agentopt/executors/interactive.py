"""Candidates that the user runs: a rollout waits for what is said of the outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agentopt.core.candidate import Candidate
from agentopt.core.errors import TaskError
from agentopt.core.evaluation import Rollout
from agentopt.core.protocols import ExecutorContext, Session
from agentopt.sandbox.levels import trust
from agentopt.sandbox.session import splits_of
from agentopt.scoring.judge import Verdict

__all__ = ["Interactive", "Listen"]

Listen = Callable[[Candidate], Awaitable[tuple[Verdict, bytes]]]
"""Returns when the user has tried the candidate: what they say of it, and the trace as ``trace.jsonl`` writes it, or nothing."""


class Interactive:
    """Runs nothing. ``task.functions["listen"]`` is a ``Listen``; candidates come one at a time.

    Raises TaskError for a task without one or that needs walls, ConsentError for code from elsewhere.
    """

    sandbox = "interactive"
    capacity = 1

    def __init__(self, context: ExecutorContext) -> None:
        trust(context.task, context.wish, "interactive")
        if "listen" not in context.task.functions:
            raise TaskError(f"task {context.task.name!r} runs by itself; the executor interactive is for agentopt.pipeline.stepper alone")
        self._context = context

    async def open(self, candidate: Candidate) -> Session:
        return _Conversation(self._context, candidate)

    async def close(self) -> None:
        """Nothing to end."""


class _Conversation:
    def __init__(self, context: ExecutorContext, candidate: Candidate) -> None:
        self._context, self._candidate = context, candidate
        self._splits = splits_of(context.cases)

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        verdict, trace = await self._context.task.functions["listen"](self._candidate)
        return Rollout(
            case_id,
            self._splits[case_id],
            repeat,
            rng_seed,
            scores=verdict.scores,
            feedback=verdict.feedback,
            trace=self._context.put(trace) if trace else "",
            failure=verdict.failure,
        )

    async def close(self) -> None:
        """Nothing to end."""
