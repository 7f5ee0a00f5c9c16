"""What each optimizer, or each arm of a composed one, took and brought, as a fold of the log counts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Arm", "Arms"]


@dataclass
class Arm:
    """Sums over one arm's asks.

    ``seconds`` are those of its models' replies and of its candidates' rollouts; ``gain``, in the unit of the first objective, is summed
    over the new bests that it made.
    """

    asks: int = 0
    """Asks that it answered, with candidates or with a refusal."""
    refused: int = 0
    evals: int = 0
    calls: int = 0
    tokens: float = 0.0
    usd: float = 0.0
    unpriced: int = 0
    """Requests whose cost is unknown."""
    seconds: float = 0.0
    bests: int = 0
    gain: float = 0.0

    def add(self, other: Arm) -> None:
        """What the models took in another's name."""
        for name in ("calls", "tokens", "usd", "unpriced", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """``usd`` is None if any request's cost is unknown; rates are None where there is nothing to divide by."""
        counts = {"asks": self.asks, "refused": self.refused, "evaluations": self.evals, "calls": self.calls, "tokens": self.tokens}
        usd = None if self.unpriced else round(self.usd, 9)
        costs = {"usd": usd, "seconds": round(self.seconds, 3)}
        per = {"gain_per_usd": self.gain / usd if usd else None, "gain_per_second": self.gain / self.seconds if self.seconds else None}
        return counts | costs | {"bests": self.bests, "gain": self.gain} | per


@dataclass
class Arms:
    """``by_name`` in the order in which they answered first."""

    by_name: dict[str, Arm] = field(default_factory=dict[str, Arm])
    _asking: dict[int, Arm] = field(default_factory=dict[int, Arm])
    """Per ask what models took of which nobody knows yet who asked."""
    _answered: int = -1

    def request(self, data: Mapping[str, Any]) -> None:
        """``llm_request``, of an ask."""
        self._asking.setdefault(data["ask"], Arm()).calls += 1

    def reply(self, data: Mapping[str, Any]) -> None:
        """``llm_reply``, to an ask."""
        asking = self._asking.setdefault(data["ask"], Arm())
        asking.tokens += data.get("tokens", 0)
        asking.usd += data.get("usd", 0.0)
        asking.unpriced += "usd" not in data
        asking.seconds += data.get("latency", 0.0)

    def answer(self, name: str, index: int, *, new: bool = False, refused: bool = False) -> None:
        """One of the proposals of an ask, or its refusal."""
        arm = self.by_name.setdefault(name, Arm())
        arm.evals += new
        arm.refused += refused
        if index != self._answered:
            self._answered = index
            arm.asks += 1
        arm.add(self._asking.pop(index, Arm()))

    def evaluate(self, name: str, seconds: float) -> None:
        """A rollout of one of its candidates."""
        self.by_name[name].seconds += seconds

    def improve(self, name: str, gain: float) -> None:
        """A new best."""
        self.by_name[name].bests += 1
        self.by_name[name].gain += gain

    def to_json(self) -> dict[str, Any]:
        return {name: arm.to_json() for name, arm in self.by_name.items()}
