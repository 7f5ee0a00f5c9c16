"""Which rollouts a candidate gets, in which order, and what they add up to.

Racing and cascades belong in this room when they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from agentopt.core.evaluation import Aggregate, Aggregator, Evaluation, Failure, Rollout, aggregate
from agentopt.core.task import Cases, Objective, Task

__all__ = ["Job", "Schedule"]

Job = tuple[str, int]
"""(case id, repeat): with the candidate, the key of a rollout."""


@dataclass(frozen=True)
class Schedule:
    """The plan of a task's rollouts: cases in order, repeats inside a case."""

    cases: Mapping[str, tuple[str, ...]]
    repeats: int
    objectives: tuple[Objective, ...]
    fail_fast: bool
    how: Aggregator | None = None

    @classmethod
    def of(cls, task: Task, cases: Cases) -> Schedule:
        ids = {split: tuple(case.id for case in members) for split, members in cases.items()}
        return cls(ids, task.repeats, tuple(task.objectives), task.on_case_failure == "fail", task.aggregate)

    def size(self, split: str) -> int:
        """Rollouts of a full pass over the split."""
        return len(self.cases.get(split, ())) * self.repeats

    def missing(self, split: str, done: Iterable[Job]) -> list[Job]:
        """The jobs of the split that are not ``done``, in order."""
        have = set(done)
        jobs = [(case, repeat) for case in self.cases.get(split, ()) for repeat in range(self.repeats)]
        return [job for job in jobs if job not in have]

    def failure(self, rollouts: Iterable[Rollout]) -> Failure | None:
        """The failure that ends the candidate, if these rollouts hold one.

        With ``on_case_failure="worst"`` a failed case counts as the worst score, except when every case failed.
        """
        failures = [rollout.failure for rollout in rollouts]
        first = next((failure for failure in failures if failure), None)
        return first if first and (self.fail_fast or all(failures)) else None

    def conclude(self, candidate_id: str, rollouts: Sequence[Rollout], sandbox: str) -> Evaluation:
        """The evaluation that ``rollouts`` amount to; a split is aggregated when all its rollouts are there."""
        splits: dict[str, Aggregate] = {}
        failure: Failure | None = None
        for split in self.cases:
            members = [rollout for rollout in rollouts if rollout.split == split]
            failure = failure or self.failure(members)
            if not failure and members and len(members) == self.size(split):
                splits[split], failure = self._aggregate(members)
        return Evaluation(candidate_id, tuple(rollouts), splits if not failure else {}, failure, sandbox)

    def _aggregate(self, members: Sequence[Rollout]) -> tuple[Aggregate, Failure | None]:
        try:
            found = aggregate(members, self.objectives, self.how)
            for objective in self.objectives:
                if not isfinite(found.scores[objective.name]):
                    raise ValueError(f"{objective.name} is {found.scores[objective.name]!r}")
        except Exception as error:  # the task's own aggregate function
            message = f"the task's aggregate function failed: {type(error).__name__}: {error}"
            return Aggregate({}, 0, {}), Failure("wrong", message, scorer_error=True)
        return found, None

    def case_means(self, rollouts: Iterable[Rollout]) -> dict[str, dict[str, float]]:
        """Scores per case, repeats averaged; failed rollouts are left out."""
        by_case: dict[str, list[Mapping[str, float]]] = {}
        for rollout in rollouts:
            if not rollout.failure:
                by_case.setdefault(rollout.case, []).append(rollout.scores)
        names = [objective.name for objective in self.objectives]
        return {case: {name: fmean(s[name] for s in scores) for name in names} for case, scores in by_case.items()}
