"""The calls of models that a workflow makes before there is a run to pay them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from agentopt.core.budget import Ledger
from agentopt.core.calls import Bound
from agentopt.core.chat import Usage
from agentopt.core.errors import BudgetSpent
from agentopt.core.metering import ROLLOUT, Meter, Pricing
from agentopt.trace.workflow import put

__all__ = ["Tally"]

_LIMITED_BY_SIZE = ("tokens", "usd")


@dataclass(frozen=True)
class _Taken:
    """One call of a model: for which row, what it could take, and its usage or how it failed."""

    rollout: Mapping[str, Any] | None
    model: str
    bound: Bound
    request: Mapping[str, Any]
    usage: Usage | None = None
    failed: tuple[str, bool] | None = None

    @property
    def lasting(self) -> bool:
        """A stream, for which nobody waits: it may end only when whoever waits goes on."""
        return bool(self.request.get("stream"))


class Tally:
    """A ``Meter`` before there is a run: it keeps to the budget, and remembers what the run will have to pay."""

    def __init__(self, limits: Mapping[str, float], prices: Pricing, max_output_tokens: int) -> None:
        self.taken: list[_Taken] = []
        self.calls = 0
        self.price = prices
        self._limits, self._cap = limits, max_output_tokens
        self._ledger = Ledger(dict(limits))
        self._in_flight = 0
        self._landed = threading.Condition()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def output_cap(self) -> int | None:
        return self._cap if any(unit in self._limits for unit in _LIMITED_BY_SIZE) else None

    def begin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> _Ticket:
        """As in the protocol. In an event loop it cannot wait, and raises at once."""
        taken = self._wanted(model, bound, request)
        with self._landed:
            while not self._take(taken):
                if not self._in_flight or _in_a_loop():
                    raise BudgetSpent(self._lack(taken.bound))
                self._landed.wait()
        return _Ticket(self, taken)

    async def abegin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> _Ticket:
        taken = self._wanted(model, bound, request)
        while True:
            with self._landed:
                if self._take(taken):
                    return _Ticket(self, taken)
                if not self._in_flight:
                    raise BudgetSpent(self._lack(taken.bound))
                self._waiting.append(woken := asyncio.get_running_loop().create_future())
            await woken

    def _wanted(self, model: str, bound: Bound, request: Mapping[str, Any]) -> _Taken:
        if bound.usd is None and bound.output_tokens is not None:
            bound = replace(bound, usd=self.price(model, Usage(bound.input_tokens, bound.output_tokens)))
        if "usd" in self._limits and bound.usd is None:
            way = f"llm={{'prices': {{{model.partition(':')[2]!r}: 'INPUT,OUTPUT'}}}}"
            raise BudgetSpent(f"the price of {model} is unknown, so USD cannot be counted; give {way}")
        return _Taken(ROLLOUT.get(), model, bound, request)

    def _take(self, taken: _Taken) -> bool:
        """Reserve what it can take; whether there was room."""
        wanted = _amounts(taken.bound)
        if not all(self._ledger.fits(unit, amount) for unit, amount in wanted.items()):
            return False
        for unit, amount in wanted.items():
            self._ledger.reserve(unit, amount)
        self.calls += 1
        self._in_flight += not taken.lasting
        return True

    def _lack(self, bound: Bound) -> str:
        unit, amount = next((unit, amount) for unit, amount in _amounts(bound).items() if not self._ledger.fits(unit, amount))
        text = f"one request can take {amount:g} {unit}, and {self._ledger.left(unit):g} are left"
        if unit not in _LIMITED_BY_SIZE:
            return text
        return f"{text}; a cap on its output makes it less: max_tokens in the call, or llm={{'max_output_tokens': N}} for all ({self._cap})"

    def settle(self, taken: _Taken) -> None:
        """A call ended."""
        with self._landed:
            self.taken.append(taken)
            used = _amounts(self._used(taken))
            for unit, amount in _amounts(taken.bound).items():
                self._ledger.settle(unit, used.get(unit, 0.0), amount)
            self._in_flight -= not taken.lasting
            self._landed.notify_all()
            waiting, self._waiting = self._waiting, []
        for woken in waiting:
            with suppress(RuntimeError):  # who waited is gone, and their loop with them
                woken.get_loop().call_soon_threadsafe(_wake, woken)

    def _used(self, taken: _Taken) -> Bound:
        """The most that a call can have taken, now that it is over."""
        if taken.failed and not taken.failed[1]:
            return Bound(0, 0, 0.0)
        if taken.usage is None:
            return taken.bound
        return Bound(taken.usage.input_tokens, taken.usage.output_tokens, self.price(taken.model, taken.usage))

    async def pay(self, meter: Meter) -> None:
        """Into the log of the run. Raises BudgetSpent."""
        while self.taken:
            taken = self.taken.pop(0)
            with put(ROLLOUT, taken.rollout):
                ticket = await meter.abegin(taken.model, self._used(taken), taken.request)
            if taken.failed:
                ticket.fail(*taken.failed)
            else:
                ticket.end(taken.usage)


class _Ticket:
    def __init__(self, tally: Tally, taken: _Taken) -> None:
        self._tally, self._taken = tally, taken

    def end(self, usage: Usage | None) -> None:
        self._tally.settle(replace(self._taken, usage=usage))

    def fail(self, kind: str, billed: bool) -> None:
        self._tally.settle(replace(self._taken, failed=(kind, billed)))


def _in_a_loop() -> bool:
    """Whether waiting here would keep an event loop, and with it calls in flight, from going on."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _amounts(bound: Bound) -> dict[str, float]:
    known = {"tokens": bound.tokens, "usd": bound.usd}
    return {"calls": 1.0} | {unit: float(amount) for unit, amount in known.items() if amount is not None}
