"""Candidates in boxes: what a task with code runs in."""

from __future__ import annotations

from agentopt.core.candidate import Candidate
from agentopt.core.protocols import ExecutorContext, Session
from agentopt.sandbox.levels import choose
from agentopt.sandbox.payload import pickle_for_scorer, trusted_path
from agentopt.sandbox.session import Boxes
from agentopt.scoring.client import Scorers
from agentopt.scoring.judge import Judge

__all__ = ["Boxed"]


class Boxed:
    """A box per candidate, a scorer process per slot.

    Raises TaskError for a task that cannot be taken apart this way or whose needs are not met, ConfigError for a level that cannot be had.
    """

    def __init__(self, context: ExecutorContext) -> None:
        task = context.task
        cases = {case.id: case for members in context.cases.values() for case in members}
        orders = pickle_for_scorer(task, (Judge.of(task), cases))
        self.capacity = context.capacity
        chosen = choose(task, context.wish)
        self.sandbox = chosen.text
        self._boxes = Boxes(context, chosen, Scorers(orders, trusted_path(task), task.limits.score_seconds))

    async def open(self, candidate: Candidate) -> Session:
        return await self._boxes.open(candidate)

    async def close(self) -> None:
        """Ends every open session, the zygote and the scorers."""
        await self._boxes.close()
