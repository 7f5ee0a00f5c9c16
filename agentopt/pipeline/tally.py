"""The calls of models that a workflow makes before there is a run to pay them."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentopt.core.budget import Ledger
from agentopt.core.calls import Bound
from agentopt.core.chat import Usage
from agentopt.core.errors import BudgetSpent
from agentopt.core.metering import Meter

__all__ = ["Tally"]


@dataclass(frozen=True)
class _Taken:
    """One call of a model: what it was, what it took, and how it failed if it did."""

    model: str
    bound: Bound
    request: Any
    usage: Usage | None
    failed: tuple[str, bool] | None = None


class Tally:
    """A ``Meter`` before there is a run: it keeps to the budget, and remembers what the run will have to pay."""

    output_cap: int | None = None

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.taken: list[_Taken] = []
        self._ledger = Ledger(dict(limits))
        self._lock = threading.Lock()

    def begin(self, model: str, bound: Bound, request: Any) -> _Ticket:
        with self._lock:
            wanted = _amounts(bound)
            for unit, amount in wanted.items():
                if not self._ledger.fits(unit, amount):
                    raise BudgetSpent(f"one request can take {amount:g} {unit}, and {self._ledger.left(unit):g} are left")
            for unit, amount in wanted.items():
                self._ledger.reserve(unit, amount)
        return _Ticket(self, model, bound, request)

    async def abegin(self, model: str, bound: Bound, request: Any) -> _Ticket:
        return self.begin(model, bound, request)

    def settle(self, taken: _Taken) -> None:
        """A call ended."""
        with self._lock:
            self.taken.append(taken)
            used = _amounts(_used(taken))
            for unit, amount in _amounts(taken.bound).items():
                self._ledger.settle(unit, used.get(unit, 0.0), amount)

    async def pay(self, meter: Meter) -> None:
        """Into the log of the run. Raises BudgetSpent."""
        while self.taken:
            taken = self.taken.pop(0)
            ticket = await meter.abegin(taken.model, _used(taken), taken.request)
            if taken.failed:
                ticket.fail(*taken.failed)
            else:
                ticket.end(taken.usage)


class _Ticket:
    def __init__(self, tally: Tally, model: str, bound: Bound, request: Any) -> None:
        self._tally, self._about = tally, (model, bound, request)

    def end(self, usage: Usage | None) -> None:
        self._tally.settle(_Taken(*self._about, usage))

    def fail(self, kind: str, billed: bool) -> None:
        self._tally.settle(_Taken(*self._about, None, (kind, billed)))


def _amounts(bound: Bound) -> dict[str, float]:
    known = {"tokens": bound.tokens, "usd": bound.usd}
    return {"calls": 1.0} | {unit: float(amount) for unit, amount in known.items() if amount is not None}


def _used(taken: _Taken) -> Bound:
    """The most that a call can have taken, now that it is over."""
    bound, usage = taken.bound, taken.usage
    if taken.failed and not taken.failed[1]:
        return Bound(0, 0, 0.0)
    if usage is None:
        return bound
    shares = [usage.input_tokens / max(1, bound.input_tokens)]
    if bound.output_tokens is not None:
        shares.append(usage.output_tokens / max(1, bound.output_tokens))
    usd = None if bound.usd is None or not math.isfinite(bound.usd) else bound.usd * min(1.0, max(shares))
    return Bound(usage.input_tokens, usage.output_tokens, usd)
