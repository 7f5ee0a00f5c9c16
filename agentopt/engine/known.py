"""What the engine remembers of every candidate: enough to answer a duplicate, about 200 bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Aggregate, Entry, Evaluation, Failure, FailureKind, Provisional
from agentopt.core.task import Objective

__all__ = ["Known"]


class _Fate(NamedTuple):
    generation: int
    scores: tuple[float, ...] | None
    failure: FailureKind | None
    provisional: Provisional | None = None
    full: bool = False


class Known:
    """Ids seen in this run with their generation and, once told, their search scores or kind of failure."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._names = [objective.name for objective in objectives]
        self._fates: dict[str, _Fate] = {}
        self._answers: dict[bytes, tuple[str, int]] = {}

    def __contains__(self, candidate_id: str) -> bool:
        return candidate_id in self._fates

    def start(self, candidate: Candidate) -> None:
        self._fates[candidate.id] = _Fate(candidate.generation, None, None)

    def settle(self, entry: Entry, full: bool) -> None:
        """A candidate is told; ``full``: with all its rollouts on train."""
        scores = tuple(entry.scores[name] for name in self._names) if entry.scores else None
        failure = entry.failure.kind if entry.failure else None
        self._fates[entry.id] = _Fate(entry.candidate.generation, scores, failure, entry.provisional, full and scores is not None)

    def is_full(self, candidate_id: str) -> bool:
        """Whether a candidate was told with all its rollouts on train, and scores."""
        return candidate_id in self._fates and self._fates[candidate_id].full

    def remember(self, candidate_id: str, answers: bytes, told: int) -> None:
        """What a candidate, told as number ``told``, answered in the first stage; the first to answer so counts."""
        self._answers.setdefault(answers, (candidate_id, told))

    def who_answered(self, answers: bytes, seen: int) -> str:
        """The candidate among the first ``seen`` told that gave these answers; empty if there is none."""
        candidate_id, told = self._answers.get(answers, ("", seen))
        return candidate_id if told < seen else ""

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
        return Evaluation(candidate_id, splits={"train": Aggregate(scores, 0, {})}, provisional=fate.provisional)
