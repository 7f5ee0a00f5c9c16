"""Budgets: parsing, and a ledger that reserves before it spends."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from agentopt.core.errors import ConfigError

__all__ = ["COUNTED_UNITS", "Ledger", "add_budgets", "format_budget", "parse_budget"]

COUNTED_UNITS = ("evals", "rollouts")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]+)")


def parse_budget(text: str, where: str = "budget") -> dict[str, float]:
    """``"60s,500evals"`` -> ``{"seconds": 60.0, "evals": 500.0}``. Raises ConfigError."""
    budget: dict[str, float] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip().lower().lstrip("+"))
        unit = match["unit"] if match else ""
        if match is None or not (unit in _SECONDS or unit in COUNTED_UNITS or f"{unit}s" in COUNTED_UNITS):
            raise ConfigError(f"{where}: {part.strip()!r} is not an amount; write for example 60s, 10m, 2h, 500evals or 2000rollouts")
        amount = float(match["number"])
        name = "seconds" if unit in _SECONDS else unit if unit in COUNTED_UNITS else f"{unit}s"
        amount *= _SECONDS.get(unit, 1.0)
        if name in budget:
            raise ConfigError(f"{where}: {text!r} names {name} twice; give each unit once")
        if not 0 < amount < math.inf or (name != "seconds" and amount != int(amount)):
            raise ConfigError(f"{where}: {part.strip()!r} must be above 0 and finite{'' if name == 'seconds' else ', and whole'}")
        budget[name] = amount
    return budget


def format_budget(budget: Mapping[str, float]) -> str:
    """The inverse of ``parse_budget``."""
    return ",".join(f"{_positional(amount)}s" if unit == "seconds" else f"{amount:.0f}{unit}" for unit, amount in budget.items())


def _positional(amount: float) -> str:
    """All digits and no exponent, which ``parse_budget`` would not take."""
    return format(Decimal(repr(float(amount))).normalize(), "f")


def add_budgets(limits: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """``more`` on top of ``limits``: a unit that ``limits`` does not bound is bounded by ``more`` only if it was not unlimited before."""
    return {unit: limits[unit] + more.get(unit, 0.0) for unit in limits}


@dataclass
class Ledger:
    """What may be spent in counted units, what is spent, what is promised. An absent limit means unlimited."""

    limits: dict[str, float]
    spent: dict[str, float] = field(default_factory=dict[str, float])
    reserved: dict[str, float] = field(default_factory=dict[str, float])

    def left(self, unit: str) -> float:
        """What can still be reserved; ``inf`` without a limit."""
        limit = self.limits.get(unit, math.inf)
        return limit - self.spent.get(unit, 0.0) - self.reserved.get(unit, 0.0)

    def reserve(self, unit: str, amount: float) -> bool:
        """Promise ``amount``; False, and nothing changed, when it does not fit."""
        if self.left(unit) < amount:
            return False
        self.reserved[unit] = self.reserved.get(unit, 0.0) + amount
        return True

    def release(self, unit: str, amount: float) -> None:
        """Give a promise back unspent."""
        self.reserved[unit] = self.reserved.get(unit, 0.0) - amount

    def settle(self, unit: str, amount: float) -> None:
        """Turn a promise into spending."""
        self.release(unit, amount)
        self.spent[unit] = self.spent.get(unit, 0.0) + amount
