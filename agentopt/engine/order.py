"""In which order asks and tells may happen."""

from __future__ import annotations

import asyncio

__all__ = ["Order"]


class Order:
    """Tickets are given to proposals as they come; with ``deterministic`` results are told in ticket order.

    A result then also waits until the window of ``look_ahead + 1`` proposals is full (or no more will come), so that each
    ask has seen the same results however fast the evaluations were.
    """

    def __init__(self, deterministic: bool, window: int, issued: int = 0, told: int = 0) -> None:
        self.deterministic = deterministic
        self.window = window
        self.issued = issued
        self.told = told
        self.asks_closed = False
        self._changed = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return self.issued - self.told

    def issue(self) -> int:
        """The next ticket."""
        self.issued += 1
        self._wake()
        return self.issued - 1

    def tell(self) -> None:
        """One more is told. Asks count as open again: only the loop knows whether another one will come now."""
        self.told += 1
        self.asks_closed = False
        self._wake()

    def close_asks(self, closed: bool) -> None:
        """No proposal will come until the next tell (or ever)."""
        self.asks_closed = closed
        self._wake()

    def _may_tell(self, ticket: int) -> bool:
        if not self.deterministic:
            return True
        return ticket == self.told and (self.in_flight >= self.window or self.asks_closed)

    async def turn(self, ticket: int) -> None:
        """Returns when the result of ``ticket`` may be told."""
        while not self._may_tell(ticket):
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
