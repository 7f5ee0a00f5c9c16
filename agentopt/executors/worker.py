"""Candidates in processes of their own, trusted: what a task without code runs in."""

from __future__ import annotations

from agentopt.core.candidate import Candidate
from agentopt.core.protocols import ExecutorContext, Session
from agentopt.sandbox.levels import OPEN, trust
from agentopt.sandbox.payload import pickle_for_scorer, trusted_path
from agentopt.sandbox.session import Boxes
from agentopt.scoring.client import Scorers
from agentopt.scoring.judge import Judge

__all__ = ["Worker"]


class Worker:
    """The boxes without their walls: deadlines, crashes and measurements as there, but the user's environment and no limits.

    Raises TaskError for a task that cannot be taken apart this way or that needs walls, ConsentError for code from elsewhere.
    """

    sandbox = "worker"

    def __init__(self, context: ExecutorContext) -> None:
        task = context.task
        trust(task, context.wish, "worker")
        cases = {case.id: case for members in context.cases.values() for case in members}
        orders = pickle_for_scorer(task, (Judge.of(task), cases))
        self.capacity = context.capacity
        self._boxes = Boxes(context, OPEN, Scorers(orders, trusted_path(task), task.limits.score_seconds))

    async def open(self, candidate: Candidate) -> Session:
        return await self._boxes.open(candidate)

    async def close(self) -> None:
        """Ends every open session, the zygote and the scorers."""
        await self._boxes.close()
