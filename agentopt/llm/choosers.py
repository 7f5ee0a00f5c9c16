"""Which of several models to ask next. Only observations move a chooser, so that replaying them restores it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

__all__ = ["BanditChooser", "Chooser", "WeightedChooser"]


class Chooser(Protocol):
    """``pending`` counts, per name, the requests whose gain has not been observed yet."""

    def choose(self, rng: Random, pending: Mapping[str, int] | None = None, without: Collection[str] = ()) -> str:
        """The name of a model, of those ``without`` one only if there is no other; changes nothing."""
        ...

    def observe(self, name: str, gain: float, cost_usd: float | None) -> None:
        """What a request to ``name`` brought (0 or more, for example hypervolume) and cost (None: unknown)."""
        ...


class WeightedChooser:
    """In proportion to fixed weights; learns nothing."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = dict(weights)

    def choose(self, rng: Random, pending: Mapping[str, int] | None = None, without: Collection[str] = ()) -> str:
        names = _left(self._weights, without)
        return rng.choices(names, [self._weights[name] for name in names])[0]

    def observe(self, name: str, gain: float, cost_usd: float | None) -> None:
        """Weights stay as they are."""


@dataclass
class _Arm:
    asked: int = 0
    gain: float = 0.0
    usd: float = 0.0
    priced: bool = True


class BanditChooser:
    """The model with the highest upper confidence bound on its gain per USD.

    The bound of model i after t requests, n_i of them to i, is::

        (mean_gain_i / largest_gain + sqrt(2 ln t / n_i)) / mean_usd_i

    That is the index of fractional KUBE (Tran-Thanh, Chapman, Rogers and Jennings, "Knapsack based optimal policies for budget-limited
    multi-armed bandits", AAAI 2012) with UCB1's bound (Auer, Cesa-Bianchi and Fischer, 2002) and costs as observed. Gains are divided by
    the largest one seen, because the bound holds for rewards up to 1. A request counts as costing at least ``least_usd``, so that a free
    model is preferred, not asked alone. If any cost is unknown nothing can be said per USD: then all costs count as equal, which is UCB1.
    Each model is asked once first, in the order given; of equal bounds the first wins.
    """

    def __init__(self, names: Sequence[str], least_usd: float = 1e-4) -> None:
        self._arms = {name: _Arm() for name in names}
        self._least = least_usd
        self._largest = 0.0

    def choose(self, rng: Random, pending: Mapping[str, int] | None = None, without: Collection[str] = ()) -> str:
        """Draws nothing from ``rng``. A pending request counts as one without gain, so that several at once go to several models."""
        counts = {name: arm.asked + (pending or {}).get(name, 0) for name, arm in self._arms.items()}
        names = _left(self._arms, without)
        untried = [name for name in names if counts[name] == 0]
        if untried:
            return untried[0]
        spread = 2.0 * math.log(sum(counts.values()))
        comparable = all(arm.priced for arm in self._arms.values())

        def bound(name: str) -> float:
            arm = self._arms[name]
            mean = arm.gain / counts[name] / self._largest if self._largest else 0.0
            # what is pending and was never paid for waits at a dollar until its cost is known
            usd = max(self._least, arm.usd / arm.asked) if comparable and arm.asked else 1.0
            return (mean + math.sqrt(spread / counts[name])) / usd

        return max(names, key=bound)

    def observe(self, name: str, gain: float, cost_usd: float | None) -> None:
        arm = self._arms[name]
        arm.asked += 1
        arm.gain += gain
        arm.usd += cost_usd or 0.0
        arm.priced = arm.priced and cost_usd is not None
        self._largest = max(self._largest, gain)


def _left(names: Iterable[str], without: Collection[str]) -> list[str]:
    every = list(names)
    return [name for name in every if name not in without] or every
