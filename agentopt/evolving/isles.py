"""The islands: which one is next, whom it breeds from, who migrates, and which is filled anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Archive
from agentopt.core.selection import rank_key
from agentopt.core.task import Objective
from agentopt.evolving.options import EvolveOptions

__all__ = ["Isles", "key_of", "rank_of"]

_LEAST, _MOST, _FIXED = 0.15, 0.55, 0.35
"""Exploration: the share of parents drawn from the whole island, the others are its best."""
_SIGNAL_DECAY = 0.8
_BANDIT_DECAY = 0.9
_UCB = 0.5
_LEAST_REWARD = 0.02
"""Means of rewards are compared with the largest, and at least with this one: what was long ago decides nothing."""
_TINY = 1e-12


def key_of(entry: Entry, objectives: Sequence[Objective]) -> float:
    """The lower, the better; infinite without scores."""
    return rank_key(entry.scores, objectives[:1])[0] if entry.scores else math.inf


def rank_of(entry: Entry, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Sorts better entries first: by the first objective, ties by the next; those without scores come last."""
    return rank_key(entry.scores, objectives) if entry.scores else (math.inf,)


class Islands(Protocol):
    """What an archive of islands has beside ``core.protocols.Archive``."""

    @property
    def islands(self) -> Sequence[Archive]: ...
    def add(self, entry: Entry) -> Admission: ...
    def island_of(self, candidate_id: str) -> int | None: ...
    def reset(self, index: int, entries: Sequence[Entry]) -> None: ...


@dataclass
class _State:
    """``signal``: squared shares of improvement, decayed. ``reward`` and ``visits`` decay as well. ``since``: evaluations without one."""

    best: Entry | None = None
    key: float = math.inf
    signal: float = 0.0
    reward: float = 0.0
    visits: float = 0.0
    taken: int = 0
    since: int = 0


