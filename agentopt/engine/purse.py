"""What calls of models take from a run's budget, whoever makes them: reserved before, settled after."""

from __future__ import annotations

import asyncio
from typing import Protocol

from agentopt.core.budget import Ledger
from agentopt.core.calls import Bound
from agentopt.core.errors import BudgetSpent, RunFailed

__all__ = ["Purse", "amounts"]


class Owner(Protocol):
    """The run; its ledger is another one after a replay."""

    ledger: Ledger


class Purse:
    """Used from the run's event loop alone."""

    def __init__(self, run: Owner) -> None:
        self._run = run
        self._in_flight = 0
        self._landed = asyncio.Event()

    async def reserve(self, bound: Bound, lasting: bool = False) -> None:
        """Waits for calls in flight if their end may make room. Raises BudgetSpent if there are none, and RunFailed as ``take`` does.

        Nobody waits for a ``lasting`` one, a stream: it may end only when whoever waits goes on.
        """
        while not self.take(bound, lasting):
            if not self._in_flight:
                raise BudgetSpent(self.lack(bound))
            self._landed.clear()
            await self._landed.wait()

    def take(self, bound: Bound, lasting: bool = False) -> bool:
        """Reserve at once; whether there was room. Raises RunFailed for what has no bound in a unit that the budget limits."""
        ledger, bounded = self._run.ledger, {"tokens": bound.tokens, "usd": bound.usd}
        if any(amount is None and unit in ledger.limits for unit, amount in bounded.items()):
            raise RunFailed("a request without a bound cannot be made under a budget in tokens or USD")
        wanted = [("calls", 1.0), *((unit, 0.0 if amount is None else amount) for unit, amount in bounded.items())]
        if not all(ledger.fits(unit, amount) for unit, amount in wanted):
            return False
        for unit, amount in wanted:
            ledger.reserve(unit, amount)
        ledger.settle("calls", 1)
        self._in_flight += not lasting
        return True

    def settle(self, bound: Bound, tokens: float | None, usd: float | None, lasting: bool = False) -> None:
        """What a call took, in the place of what it could take."""
        ledger = self._run.ledger
        ledger.settle("tokens", tokens or 0.0, bound.tokens or 0.0)
        ledger.settle("usd", usd or 0.0, bound.usd or 0.0)
        self.leave(lasting)

    def leave(self, lasting: bool = False) -> None:
        """A call has ended and counts at its bound."""
        self._in_flight -= not lasting
        self._landed.set()

    def lack(self, bound: Bound) -> str:
        """Why there is no room."""
        most = {"calls": 1.0, "tokens": bound.tokens or 0.0, "usd": bound.usd or 0.0}
        unit = next(unit for unit, amount in most.items() if not self._run.ledger.fits(unit, amount))
        return f"one request can take {most[unit]:g} {unit}, and {self._run.ledger.left(unit):g} are left"


def amounts(tokens: float | None, usd: float | None) -> dict[str, float]:
    """For a row of the log; what is unknown is left out."""
    return {name: amount for name, amount in (("tokens", tokens), ("usd", usd)) if amount is not None}
