"""What the engine remembers of every candidate: enough to answer a duplicate, about 200 bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Aggregate, Entry, Evaluation, Failure, FailureKind
from agentopt.core.task import Objective

__all__ = ["Known"]


class _Fate(NamedTuple):
    generation: int
    scores: tuple[float, ...] | None
    failure: FailureKind | None


class Known:
    """Ids seen in this run with their generation and, once told, their search scores or kind of failure."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._names = [objective.name for objective in objectives]
        self._fates: dict[str, _Fate] = {}

    def __contains__(self, candidate_id: str) -> bool:
        return candidate_id in self._fates

    def start(self, candidate: Candidate) -> None:
        self._fates[candidate.id] = _Fate(candidate.generation, None, None)

    def settle(self, entry: Entry) -> None:
        scores = tuple(entry.scores[name] for name in self._names) if entry.scores else None
        failure = entry.failure.kind if entry.failure else None
        self._fates[entry.id] = _Fate(entry.candidate.generation, scores, failure)

    def next_generation(self, parents: Sequence[str]) -> int:
        """One more than the oldest line among the parents; 0 without known parents."""
        return max((self._fates[parent].generation + 1 for parent in parents if parent in self._fates), default=0)

    def evaluation(self, candidate_id: str) -> Evaluation | None:
        """The search scores or the failure of a candidate told before; None while it is pending."""
        fate = self._fates[candidate_id]
        if fate.failure:
            return Evaluation(candidate_id, failure=Failure(fate.failure, "duplicate of a failed candidate"))
        if fate.scores is None:
            return None
        scores = dict(zip(self._names, fate.scores, strict=True))
        return Evaluation(candidate_id, splits={"train": Aggregate(scores, 0, {})})
