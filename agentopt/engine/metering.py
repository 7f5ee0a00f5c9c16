"""The calls of models that what is tried makes itself: paid from the run's budget, and in its log.

A call is one ``llm_request`` and one ``llm_reply``, of the purpose ``pipeline``. They come from any thread; the log and the ledger
are the event loop's alone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from agentopt.core.budget import Ledger
from agentopt.core.calls import Bound, Calls
from agentopt.core.chat import Usage
from agentopt.core.errors import BudgetSpent
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.core.metering import ROLLOUT, Pricing
from agentopt.engine.purse import Purse, amounts

__all__ = ["Metering"]

_ENDED = "the run has ended, so no model is asked for it any more"
_TEST_MARGIN = 1.5
"""A rollout on test may take half as much again as those of the search did."""
_LIMITED_BY_SIZE = ("tokens", "usd")


class Home(Protocol):
    """The run whose log and budget are used."""

    state: RunState
    ledger: Ledger
    purse: Purse

    @property
    def left_on_test(self) -> int: ...
    def append(self, kind: str, data: Mapping[str, Any]) -> None: ...


class Metering:
    """``core.metering.Meter``. A run takes it by ``bind``; it counts from ``open`` to ``close``.

    ``max_output_tokens`` is the cap of requests that set none, if the budget has a limit in tokens or USD. While the run searches, what
    scoring the test split is expected to take is kept back.
    """

    def __init__(self, prices: Pricing, max_output_tokens: int) -> None:
        self._prices, self._cap = prices, max_output_tokens
        self._run: Home | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._ends: deque[Callable[[], None]] = deque()
        self._open: set[_Ticket] = set()
        self._own = Calls()
        self._tried: Counter[tuple[Any, ...]] = Counter()
        self._kept: dict[str, float] = {}
        self._keeping = False
        self._warned: set[str] = set()

    def bind(self, run: Home) -> None:
        """The run whose log and budget are used from here on."""
        self._run = run

    def open(self) -> None:
        """Called in the run's event loop when its log is replayed."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._keeping = True
        self._keep()

    def close(self) -> None:
        """Calls that have not ended count at their bound. May be called twice."""
        self._drain()
        self.shut()
        for ticket in list(self._open):
            self._settle(ticket, ticket.bound.tokens, ticket.bound.usd, {"unknown": True})

    def shut(self) -> None:
        """No further call begins."""
        self._loop = None

    @property
    def run(self) -> Home:
        assert self._run is not None
        return self._run

    # --- core.metering.Meter, in any thread ------------------------------------------------------------------------------

    @property
    def output_cap(self) -> int | None:
        return self._cap if any(unit in self.run.state.limits for unit in _LIMITED_BY_SIZE) else None

    def price(self, model: str, usage: Usage) -> float | None:
        """USD, for ``core.metering.PRICES``."""
        return self._prices(model, usage)

    def begin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> _Ticket:
        """As in the protocol. In the run's own event loop it cannot wait, and raises at once."""
        ticket = self._ticket(model, bound, request)
        if threading.get_ident() == self._thread:
            self._drain()
            self._check(ticket)
            if not self.run.purse.take(ticket.bound, ticket.lasting):
                raise BudgetSpent(self._lack(ticket.bound))
            return self._log(ticket)
        return self._send(ticket).result()

    async def abegin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> _Ticket:
        ticket = self._ticket(model, bound, request)
        if asyncio.get_running_loop() is self._loop:
            return await self._begin(ticket)
        return await asyncio.wrap_future(self._send(ticket))

    def _send(self, ticket: _Ticket) -> Future[_Ticket]:
        loop = self._running()
        return asyncio.run_coroutine_threadsafe(self._begin(ticket), loop)

    def _ticket(self, model: str, bound: Bound, request: Mapping[str, Any]) -> _Ticket:
        if bound.usd is None and bound.output_tokens is not None:
            bound = replace(bound, usd=self._prices(model, Usage(bound.input_tokens, bound.output_tokens)))
        return _Ticket(self, model, bound, dict(request), dict(ROLLOUT.get() or {}))

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise BudgetSpent(_ENDED)
        return self._loop

    def post(self, end: Callable[[], None]) -> None:
        """Do it in the event loop, soon: whoever ends a call may be a thread, or the garbage collector in the middle of anything."""
        self._ends.append(end)
        loop = self._loop
        with suppress(RuntimeError):  # the loop is closed, and the call was settled before
            if loop:
                loop.call_soon_threadsafe(self._drain)

    # --- in the event loop -----------------------------------------------------------------------------------------------

    async def _begin(self, ticket: _Ticket) -> _Ticket:
        self._check(ticket)
        try:
            await self.run.purse.reserve(ticket.bound, ticket.lasting)
        except BudgetSpent:
            self._running()
            raise BudgetSpent(self._lack(ticket.bound)) from None
        self._running()
        return self._log(ticket)

    def _check(self, ticket: _Ticket) -> None:
        self._running()
        limits = self.run.state.limits
        if "usd" in limits and ticket.bound.usd is None:
            raise BudgetSpent(f"the price of {ticket.model} is unknown, so USD cannot be counted; give it with llm.prices")
        if "tokens" in limits and ticket.bound.tokens is None:
            raise BudgetSpent(f"a request to {ticket.model} has no cap on its output, so tokens cannot be counted")

    def _lack(self, bound: Bound) -> str:
        kept = ", ".join(f"{amount:.3g} {unit}" for unit, amount in self._kept.items() if amount and unit in self.run.state.limits)
        return self.run.purse.lack(bound) + (f" beside {kept} kept for the test split" if kept else "")

    def _log(self, ticket: _Ticket) -> _Ticket:
        index = self._tried[_rollout(ticket.about)]
        about = {"key": f"call {self.run.state.calls.requests + 1}", "model": ticket.model, **ticket.about, "index": index}
        ticket.about = about
        self._open.add(ticket)
        bounded = amounts(ticket.bound.tokens, ticket.bound.usd)
        self.run.append("llm_request", {**about, "purpose": "pipeline", "call": ticket.request} | bounded)
        ticket.began = time.monotonic()
        return ticket

    def _drain(self) -> None:
        while self._ends:
            self._ends.popleft()()

    def end(self, ticket: _Ticket, usage: Usage | None) -> None:
        """What it took, whatever its bound was: that is what is paid."""
        if ticket not in self._open:
            return
        if usage is None:
            self._settle(ticket, ticket.bound.tokens, ticket.bound.usd, {})
            return
        tokens, usd = usage.input_tokens + usage.output_tokens, self._prices(ticket.model, usage)
        self._settle(ticket, tokens, usd, {"usage": usage.to_json()})
        if ticket.bound.exceeded_by(usage) and self.output_cap is not None and ticket.model not in self._warned:
            self._warned.add(ticket.model)
            text = f"{ticket.model} counted more tokens than a request can have by its bytes and its cap, so the budget may be overshot"
            self.run.append("note", {"kind": "warning", "text": text})

    def fail(self, ticket: _Ticket, kind: str, billed: bool) -> None:
        """An error costs nothing, or all that the call can have taken."""
        if ticket in self._open:
            tokens, usd = (ticket.bound.tokens, ticket.bound.usd) if billed else (0, 0.0)
            self._settle(ticket, tokens, usd, {"error": {"kind": kind, "message": ""}})

    def _settle(self, ticket: _Ticket, tokens: float | None, usd: float | None, data: Mapping[str, Any]) -> None:
        latency = round(time.monotonic() - ticket.began, 6)
        self.run.append("llm_reply", {**ticket.about, **data, "latency": latency} | amounts(tokens, usd))
        self._open.remove(ticket)
        self.run.purse.settle(ticket.bound, tokens, usd, ticket.lasting)

    # --- what the test split will take -------------------------------------------------------------------------------------

    @property
    def kept(self) -> Mapping[str, float]:
        """Per unit what is kept back for it."""
        return self._kept

    def feed(self, event: Event) -> None:
        """Every event of the run, replayed or new."""
        data = event.data
        if event.kind == "rollout" and self._keeping:
            self._keep()
        if "ask" in data:
            return
        if event.kind == "llm_request":
            self._tried[_rollout(data)] += 1
            self._own.begin(data)
        elif event.kind == "llm_reply":
            self._own.end(data)

    def release(self) -> None:
        """The test split is scored now."""
        self._keeping = False
        self._keep()

    def _keep(self) -> None:
        """By what rollouts took so far. Calls under way are left out: their bounds say nothing of what they take."""
        own, under_way = self._own, self._own.open.values()
        rollouts = max(len(self._tried) - len({_rollout(data) for data in under_way}), self.run.state.rollouts, 1)
        often = _TEST_MARGIN * self.run.left_on_test / rollouts if self._keeping else 0.0
        for unit, taken in (("calls", own.requests - len(under_way)), ("tokens", own.tokens), ("usd", own.usd)):
            kept = often * (taken - sum(data.get(unit, 0.0) for data in under_way))
            self.run.ledger.release(unit, self._kept.get(unit, 0.0) - kept)
            self._kept[unit] = kept


def _rollout(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which one, as far as somebody said it."""
    return data.get("candidate"), data.get("case"), data.get("repeat")


@dataclass(eq=False)
class _Ticket:
    """``core.metering.Ticket``."""

    metering: Metering
    model: str
    bound: Bound
    request: Mapping[str, Any]
    about: dict[str, Any]
    began: float = 0.0

    @property
    def lasting(self) -> bool:
        return bool(self.request.get("stream"))

    def end(self, usage: Usage | None) -> None:
        self.metering.post(lambda: self.metering.end(self, usage))

    def fail(self, kind: str, billed: bool) -> None:
        self.metering.post(lambda: self.metering.fail(self, kind, billed))
