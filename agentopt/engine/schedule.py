"""Which rollouts a candidate gets, in which order, and what they add up to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean

from agentopt.core.evaluation import Aggregate, Aggregator, Evaluation, Failure, Rollout, aggregate
from agentopt.core.task import Cases, Objective, Task
from agentopt.engine.rules import Rules

__all__ = ["Job", "Schedule", "doubled"]

Job = tuple[str, int]
"""(case id, repeat): with the candidate, the key of a rollout."""
_ALL = Rules()
"""Every candidate gets all its rollouts."""


@dataclass(frozen=True)
class Schedule:
    """The plan of a task's rollouts: cases in order, repeats inside a case; in stages if ``rules`` say so.

    Rollouts of the search have repeats below ``repeats``, those of duels from there on.
    """

    cases: Mapping[str, tuple[str, ...]]
    repeats: int
    objectives: tuple[Objective, ...]
    fail_fast: bool
    how: Aggregator | None = None
    rules: Rules = _ALL
    costs: Mapping[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def of(cls, task: Task, cases: Cases, rules: Rules | None = None) -> Schedule:
        ids = {split: tuple(case.id for case in members) for split, members in cases.items()}
        costs = {case.id: float(case.cost) for members in cases.values() for case in members}
        fail_fast = task.on_case_failure == "fail"
        return cls(ids, task.repeats, tuple(task.objectives), fail_fast, task.aggregate, rules or _ALL, costs)

    def size(self, split: str) -> int:
        """Rollouts of a full pass over the split."""
        return len(self.cases.get(split, ())) * self.repeats

    def unseen(self) -> list[Job]:
        """Jobs of the search that have no part in whether a candidate is held for better, if its scores are those of train."""
        return self.jobs("train")[self.trial :] if self.duel_split == "train" else []

    def is_search(self, rollout: Rollout) -> bool:
        """Whether it is one of those that search scores rest on."""
        return rollout.split == "train" and rollout.repeat < self.repeats

    @property
    def duel_split(self) -> str:
        """Where duels are held: where the front is drawn."""
        return "validation" if self.cases.get("validation") else "train"

    @property
    def most(self) -> int:
        """Rollouts that one candidate can take, the test split left out. A duel has two sides, and who wins it is scored once more."""
        duel = len(self.cases[self.duel_split]) * (2 * self.rules.duel_repeats + self.repeats) if self.rules.duel else 0
        return self.size("train") + self.size("validation") + duel

    def jobs(self, split: str) -> list[Job]:
        """All jobs of the split in their order.

        In stages the cheap cases go first, in an order by hash among equals, so that the first of them are a fair sample, and every case
        gets its first repeat before any gets its second.
        """
        cases = self.cases.get(split, ())
        if split != "train" or not self.rules.staged:
            return [(case, repeat) for case in cases for repeat in range(self.repeats)]
        cheap_first = sorted(cases, key=lambda case: (self.costs.get(case, 1.0), hashlib.sha256(case.encode()).digest()))
        return [(case, repeat) for repeat in range(self.repeats) for case in cheap_first]

    def stages(self) -> list[int]:
        """After how many rollouts on train there is a look; the last is after all of them."""
        size, rules = self.size("train"), self.rules
        if not rules.staged:
            return [min(rules.first_stage, size), size] if rules.same_output else [size]
        return [*doubled(rules.first_stage, self.trial), self.trial]

    @property
    def trial(self) -> int:
        """Rollouts on train before it is decided whether a candidate may win: with duels those of half of the repeats, else all."""
        half = -(-self.repeats // 2) if self.rules.duel else self.repeats
        return half * len(self.cases["train"])

    def answers(self, rollouts: Iterable[Rollout]) -> bytes:
        """A digest of the outputs of the first stage; empty unless all of them are there and none failed."""
        if not self.rules.same_output:
            return b""
        outputs = {rollout.key: rollout.output for rollout in rollouts if rollout.split == "train" and not rollout.failure}
        probes = [outputs.get(job, "") for job in self.jobs("train")[: self.stages()[0]]]
        return hashlib.sha256("\0".join(probes).encode()).digest()[:16] if all(probes) else b""

    def missing(self, split: str, done: Iterable[Job]) -> list[Job]:
        """The jobs of the split that are not ``done``, in order."""
        have = set(done)
        return [job for job in self.jobs(split) if job not in have]

    def fresh(self, first: int, repeats: int) -> list[Job]:
        """The jobs of a duel: so many repeats of all cases, from repeat ``first`` on."""
        return [(case, repeat) for repeat in range(first, first + repeats) for case in self.cases[self.duel_split]]

    def failure(self, rollouts: Iterable[Rollout], proof: bool = False) -> Failure | None:
        """The failure that ends the candidate, if these rollouts hold one.

        With ``on_case_failure="worst"`` a failed case counts as the worst score, except when every case failed; in the ``proof`` on test
        even then, for a seed that fails everywhere is what the best has to be compared with.
        """
        failures = [rollout.failure for rollout in rollouts]
        first = next((failure for failure in failures if failure), None)
        return first if first and (self.fail_fast or (all(failures) and not proof)) else None

    def conclude(self, candidate_id: str, rollouts: Sequence[Rollout], sandbox: str) -> Evaluation:
        """The evaluation that ``rollouts`` amount to; a split is aggregated when all its rollouts are there."""
        splits: dict[str, Aggregate] = {}
        failure: Failure | None = None
        for split in self.cases:
            members = [rollout for rollout in rollouts if rollout.split == split and rollout.repeat < self.repeats]
            failure = failure or self.failure(members, split == "test")
            if not failure and members and len(members) == self.size(split):
                splits[split], failure = self.aggregate(members)
        return Evaluation(candidate_id, tuple(rollouts), splits if not failure else {}, failure, sandbox)

    def conclude_on(self, members: Sequence[Rollout]) -> tuple[Aggregate, Failure | None]:
        """What these rollouts alone add up to, or why they do not."""
        failure = self.failure(members)
        return (Aggregate({}, 0, {}), failure) if failure else self.aggregate(members)

    def aggregate(self, members: Sequence[Rollout]) -> tuple[Aggregate, Failure | None]:
        """What the rollouts add up to, or the failure of the task's own aggregate function."""
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
        """Scores per case, repeats averaged; failed rollouts count as the worst score if the task says so, and are left out if not."""
        worst = {} if self.fail_fast else {o.name: o.worst for o in self.objectives if o.worst is not None}
        by_case: dict[str, list[Mapping[str, float]]] = {}
        for rollout in rollouts:
            if scores := worst if rollout.failure else rollout.scores:
                by_case.setdefault(rollout.case, []).append(scores)
        names = [objective.name for objective in self.objectives]
        return {case: {name: fmean(s[name] for s in scores) for name in names} for case, scores in by_case.items()}

    def values(self, rollouts: Iterable[Rollout], objective: Objective) -> dict[Job, float]:
        """Per rollout its score, turned so that more is better; a failed one has the worst, if the task declares it, or is left out."""
        sign = 1.0 if objective.direction == "max" else -1.0
        worst = objective.worst
        found: dict[Job, float] = {}
        for rollout in rollouts:
            score = worst if rollout.failure else rollout.scores[objective.name]
            if score is not None:
                found[rollout.key] = sign * score
        return found


def doubled(first: int, size: int) -> list[int]:
    """``first``, twice that, four times that and so on, all below ``size``."""
    looks: list[int] = []
    while first < size:
        looks.append(first)
        first *= 2
    return looks
