"""The non-dominated candidates, and a bounded bench of good others to breed from.

Equal scores do not reach the front: the older entry keeps its place, the newer sits on the bench. Only what is held costs anything,
so a call takes as long after a million candidates as after a thousand.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options
from agentopt.core.protocols import ArchiveContext

__all__ = ["Pareto"]

Vector = tuple[float, ...]
"""A score per objective, turned so that smaller is better."""

_LARGE = 48
"""From this many points on, numpy compares faster than Python."""
_EXACT_OBJECTIVES = 4
_EXACT_POINTS = 64
"""Past both, the exact hypervolume may take seconds; its deterministic approximation (Deng & Zhang 2019) takes over."""


@dataclass(frozen=True)
class Options:
    bench: int = 64
    """How many dominated entries are kept to breed from."""


class Pareto:
    """``core.protocols.Archive`` for any number of objectives.

    - The front is drawn by validation scores where there are any; an entry that was not confirmed cannot enter a front that was.
    - ``gain`` is the hypervolume won, measured against the worst value of every objective seen so far (this entry included), so it needs
      no bound from the task; with one objective it is the improvement of the best score. The first entry gains 0.
    - ``sample`` takes from the front and the bench alike: a draw goes to a random front member in half of the cases, else to the
      bench, where rank r (by non-dominated sorting of the search scores, the newer first among equals) has a chance of about 1/r.

    Raises ConfigError for a bad option.
    """

    def __init__(self, context: ArchiveContext) -> None:
        options = read_options(Options, context.options, "archive")
        if options.bench < 0:
            raise ConfigError(f"archive.bench is {options.bench}; it must be 0 or more")
        self._signs = tuple((o.name, 1.0 if o.direction == "min" else -1.0) for o in context.objectives)
        self._front: list[Entry] = []
        self._checked = 0
        self._confirmed = _Points()
        self._train = _Points()
        self._bench = _Bench(options.bench)
        self._held: dict[str, Entry] = {}
        self._worst: Vector = ()

    def admits(self, entry: Entry) -> bool:
        vector = self._vector(entry.scores)
        return vector is not None and entry.id not in self._held and not self._train.cover(vector)

    def add(self, entry: Entry) -> Admission:
        if entry.id in self._held or entry.evaluation is None:
            return Admission("duplicate")
        if entry.failure is not None:
            return Admission("failed")
        train, vector = self._vector(entry.scores), self._vector(entry.confirmed)
        if train is None or vector is None:
            return Admission("infeasible")
        self._worst = tuple(map(max, self._worst, vector)) if self._worst else vector
        # search scores are optimistic: against validation scores they would win a place that nobody checked
        unchecked = self._checked > 0 and not _is_checked(entry)
        if unchecked or self._confirmed.cover(vector):
            self._to_bench(entry, train)
            return Admission("dominated")
        gain = self._confirmed.gain(vector, self._worst)
        lost = self._confirmed.dominated_by(vector)
        displaced = [(self._front[index], self._train.rows[index]) for index in lost]
        for index in reversed(lost):
            self._checked -= _is_checked(self._front.pop(index))
            self._confirmed.remove(index)
            self._train.remove(index)
        self._front.append(entry)
        self._checked += _is_checked(entry)
        self._confirmed.append(vector)
        self._train.append(train)
        self._held[entry.id] = entry
        for old, scores in displaced:
            self._to_bench(old, scores)
        return Admission("admitted", tuple(old.id for old, _ in displaced), gain)

    def shelve(self, entry: Entry) -> None:
        train = self._vector(entry.scores)
        if train is not None and entry.id not in self._held:
            self._to_bench(entry, train)

    def rescore(self, entry: Entry) -> None:
        train, vector = self._vector(entry.scores), self._vector(entry.confirmed)
        place = next((index for index, member in enumerate(self._front) if member.id == entry.id), None)
        if place is None or train is None or vector is None:
            return
        self._worst = tuple(map(max, self._worst, vector))
        self._checked += _is_checked(entry) - _is_checked(self._front[place])
        self._front[place] = self._held[entry.id] = entry
        self._confirmed.replace(place, vector)
        self._train.replace(place, train)

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        pool = [*self._front, *self._bench.entries()]
        if not pool:
            return []
        taken: set[int] = set()
        drawn: list[Entry] = []
        for _ in range(n):
            if len(taken) == len(pool):
                taken.clear()
            index = self._draw(len(pool) - len(self._front), rng)
            while index in taken:
                index = (index + 1) % len(pool)
            taken.add(index)
            drawn.append(pool[index])
        return drawn

    def front(self) -> Sequence[Entry]:
        return list(self._front)

    def get(self, candidate_id: str) -> Entry | None:
        return self._held.get(candidate_id)

    def _draw(self, benched: int, rng: Random) -> int:
        if not benched or rng.random() < 0.5:
            return rng.randrange(len(self._front))
        rank = int((benched + 1) ** rng.random()) - 1
        return len(self._front) + min(rank, benched - 1)

    def _vector(self, scores: Mapping[str, float]) -> Vector | None:
        """None where an objective has no finite score."""
        try:
            vector = tuple(sign * scores[name] for name, sign in self._signs)
        except KeyError:
            return None
        return vector if all(map(math.isfinite, vector)) else None

    def _to_bench(self, entry: Entry, train: Vector) -> None:
        self._held[entry.id] = entry
        for gone in self._bench.add(entry, train):
            del self._held[gone.id]


def _is_checked(entry: Entry) -> bool:
    return entry.evaluation is not None and "validation" in entry.evaluation.splits


def _finite(gain: float) -> float:
    """Scores of extreme size overflow; the log takes numbers only."""
    return 0.0 if math.isnan(gain) else min(max(gain, 0.0), sys.float_info.max)


class _Points:
    """Vectors in the order of the front, as an array too once there are many."""

    def __init__(self) -> None:
        self.rows: list[Vector] = []
        self._array: Any = None

    def append(self, row: Vector) -> None:
        self.rows.append(row)
        if self._array is not None:
            import numpy as np

            self._array = np.concatenate([self._array, [row]])

    def remove(self, index: int) -> None:
        del self.rows[index]
        if self._array is not None:
            import numpy as np

            self._array = np.delete(self._array, index, axis=0)

    def replace(self, index: int, row: Vector) -> None:
        self.rows[index] = row
        self._array = None

    def cover(self, vector: Vector) -> bool:
        """Whether some row is at least as good in every objective."""
        if len(self.rows) < _LARGE:
            return any(all(map(float.__le__, row, vector)) for row in self.rows)
        return bool((self._matrix() <= vector).all(axis=1).any())

    def dominated_by(self, vector: Vector) -> list[int]:
        """The indices of the rows that ``vector``, itself not covered, is at least as good as in every objective."""
        if len(self.rows) < _LARGE:
            return [index for index, row in enumerate(self.rows) if all(map(float.__le__, vector, row))]
        return (self._matrix() >= vector).all(axis=1).nonzero()[0].tolist()

    def gain(self, vector: Vector, worst: Vector) -> float:
        """The volume between ``vector`` and ``worst`` that no row covers.

        It equals the difference of two hypervolumes of the whole front, but only the part of the front that reaches into the box of
        ``vector`` counts (the exclusive hypervolume of While, Bradstreet & Barone 2012): a few points even for a large front.
        """
        if not self.rows:
            return 0.0
        if len(vector) == 1:
            return _finite(self.rows[0][0] - vector[0])
        import moocore
        import numpy as np

        volume = math.prod(high - low for low, high in zip(vector, worst, strict=True))
        limited: Any = moocore.filter_dominated(np.maximum(self._matrix(), vector))
        if len(vector) > _EXACT_OBJECTIVES and len(limited) > _EXACT_POINTS:
            covered = moocore.hv_approx(limited, worst, nsamples=4096, method="DZ2019-HW")
        else:
            covered = moocore.hypervolume(limited, worst)
        return _finite(volume - float(covered))

    def _matrix(self) -> Any:
        import numpy as np

        if self._array is None:
            self._array = np.array(self.rows)
        return self._array


class _Bench:
    """At most ``size`` entries, the best rank first and the newer first among equals; what does not fit is handed back."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ranked: list[tuple[Entry, Vector]] = []

    def entries(self) -> list[Entry]:
        return [entry for entry, _ in self._ranked]

    def add(self, entry: Entry, vector: Vector) -> list[Entry]:
        if len(vector) == 1:
            self._ranked.insert(bisect_left(self._ranked, vector, key=lambda item: item[1]), (entry, vector))
        else:
            self._ranked.insert(0, (entry, vector))
            self._rank()
        gone = [old for old, _ in self._ranked[self._size :]]
        del self._ranked[self._size :]
        return gone

    def _rank(self) -> None:
        import moocore
        import numpy as np

        ranks: list[int] = moocore.pareto_rank(np.array([vector for _, vector in self._ranked])).tolist()
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        self._ranked = [self._ranked[index] for index in order]
