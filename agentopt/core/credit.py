"""Which of several arms pays: improvement per cost, folded from what came of their answers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Account", "Gains", "Lineage", "Pool", "largest_share", "rates"]

_WINDOW = 50
"""Results whose spread a gain is measured by."""
_PRIOR = 3.0
"""Answers at the common rate that every arm is taken to have given beside its own."""
_DEPTH = 3
"""Generations of ancestors that share in a gain."""
_HERITAGE = 0.3
"""The part of a gain that goes to the parents."""
_LEAST_LEFT = 0.05
"""Of the most that was left: as the last of a budget goes, it is not taken to be dearer than this makes it."""


class Gains:
    """How much better a new best is, on a scale of its own: 0 if it is none, and at most 1.

    An improvement d counts d / (d + spread), where ``spread`` is the range between the quartiles of the last results, so that adding to
    the objective or multiplying it changes nothing.
    """

    def __init__(self) -> None:
        self._best = math.inf
        self._window: deque[float] = deque(maxlen=_WINDOW)

    def add(self, key: float) -> float:
        """The gain of a result, to be minimised; infinite for a failure. The first result gains nothing."""
        if not math.isfinite(key):
            return 0.0
        better = self._best - key
        gain = better / (better + self._spread()) if 0.0 < better < math.inf else 0.0
        self._best = min(self._best, key)
        self._window.append(key)
        return gain

    def _spread(self) -> float:
        known = sorted(self._window)
        return known[3 * len(known) // 4] - known[len(known) // 4] or known[-1] - known[0]


class Lineage:
    """Who made which candidate, and of which."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[str, tuple[str, ...]]] = {}

    def add(self, candidate: str, arm: str, parents: Sequence[str]) -> None:
        self._made.setdefault(candidate, (arm, tuple(parents)))

    def shares(self, candidate: str) -> dict[str, float]:
        """The arms behind a candidate: 70 % to its own, 30 % to those of its parents, who share likewise. All add up to 1."""
        found: dict[str, float] = {}
        self._share(candidate, 1.0, _DEPTH, found)
        return found

    def _share(self, candidate: str, amount: float, depth: int, found: dict[str, float]) -> None:
        arm, parents = self._made[candidate]
        known = [parent for parent in parents if parent in self._made] if depth else []
        found[arm] = found.get(arm, 0.0) + amount * (1.0 - _HERITAGE if known else 1.0)
        for parent in known:
            self._share(parent, amount * _HERITAGE / len(known), depth - 1, found)


@dataclass
class Account:
    """What came of an arm: gains and costs that fade, and counts that do not.

    ``scarce`` is the cost as a share of the budget left, ``usd`` that in dollars, ``answers`` that in answers.
    """

    gain: float = 0.0
    scarce: float = 0.0
    usd: float = 0.0
    answers: float = 0.0
    results: int = 0
    """All answers that were told."""
    barren: int = 0
    """Answers of this arm since any of its pool brought a new best."""

    def fade(self, decay: float) -> None:
        self.gain *= decay
        self.scarce *= decay
        self.usd *= decay
        self.answers *= decay


class Pool:
    """Arms that compete for the same asks."""

    def __init__(self, arms: Iterable[str], decay: float) -> None:
        self.accounts = {arm: Account() for arm in arms}
        self.used: dict[str, float] = {}
        """Per unit what all answers took; ``evals`` are new candidates."""
        self._decay = decay

    def charge(self, arm: str, used: Mapping[str, float], scarce: float) -> None:
        """An answer of ``arm`` was told: what it took, and that as a share of the scarcest unit."""
        for account in self.accounts.values():
            account.fade(self._decay)
        account = self.accounts[arm]
        account.scarce += scarce
        account.usd += used.get("usd", 0.0)
        account.answers += 1.0
        account.results += 1
        account.barren += 1
        for unit, amount in used.items():
            self.used[unit] = self.used.get(unit, 0.0) + amount

    def begin_anew(self) -> None:
        """An arm of this pool made a new best, from which each may go on."""
        for account in self.accounts.values():
            account.barren = 0

    @property
    def results(self) -> int:
        return sum(account.results for account in self.accounts.values())

    @property
    def total(self) -> Account:
        """All accounts as one."""
        members = self.accounts.values()
        sums = [sum(getattr(account, name) for account in members) for name in ("gain", "scarce", "usd", "answers")]
        return Account(*sums, results=self.results)

    def mean(self, unit: str) -> float:
        """What an answer takes of a unit, as far as is known."""
        return self.used.get(unit, 0.0) / max(1, self.results)

    def shares(self, floor: float, plateau: int) -> dict[str, float]:
        """Each arm's share of the asks: ``floor`` is divided evenly, the rest in proportion to the rates.

        Arms that brought no new best for ``plateau`` answers more than another has had stand back: the incumbent is handed over.
        """
        turn = min(account.barren // plateau for account in self.accounts.values())
        found = rates({arm: account for arm, account in self.accounts.items() if account.barren // plateau == turn})
        whole = sum(found.values())
        return {arm: floor / len(self.accounts) + (1.0 - floor) * found.get(arm, 0.0) / whole for arm in self.accounts}


def rates(accounts: Mapping[str, Account]) -> dict[str, float]:
    """Gain per cost of each, drawn towards the common rate; all 1 while there is nothing to compare.

    Costs are shares of what is scarce; where nothing that they took is limited, dollars if all are priced, or else answers.
    """
    members = list(accounts.values())
    asked = [account for account in members if account.answers]
    unit = "answers"
    if any(account.scarce for account in asked):
        unit = "scarce"
    elif asked and all(account.usd for account in asked):
        unit = "usd"
    costs = [getattr(account, unit) for account in members]
    gain, cost, answers = sum(account.gain for account in members), sum(costs), sum(account.answers for account in members)
    if not gain or not cost:
        return dict.fromkeys(accounts, 1.0)
    prior = _PRIOR * cost / answers
    return {arm: (account.gain + prior * gain / cost) / (own + prior) for (arm, account), own in zip(accounts.items(), costs, strict=True)}


def largest_share(used: Mapping[str, float], left: Mapping[str, float], most: dict[str, float]) -> float:
    """Of the limited units the one that an answer took the largest share of, and that share.

    ``left`` is what there was before it, per limited unit; ``most`` keeps the most that was ever left.
    """
    for unit, amount in left.items():
        most[unit] = max(amount, most.get(unit, 0.0))
    shares = [used.get(unit, 0.0) / max(amount, _LEAST_LEFT * most[unit]) for unit, amount in left.items() if most[unit] > 0.0]
    return max(shares, default=0.0)
