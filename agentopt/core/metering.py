"""What a workflow's own calls of models take from the budget of the run that tries it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from agentopt.core.calls import Bound
from agentopt.core.chat import Usage

__all__ = ["METER", "Meter", "Ticket"]


class Ticket(Protocol):
    """One call under way; exactly one of the two ends it."""

    def end(self, usage: Usage | None) -> None:
        """What it took, or its bound if nobody says."""
        ...

    def fail(self, kind: str, billed: bool) -> None:
        """No reply came. ``billed``: it may be paid for all the same, and counts at its bound."""
        ...


class Meter(Protocol):
    """Reserves before a call and settles after it, in the log of the run. From any thread."""

    def begin(self, model: str, bound: Bound, request: Any) -> Ticket:
        """Waits while other calls may make room. Raises BudgetSpent. ``request`` is JSON for the log."""
        ...

    async def abegin(self, model: str, bound: Bound, request: Any) -> Ticket: ...


METER: ContextVar[Meter | None] = ContextVar("agentopt_meter", default=None)
"""Who counts the calls made here; nobody outside of a run."""
