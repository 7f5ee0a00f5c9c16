"""Several archives that breed apart and exchange their best now and then (the island model).

Islands keep a search from settling on the first good idea: Tanese, "Distributed genetic algorithms", ICGA 1989; the resets that
``reset`` allows are those of FunSearch (Romera-Paredes et al., Nature 625, 2024).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

from agentopt.core.candidate import Candidate
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options
from agentopt.core.protocols import Archive, ArchiveContext

__all__ = ["Islands"]

_FORGET_AT = 1024
"""From this many remembered entries on, those that no island holds are forgotten, each time their number has doubled."""


@dataclass(frozen=True)
class Options:
    """What can be set, besides ``inner.<option>`` for the archive of each island."""

    archive: str = "pareto"
    """What every island is."""
    islands: int = 4
    """How many there are in the beginning."""
    every: int = 40
    """Scored entries from one migration to the next; 0 for none."""

    def __post_init__(self) -> None:
        if self.islands < 1:
            raise ConfigError(f"archive.islands is {self.islands}; it must be 1 or more")
        if self.every < 0:
            raise ConfigError(f"archive.every is {self.every}; it must be 0 or more")


@dataclass(frozen=True)
class _Known:
    entry: Entry
    island: int | None


class Islands:
    """``core.protocols.Archive`` over islands that are archives too.

    - The seed goes to every island. Any other entry goes to the island that its candidate's memo names (``{"island": 2}``), else to that
      of its first parent, else to one that follows from its id.
    - Islands decide by search scores alone. ``front`` is that of all entries, and validation decides about it.
    - After every so many scored entries the best of each island, by one objective after the other, is copied to the next island.
    - ``sample`` draws one island and takes all entries from it.

    An optimizer that chooses islands itself has ``islands``, ``island_of``, ``reset`` and ``grow``. Raises ConfigError for a bad option.
    """

    def __init__(self, context: ArchiveContext) -> None:
        own = {key: value for key, value in context.options.items() if key != "inner"}
        inner = context.options.get("inner", {})
        if not isinstance(inner, Mapping):
            raise ConfigError(f"archive.inner is {inner!r}; it must hold the options of an island's archive")
        self._inner = cast("Mapping[str, Any]", inner)
        self._options = read_options(Options, own, "archive")
        self._context = context
        self._front = context.child("pareto", {"bench": 0})
        self._islands = [self._empty() for _ in range(self._options.islands)]
        self._known: dict[str, _Known] = {}
        self._forget_at = _FORGET_AT
        self._added = 0
        self._migrations = 0

    def admits(self, entry: Entry) -> bool:
        return entry.id not in self._known and self._front.admits(entry)

    def add(self, entry: Entry) -> Admission:
        if entry.id in self._known:
            return Admission("duplicate")
        admission = self._front.add(entry)
        if admission.status in ("admitted", "dominated"):
            self._settle(entry)
            self._added += 1
            if self._options.every and self._added % self._options.every == 0:
                self._migrate()
            self._forget()
        return admission

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        start = rng.randrange(len(self._islands))
        for index in range(start, start + len(self._islands)):
            if drawn := self._islands[index % len(self._islands)].sample(n, rng):
                return [self._known[entry.id].entry for entry in drawn]
        return []

    def front(self) -> Sequence[Entry]:
        return self._front.front()

    def get(self, candidate_id: str) -> Entry | None:
        known = self._known.get(candidate_id)
        return known.entry if known else None

    @property
    def islands(self) -> Sequence[Archive]:
        """To read from. Their entries carry search scores only; ``get`` gives the whole ones."""
        return tuple(self._islands)

    def island_of(self, candidate_id: str) -> int | None:
        """Where it was added first; None for the seed, which is on all of them, and for what is not held any more."""
        known = self._known.get(candidate_id)
        return known.island if known else None

    def reset(self, index: int, entries: Sequence[Entry]) -> None:
        """Empty an island and settle it anew with ``entries``, which stay where else they are. Raises IndexError."""
        self._islands[index] = self._empty()
        for entry in entries:
            self._found(index, entry)

    def grow(self, entries: Sequence[Entry]) -> int:
        """Add an island that begins with ``entries``; its index."""
        self._islands.append(self._empty())
        self.reset(len(self._islands) - 1, entries)
        return len(self._islands) - 1

    def _found(self, index: int, entry: Entry) -> None:
        whole = self._known.setdefault(entry.id, _Known(entry, index)).entry
        self._islands[index].add(_searched(whole))

    def _empty(self) -> Archive:
        return self._context.child(self._options.archive, self._inner)

    def _settle(self, entry: Entry) -> None:
        home = None if entry.candidate.operator == "seed" else self._home(entry.candidate)
        self._known[entry.id] = _Known(entry, home)
        for island in self._islands if home is None else (self._islands[home],):
            island.add(_searched(entry))

    def _home(self, candidate: Candidate) -> int:
        named = candidate.memo.get("island")
        if type(named) is int and 0 <= named < len(self._islands):
            return named
        parent = self.island_of(candidate.parents[0]) if candidate.parents else None
        return zlib.crc32(candidate.id.encode()) % len(self._islands) if parent is None else parent

    def _migrate(self) -> None:
        objective = self._context.objectives[self._migrations % len(self._context.objectives)]
        self._migrations += 1
        sign = 1.0 if objective.direction == "min" else -1.0
        fronts = [island.front() for island in self._islands]
        best = [min(front, key=lambda entry: sign * entry.scores[objective.name], default=None) for front in fronts]
        for index, migrant in enumerate(best):
            if migrant is not None:
                self._islands[(index + 1) % len(self._islands)].add(migrant)

    def _forget(self) -> None:
        if len(self._known) < self._forget_at:
            return
        keepers = (self._front, *self._islands)
        self._known = {name: known for name, known in self._known.items() if any(keeper.get(name) for keeper in keepers)}
        self._forget_at = max(_FORGET_AT, 2 * len(self._known))


def _searched(entry: Entry) -> Entry:
    """The entry with its search scores alone: on an island whose best were confirmed, nothing unconfirmed would ever lead."""
    if entry.evaluation is None or "train" not in entry.evaluation.splits:
        return entry
    return replace(entry, evaluation=replace(entry.evaluation, splits={"train": entry.evaluation.splits["train"]}))
