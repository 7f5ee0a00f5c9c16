"""The candidates that are best on some train case, each drawn as often as it leads.

A specialist that wins a few cases stays a parent though its mean is poor: the instance-wise frontier of GEPA (Agrawal et al.,
arXiv 2507.19457, 2025, algorithm 2).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options
from agentopt.core.protocols import ArchiveContext

__all__ = ["CaseFront"]

Vector = tuple[float, ...]
"""A score per objective, turned so that smaller is better."""


@dataclass(frozen=True)
class Options:
    members: int = 200
    """How many leaders are kept before superfluous ones go."""

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ConfigError(f"archive.members is {self.members}; it must be 1 or more")


@dataclass
class _Member:
    entry: Entry
    rank: Vector
    """The lower, the worse."""
    leads: int
    """A set of cases: byte k is 1 where it is the best, or one of the best, on column k."""


class CaseFront:
    """``core.protocols.Archive`` that keeps, for every train case and objective, all entries that are best there.

    - Repeats of a case are averaged. An entry without rollouts is compared by its search scores, as if they were a case.
    - ``sample`` leaves out members without which every case would still have a leader, the worst by search scores first, and draws the
      others in proportion to the cases that they lead.
    - Ties could let the members grow without end; past ``members`` superfluous ones are forgotten in the same order. There are never
      more members than that, or than cases times objectives where these are more.
    - ``front`` holds the non-dominated entries, as validation decides about them.

    Raises ConfigError for a bad option.
    """

    def __init__(self, context: ArchiveContext) -> None:
        self._most = read_options(Options, context.options, "archive").members
        self._signs = tuple((o.name, 1.0 if o.direction == "min" else -1.0) for o in context.objectives)
        self._front = context.child("pareto", {"bench": 0})
        self._columns: dict[tuple[str, str], int] = {}
        self._best: list[float] = []
        self._members: dict[str, _Member] = {}
        self._order: list[_Member] = []
        """The worst first and the newer first among equals."""
        self._survivors: list[_Member] | None = None

    def admits(self, entry: Entry) -> bool:
        return entry.id not in self._members and self._front.admits(entry)

    def add(self, entry: Entry) -> Admission:
        if entry.id in self._members:
            return Admission("duplicate")
        admission = self._front.add(entry)
        if admission.status in ("admitted", "dominated"):
            self._compare(entry)
        return admission

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        if self._survivors is None:
            spare = set(_superfluous([member.leads for member in self._order]))
            self._survivors = [member for k, member in enumerate(self._order) if k not in spare]
        pool = [member.entry for member in self._survivors]
        weights = [member.leads.bit_count() for member in self._survivors]
        left: list[int] = []
        drawn: list[Entry] = []
        for _ in range(n if pool else 0):
            left = left or list(range(len(pool)))
            index = rng.choices(left, [weights[k] for k in left])[0]
            left.remove(index)
            drawn.append(pool[index])
        return drawn

    def front(self) -> Sequence[Entry]:
        return self._front.front()

    def get(self, candidate_id: str) -> Entry | None:
        member = self._members.get(candidate_id)
        return member.entry if member else self._front.get(candidate_id)

    def _compare(self, entry: Entry) -> None:
        scores = self._by_column(entry)
        leads = _set_of(map(float.__le__, scores, self._best))
        beaten = _set_of(map(float.__lt__, scores, self._best))
        leads &= ~_set_of(map(math.isinf, scores))
        if not leads:
            return
        self._survivors = None
        self._best = list(map(min, self._best, scores))
        if beaten:
            for member in self._order:
                member.leads &= ~beaten
            self._remove(k for k, member in enumerate(self._order) if not member.leads)
        member = _Member(entry, tuple(-value for value in self._vector(entry)), leads)
        self._members[entry.id] = member
        self._order.insert(bisect_left(self._order, member.rank, key=lambda held: held.rank), member)
        if (excess := len(self._order) - self._most) > 0:
            self._remove(_superfluous([held.leads for held in self._order])[:excess])

    def _remove(self, places: Iterable[int]) -> None:
        for place in sorted(places, reverse=True):
            del self._members[self._order.pop(place).entry.id]

    def _by_column(self, entry: Entry) -> list[float]:
        """Its score per column, infinite where it has none; columns are made for cases that are new."""
        found: dict[tuple[str, str], list[float]] = {}
        for rollout in entry.evaluation.rollouts if entry.evaluation else ():
            if rollout.split == "train" and rollout.failure is None:
                for name, sign in self._signs:
                    found.setdefault((rollout.case, name), []).append(sign * rollout.scores[name])
        if not found:
            found = {("", name): [value] for (name, _), value in zip(self._signs, self._vector(entry), strict=True)}
        for key in found:
            if self._columns.setdefault(key, len(self._best)) == len(self._best):
                self._best.append(math.inf)
        scores = [math.inf] * len(self._best)
        for key, values in found.items():
            scores[self._columns[key]] = sum(values) / len(values)
        return scores

    def _vector(self, entry: Entry) -> Vector:
        return tuple(sign * entry.scores[name] for name, sign in self._signs)


def _set_of(flags: Iterable[bool]) -> int:
    """A set of columns as one number, so that a thousand of them are compared, joined and cut in one step."""
    return int.from_bytes(bytes(flags), "little")


def _superfluous(sets: Sequence[int]) -> list[int]:
    """The places of those without which every column still has a leader, found one after another in the order given.

    One pass is enough: who is needed when its turn comes stays needed, for later removals only take leaders away.
    """
    later = list(accumulate(reversed(sets), int.__or__, initial=0))
    gone: list[int] = []
    kept = 0
    for place, leads in enumerate(sets):
        if leads & ~(kept | later[len(sets) - place - 1]):
            kept |= leads
        else:
            gone.append(place)
    return gone
