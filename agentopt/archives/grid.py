"""A grid over the task's measures, with the best few candidates of every cell (MAP-Elites).

It keeps solutions that differ in what they do, not only in how well: Mouret & Clune, "Illuminating search spaces by mapping elites",
arXiv 1504.04909, 2015, where a cell holds one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options
from agentopt.core.protocols import ArchiveContext
from agentopt.core.task import Measure

__all__ = ["Grid"]

Vector = tuple[float, ...]
"""A score per objective, turned so that smaller is better."""
Cell = tuple[int, ...]
"""A bin per axis; -1 where no rollout gave the measure."""

_MOST_CELLS = 100_000


@dataclass(frozen=True)
class Options:
    elites: int = 4
    """How many entries a cell keeps."""
    axes: str = ""
    """The measures that span the grid, separated by commas; all of the task's when empty."""
    tournament: int = 1
    """How many draws ``sample`` makes for an entry, to take the best of them: 1 is uniform over the cells, more prefers better cells."""

    def __post_init__(self) -> None:
        for name, value in (("elites", self.elites), ("tournament", self.tournament)):
            if value < 1:
                raise ConfigError(f"archive.{name} is {value}; it must be 1 or more")


class Grid:
    """``core.protocols.Archive`` with one cell per combination of bins; a task without measures has one cell.

    - An entry lies where the means of its measures over the train rollouts do. Outside of a measure's range it lies in the outermost
      bin, and ``outside`` counts it.
    - A cell keeps its best entries by search scores: it drops the one that most others dominate, among equals the one closest to
      another, then the newer.
    - ``front`` holds the non-dominated entries of all cells, as validation decides about them.
    - ``sample`` draws a cell uniformly, then one of its elites.

    Raises ConfigError for a bad option, an axis that is no measure, a range without width and a grid of more than 100,000 cells.
    """

    def __init__(self, context: ArchiveContext) -> None:
        self._options = read_options(Options, context.options, "archive")
        self._axes = _axes(context.measures, self._options.axes)
        self._signs = tuple((o.name, 1.0 if o.direction == "min" else -1.0) for o in context.objectives)
        self._front = context.child("pareto", {"bench": 0})
        self._cells: dict[Cell, list[Entry]] = {}
        self._order: list[list[Entry]] = []
        self._held: dict[str, Entry] = {}
        self.outside = 0

    def admits(self, entry: Entry) -> bool:
        return entry.id not in self._held and self._front.admits(entry)

    def add(self, entry: Entry) -> Admission:
        if entry.id in self._held:
            return Admission("duplicate")
        admission = self._front.add(entry)
        if admission.status in ("admitted", "dominated"):
            self._place(entry)
        return admission

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        if not self._held:
            return []
        taken: set[str] = set()
        drawn: list[Entry] = []
        for _ in range(n):
            if len(taken) == len(self._held):
                taken.clear()
            drawn.append(self._best_of(self._options.tournament, taken, rng))
            taken.add(drawn[-1].id)
        return drawn

    def front(self) -> Sequence[Entry]:
        return self._front.front()

    def get(self, candidate_id: str) -> Entry | None:
        return self._held.get(candidate_id) or self._front.get(candidate_id)

    @property
    def cells(self) -> Mapping[Cell, Sequence[Entry]]:
        """The elites of every cell that has some."""
        return {cell: tuple(elites) for cell, elites in self._cells.items()}

    def _place(self, entry: Entry) -> None:
        cell = self._cell(entry)
        if cell not in self._cells:
            self._cells[cell] = []
            self._order.append(self._cells[cell])
        elites = self._cells[cell]
        elites.append(entry)
        self._held[entry.id] = entry
        if len(elites) > self._options.elites:
            gone = elites.pop(_last([self._vector(elite) for elite in elites]))
            del self._held[gone.id]

    def _cell(self, entry: Entry) -> Cell:
        rollouts = entry.evaluation.rollouts if entry.evaluation else ()
        trained = [rollout.measures for rollout in rollouts if rollout.split == "train"]
        places = [_place(axis, [measures[axis.name] for measures in trained if axis.name in measures]) for axis in self._axes]
        self.outside += any(outside for _, outside in places)
        return tuple(index for index, _ in places)

    def _best_of(self, draws: int, taken: set[str], rng: Random) -> Entry:
        best = self._draw(taken, rng)
        for _ in range(draws - 1):
            other = self._draw(taken, rng)
            if _dominates(self._vector(other), self._vector(best)):
                best = other
        return best

    def _draw(self, taken: set[str], rng: Random) -> Entry:
        """From a random cell, or from the next one that has an elite not taken."""
        start = rng.randrange(len(self._order))
        cells = (self._order[(start + k) % len(self._order)] for k in range(len(self._order)))
        free = ([elite for elite in cell if elite.id not in taken] for cell in cells)
        return rng.choice(next(elites for elites in free if elites))

    def _vector(self, entry: Entry) -> Vector:
        return tuple(sign * entry.scores[name] for name, sign in self._signs)


def _axes(measures: Iterable[Measure], wanted: str) -> list[Measure]:
    known = {measure.name: measure for measure in measures}
    names = [name.strip() for name in wanted.split(",")] if wanted else list(known)
    for name in names:
        if name not in known:
            raise ConfigError(f"archive.axes names {name!r}, which is no measure of the task; those are: {', '.join(known) or 'none'}")
    axes = [known[name] for name in names]
    for axis in axes:
        if not (axis.low < axis.high and axis.bins >= 1):
            raise ConfigError(
                f"measure {axis.name!r} has {axis.bins} bins from {axis.low} to {axis.high}; a grid needs low < high and a bin"
            )
    if (cells := math.prod(axis.bins for axis in axes)) > _MOST_CELLS:
        raise ConfigError(f"the task's measures make {cells} cells, more than {_MOST_CELLS}; name fewer of them in archive.axes")
    return axes


def _place(axis: Measure, values: Sequence[float]) -> tuple[int, bool]:
    """The bin, and whether the mean lies outside the range."""
    if not values:
        return -1, False
    mean = sum(values) / len(values)
    place = (mean - axis.low) / (axis.high - axis.low) * axis.bins
    return int(min(max(place, 0.0), axis.bins - 1)), not axis.low <= mean <= axis.high


def _dominates(a: Vector, b: Vector) -> bool:
    return a != b and all(map(float.__le__, a, b))


def _last(vectors: Sequence[Vector]) -> int:
    """The index of the one to drop."""
    spans = [max(column) - min(column) or 1.0 for column in zip(*vectors, strict=True)]

    def rank(index: int) -> tuple[int, float, int]:
        own = vectors[index]
        others = [other for k, other in enumerate(vectors) if k != index]
        nearest = min(max(abs(a - b) / span for a, b, span in zip(own, other, spans, strict=True)) for other in others)
        return sum(_dominates(other, own) for other in others), -nearest, index

    return max(range(len(vectors)), key=rank)
