"""Budgets: parsing, and a ledger that reserves before it spends."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from agentopt.core.errors import ConfigError

__all__ = ["COUNTED_UNITS", "MODEL_UNITS", "Ledger", "add_budgets", "format_budget", "parse_budget"]

COUNTED_UNITS = ("evals", "rollouts", "calls", "tokens")
MODEL_UNITS = ("calls", "tokens", "usd")
"""What only calls of a model use up."""
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(?P<dollar>\$)?\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)")
_EPSILON = 1e-9
"""Sums of fractions of a dollar are rounded; what is less than a millionth of a cent is not counted as too much."""


def parse_budget(text: str, where: str = "budget") -> dict[str, float]:
    """``"60s,500evals,$2"`` -> ``{"seconds": 60.0, "evals": 500.0, "usd": 2.0}``. Raises ConfigError."""
    budget: dict[str, float] = {}
    for part in text.split(","):
        name, amount = _amount(part.strip(), where)
        if name in budget:
            raise ConfigError(f"{where}: {text!r} names {name} twice; give each unit once")
        whole = name in COUNTED_UNITS
        if not 0 < amount < math.inf or (whole and amount != int(amount)):
            raise ConfigError(f"{where}: {part.strip()!r} must be above 0 and finite{', and whole' if whole else ''}")
        budget[name] = amount
    return budget


def _amount(part: str, where: str) -> tuple[str, float]:
    match = _PART.fullmatch(part.lower().lstrip("+"))
    unit = ("usd" if match["dollar"] and not match["unit"] else match["unit"]) if match else ""
    if match is None or (match["dollar"] and unit != "usd") or not (unit in _SECONDS or _counted(unit) or unit == "usd"):
        examples = "60s, 10m, 2h, 500evals, 2000rollouts, 100calls, 50000tokens or $2"
        raise ConfigError(f"{where}: {part!r} is not an amount; write for example {examples}")
    number = float(match["number"])
    if unit in _SECONDS:
        return "seconds", number * _SECONDS[unit]
    return _counted(unit) or unit, number


def _counted(unit: str) -> str:
    """``evals`` for ``eval`` and ``evals``; empty for what is no counted unit."""
    return unit if unit in COUNTED_UNITS else f"{unit}s" if f"{unit}s" in COUNTED_UNITS else ""


def format_budget(budget: Mapping[str, float]) -> str:
    """The inverse of ``parse_budget``."""
    return ",".join(_spelled(unit, amount) for unit, amount in budget.items())


def _spelled(unit: str, amount: float) -> str:
    if unit in COUNTED_UNITS:
        return f"{amount:.0f}{unit}"
    return f"${_positional(amount)}" if unit == "usd" else f"{_positional(amount)}s"


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

    def fits(self, unit: str, amount: float) -> bool:
        """Whether ``amount`` can still be reserved."""
        return amount <= self.left(unit) + _EPSILON

    def reserve(self, unit: str, amount: float) -> bool:
        """Promise ``amount``; False, and nothing changed, when it does not fit."""
        if not self.fits(unit, amount):
            return False
        self.reserved[unit] = self.reserved.get(unit, 0.0) + amount
        return True

    def release(self, unit: str, amount: float) -> None:
        """Give a promise back unspent."""
        self.reserved[unit] = self.reserved.get(unit, 0.0) - amount

    def settle(self, unit: str, amount: float, promised: float | None = None) -> None:
        """Turn a promise, of ``amount`` if no other is given, into spending."""
        self.release(unit, amount if promised is None else promised)
        self.spent[unit] = self.spent.get(unit, 0.0) + amount