class Isles:
    """Archives beside each other, and what improvement says of them.

    After Cemri et al., "AdaEvolve", arXiv 2602.20133: an island's accumulated improvement sets how much it explores, and UCB over
    improvements of the best of all says which island is next. Improvement is counted here as a share of all that was won since the seed,
    so that it depends neither on the objective's scale nor on where its zero lies; and the signal fades when nothing improves.
    """

    def __init__(self, options: EvolveOptions, objectives: Sequence[Objective], build: Callable[[str, Mapping[str, Any]], Any], kind: str):
        self._options, self._objectives = options, objectives
        self._whole: Islands | None = None
        self._single: Archive | None = None
        if options.islands > 1:
            self._whole = build("islands", {"archive": kind, "islands": options.islands, "every": options.migrate_every})
        else:
            self._single = build(kind, {})
        self._states = [_State() for _ in range(options.islands)]
        self.best: Entry | None = None
        self._key = math.inf
        self._start = math.inf
        """The seed's key."""
        self._begun = False

    @property
    def _archives(self) -> Sequence[Archive]:
        """As they are now: a reset puts another in an archive's place."""
        return self._whole.islands if self._whole else [self._single] if self._single else []

    # --- told

    def add(self, entry: Entry, island: int | None) -> bool:
        """``island`` is where the proposal was made for. True if it is the best so far."""
        sure = entry.provisional is None
        if sure:
            (self._whole or self._archives[0]).add(entry)
        key = key_of(entry, self._objectives) if sure else math.inf
        won = self._key - key if math.isfinite(self._key) else math.inf
        better = sure and bool(entry.scores) and (self.best is None or self._rank(entry) < self._rank(self.best))
        if better:
            self.best, self._key = entry, key
        if not self._begun:
            self._begin(entry, key)
            return better
        index = self._index(entry, island)
        if index is not None:
            self._credit(self._states[index], entry, key, self._share(won) if better else 0.0)
            if self._whole:
                self._renew(self._whole, index)
        return better

    def skip(self, island: int) -> None:
        """A proposal for that island came to nothing: a duplicate, or a reply of no use."""
        if 0 <= island < len(self._states):
            self._visit(self._states[island])

    def _begin(self, seed: Entry, key: float) -> None:
        self._begun, self._start = True, key
        for state in self._states:
            state.best, state.key = (seed, key) if seed.scores else (None, math.inf)

    def _share(self, won: float) -> float:
        """Of all that was won since the seed; a first score is all there is."""
        if not math.isfinite(won) or not math.isfinite(self._start):
            return 1.0
        return min(1.0, won / max(self._start - self._key, _TINY))

    def _index(self, entry: Entry, island: int | None) -> int | None:
        if self._whole is None:
            return 0
        found = island if island is not None else self._whole.island_of(entry.id)
        return found if found is not None and 0 <= found < len(self._states) else None

    def _credit(self, state: _State, entry: Entry, key: float, share: float) -> None:
        own = 0.0
        if math.isfinite(key) and (state.best is None or self._rank(entry) < self._rank(state.best)):
            own = self._share(state.key - key)
            state.best, state.key, state.since = entry, key, 0
        else:
            state.since += 1
        state.signal = _SIGNAL_DECAY * state.signal + (1.0 - _SIGNAL_DECAY) * own**2
        self._visit(state, share)

    def _rank(self, entry: Entry) -> tuple[float, ...]:
        return rank_of(entry, self._objectives)

    def _visit(self, state: _State, reward: float = 0.0) -> None:
        for other in self._states:
            other.reward *= _BANDIT_DECAY
            other.visits *= _BANDIT_DECAY
        state.reward += reward
        state.visits += 1.0
        state.taken += 1

    def _renew(self, whole: Islands, index: int) -> None:
        state = self._states[index]
        others = [other.best for other in self._states if other is not state and other.best]
        if not self._options.reset_after or state.since < self._options.reset_after or state.best is self.best or not others:
            return
        distinct = {entry.id: entry for entry in sorted(others, key=self._rank)}
        entries = list(distinct.values())[:2]
        whole.reset(index, entries)
        self._states[index] = _State(entries[0], key_of(entries[0], self._objectives), 0.0, 0.0, state.visits, state.taken)

    # --- asked

    def choose(self, out: Mapping[int, int]) -> int:
        """The next island; ``out`` are the proposals per island that are not told yet."""
        taken = [state.taken + out.get(index, 0) for index, state in enumerate(self._states)]
        if not self._options.adaptive or min(taken) == 0:
            return taken.index(min(taken))
        visits = [state.visits + out.get(index, 0) for index, state in enumerate(self._states)]
        means = [state.reward / (visit + _TINY) for state, visit in zip(self._states, visits, strict=True)]
        most = max(*means, _LEAST_REWARD)
        total = math.log(1.0 + sum(visits))
        values = [mean / most + _UCB * math.sqrt(total / (visit + _TINY)) for mean, visit in zip(means, visits, strict=True)]
        return values.index(max(values))

    def exploration(self, index: int) -> float:
        """The share of parents that are drawn from the whole island."""
        if not self._options.adaptive:
            return _FIXED
        return _MOST - (_MOST - _LEAST) * math.sqrt(min(1.0, self._states[index].signal))

    def parent(self, index: int, rng: Random) -> Entry | None:
        """Whom to change: the island's best, or the better of two drawn from all of it. None while nothing on it has a score."""
        archive = self._archives[index]
        explored = rng.random() < self.exploration(index)
        if explored and (drawn := archive.sample(2, rng)):
            return min(drawn, key=self._rank)
        front = archive.front()
        if len(self._objectives) > 1 and front:
            return rng.choice(front)
        return min(front, key=self._rank) if front else None

    def others(self, index: int, n: int, without: set[str], rng: Random) -> list[Entry]:
        """At most ``n`` different entries, from other islands as far as there are any."""
        order = [other for other in range(len(self._archives)) if other != index]
        rng.shuffle(order)
        found: dict[str, Entry] = {}
        for other in [*order, index]:
            for entry in self._archives[other].sample(2, rng):
                if entry.id not in without and len(found) < n:
                    found.setdefault(entry.id, entry)
        return list(found.values())
