"""Earlier answers and what came of them: the last ones, or the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentopt.core.selection import rank_key
from agentopt.core.task import Objective, Values

__all__ = ["Attempts", "Tried"]


@dataclass(frozen=True)
class Tried:
    """The values that were new in the candidate ``id``, its scores (none if it failed), and what was said of it."""

    id: str
    values: Values
    scores: Mapping[str, float]
    feedback: str


class Attempts:
    """At most ``most`` of what was added: the last, oldest first, or the best, the best last. What failed is never among the best."""

    def __init__(self, most: int, best: bool, objectives: Sequence[Objective]) -> None:
        self._most, self._best, self._objectives = most, best, objectives
        self.kept: list[Tried] = []

    def add(self, tried: Tried) -> None:
        if self._best and not tried.scores:
            return
        self.kept.append(tried)
        if self._best:
            self.kept.sort(key=lambda other: rank_key(other.scores, self._objectives), reverse=True)
        self.kept = self.kept[len(self.kept) - self._most :] if len(self.kept) > self._most else self.kept
