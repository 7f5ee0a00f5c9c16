"""What came of a candidate: rollouts, evaluations, entries and admissions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from agentopt.core.candidate import Candidate
from agentopt.core.task import Objective

__all__ = [
    "FAILURE_KINDS",
    "Admission",
    "Aggregate",
    "Entry",
    "Evaluation",
    "Failure",
    "FailureKind",
    "Measured",
    "Provisional",
    "Rollout",
    "aggregate",
]

FailureKind = Literal[
    "syntax", "build", "timeout", "memory", "crash", "wrong", "forbidden", "cheat", "oversize", "nonfinite", "refused", "infrastructure"
]
FAILURE_KINDS: tuple[str, ...] = get_args(FailureKind)
AdmissionStatus = Literal["admitted", "dominated", "duplicate", "infeasible", "failed"]


@dataclass(frozen=True)
class Failure:
    """Why a rollout gave no score. ``scorer_error`` marks an exception in the task's own score function."""

    kind: FailureKind
    message: str = ""
    scorer_error: bool = False

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": self.kind, "message": self.message}
        return data | {"scorer_error": True} if self.scorer_error else data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Failure:
        return cls(data["kind"], data["message"], data.get("scorer_error", False))


@dataclass(frozen=True)
class Measured:
    """Taken outside the box around one rollout: wall and CPU seconds, peak resident bytes.

    ``score`` finds the rollout's ``rng_seed`` here too, so that it can draw a random instance anew: the box drew the same with the
    module ``random``. It is not kept here, for a Rollout has it.
    """

    wall: float = 0.0
    cpu: float = 0.0
    peak_bytes: int = 0
    rng_seed: int = 0


@dataclass(frozen=True)
class Rollout:
    """One candidate on one case, one repeat. ``output`` is the digest of the output's bytes, ``printed`` of what it printed.

    ``artifacts`` are the digests, by name, of the bytes that ``run`` handed to ``ctx.artifact``; ``trace`` that of the recorded trace.
    """

    case: str
    split: str
    repeat: int
    rng_seed: int
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    feedback: str = ""
    output: str = ""
    printed: str = ""
    artifacts: Mapping[str, str] = field(default_factory=dict[str, str])
    trace: str = ""
    failure: Failure | None = None
    measured: Measured = field(default_factory=Measured)

    @property
    def key(self) -> tuple[str, int]:
        return self.case, self.repeat

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the default: this is the bulk of a log."""
        data: dict[str, Any] = {"case": self.case, "split": self.split, "repeat": self.repeat, "rng_seed": self.rng_seed}
        for name in ("scores", "measures", "feedback", "output", "printed", "artifacts", "trace"):
            if value := getattr(self, name):
                data[name] = value
        if self.failure:
            data["failure"] = self.failure.to_json()
        data["measured"] = [round(self.measured.wall, 6), round(self.measured.cpu, 6), self.measured.peak_bytes]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rollout:
        failure = data.get("failure")
        return cls(
            case=data["case"],
            split=data["split"],
            repeat=data["repeat"],
            rng_seed=data["rng_seed"],
            scores=data.get("scores", {}),
            measures=data.get("measures", {}),
            feedback=data.get("feedback", ""),
            output=data.get("output", ""),
            printed=data.get("printed", ""),
            artifacts=data.get("artifacts", {}),
            trace=data.get("trace", ""),
            failure=Failure.from_json(failure) if failure else None,
            measured=Measured(*data.get("measured", ())),
        )


@dataclass(frozen=True)
class Aggregate:
    """Scores of one split: the mean per objective (or the task's own aggregate), n rollouts, and the standard deviation between cases."""

    scores: Mapping[str, float]
    n: int
    spread: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"scores": dict(self.scores), "n": self.n, "spread": dict(self.spread)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Aggregate:
        return cls(data["scores"], data["n"], data["spread"])


Aggregator = Callable[[Sequence[Mapping[str, float]]], Mapping[str, float]]


def aggregate(rollouts: Sequence[Rollout], objectives: Sequence[Objective], how: Aggregator | None = None) -> Aggregate:
    """Repeats of a case are averaged first, so that every case weighs the same.

    A failed rollout counts with the objective's worst value; callers that let one failure fail the candidate never get here with one.
    """
    from statistics import fmean, stdev  # with it come decimal and fractions, and every box pays for what is loaded

    by_case: dict[str, list[Mapping[str, float]]] = {}
    for rollout in rollouts:
        worst = {o.name: o.worst for o in objectives if o.worst is not None}
        by_case.setdefault(rollout.case, []).append(worst if rollout.failure else rollout.scores)
    names = [objective.name for objective in objectives]
    cases = [{name: fmean(scores[name] for scores in repeats) for name in names} for repeats in by_case.values()]
    spread = {name: stdev(case[name] for case in cases) if len(cases) > 1 else 0.0 for name in names}
    scores = dict(how(cases)) if how else {name: fmean(case[name] for case in cases) for name in names}
    return Aggregate(scores, len(rollouts), spread)


@dataclass(frozen=True)
class Provisional:
    """Scores that no front may rest on: they rest on ``done`` of ``of`` rollouts, or a lead could not be told from none.

    ``rule`` is ``raced`` or ``bound`` (stopped early; the train scores are estimates of what the rest would have made of them), ``lead``
    (not worth a duel) or ``duel`` (lost it).
    """

    rule: Literal["raced", "bound", "lead", "duel"]
    done: int
    of: int

    def to_json(self) -> dict[str, Any]:
        return {"rule": self.rule, "done": self.done, "of": self.of}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Provisional | None:
        return cls(data["rule"], data["done"], data["of"]) if data else None


@dataclass(frozen=True)
class Evaluation:
    """All rollouts of a candidate. ``splits`` has no entry for a split that was not (or not successfully) scored."""

    candidate_id: str
    rollouts: tuple[Rollout, ...] = ()
    splits: Mapping[str, Aggregate] = field(default_factory=dict[str, Aggregate])
    failure: Failure | None = None
    sandbox: str = ""
    provisional: Provisional | None = None


@dataclass(frozen=True)
class Entry:
    """A candidate with its evaluation. ``evaluation`` is None for a duplicate of a candidate that is still being evaluated."""

    candidate: Candidate
    evaluation: Evaluation | None

    @property
    def id(self) -> str:
        return self.candidate.id

    @property
    def failure(self) -> Failure | None:
        return self.evaluation.failure if self.evaluation else None

    @property
    def provisional(self) -> Provisional | None:
        """Why no front may hold it although it has scores; None for most."""
        return self.evaluation.provisional if self.evaluation else None

    @property
    def scores(self) -> Mapping[str, float]:
        """The search (train) scores; empty when it failed."""
        return self._of("train")

    @property
    def confirmed(self) -> Mapping[str, float]:
        """The validation scores, or the search scores where nothing was confirmed."""
        return self._of("validation") or self._of("train")

    def case_scores(self, split: str = "train") -> dict[str, Mapping[str, float]]:
        """Scores per case, the last repeat of each."""
        rollouts = self.evaluation.rollouts if self.evaluation else ()
        return {r.case: r.scores for r in rollouts if r.split == split and r.failure is None}

    def _of(self, split: str) -> Mapping[str, float]:
        if self.evaluation is None or self.evaluation.failure is not None or split not in self.evaluation.splits:
            return {}
        return self.evaluation.splits[split].scores


@dataclass(frozen=True)
class Admission:
    """What the archive did: ``displaced`` are ids that left the front, ``gain`` the hypervolume won (0 unless admitted)."""

    status: AdmissionStatus
    displaced: tuple[str, ...] = ()
    gain: float = 0.0
