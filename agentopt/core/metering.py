"""What a workflow's own calls of models take from the budget of the run that tries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from agentopt.core.calls import Bound
from agentopt.core.chat import Usage

__all__ = ["METER", "PRICES", "ROLLOUT", "Meter", "Pricing", "Ticket"]


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

    @property
    def output_cap(self) -> int | None:
        """Tokens of output to be put into requests that set no cap, so that they have a bound; None where none is needed."""
        ...

    def begin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> Ticket:
        """Waits while other calls may make room. Raises BudgetSpent.

        ``model`` is ``PROVIDER:NAME``. ``request`` is JSON for the log; ``stream`` in it says that the reply is read bit by bit. The USD
        of the bound may be left out: the meter knows its prices.
        """
        ...

    async def abegin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> Ticket: ...


METER: ContextVar[Meter | None] = ContextVar("agentopt_meter", default=None)
"""Who counts the calls made here; nobody outside of a run."""
ROLLOUT: ContextVar[Mapping[str, Any] | None] = ContextVar("agentopt_rollout", default=None)
"""For whom: ``candidate``, ``case`` and ``repeat``, to be said in the log."""
Pricing = Callable[[str, Usage], float | None]
"""``PROVIDER:NAME`` and tokens -> USD; None if the price is unknown."""
PRICES: ContextVar[Pricing | None] = ContextVar("agentopt_prices", default=None)
"""What calls made here cost, for those who only look."""
