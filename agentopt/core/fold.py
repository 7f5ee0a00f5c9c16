"""Events -> RunState: everything that is shown of a run anywhere.

``apply`` costs the same for the first event and for the millionth; per-candidate detail stays in the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentopt.core.arms import Arms
from agentopt.core.budget import format_budget
from agentopt.core.calls import Calls
from agentopt.core.events import Event
from agentopt.core.selection import ordered_objectives, select_best
from agentopt.core.task import Objective

__all__ = ["CurvePoint", "Member", "RunState", "fold"]


@dataclass(frozen=True)
class Member:
    """A member of the front: search scores and, where there is a validation split, validation scores."""

    id: str
    scores: Mapping[str, float]
    confirmed: Mapping[str, float]
    generation: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """The best changed: after how many evaluations and seconds, to which candidate and confirmed scores."""

    evals: int
    seconds: float
    candidate: str
    scores: Mapping[str, float]


@dataclass
class _Open:
    """What the fold must remember of a candidate until it is admitted."""

    generation: int
    ticket: int
    arm: str | None = None
    """Who proposed it; None for the seed."""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    confirmed: Mapping[str, float] = field(default_factory=dict[str, float])
    failure: Mapping[str, Any] | None = None


@dataclass
class RunState:
    """The state of a run after the events applied so far."""

    info: Mapping[str, Any] = field(default_factory=dict[str, Any])
    objectives: tuple[Objective, ...] = ()
    ranking: list[Objective] = field(default_factory=list[Objective])
    limits: dict[str, float] = field(default_factory=dict[str, float])
    status: str = "running"
    why: str = ""
    events: int = 0
    asks: int = 0
    """Asks that were answered: the index of the next one."""
    told: int = 0
    evals: int = 0
    rollouts: int = 0
    duplicates: int = 0
    scored_children: int = 0
    scorer_errors: int = 0
    last_improvement: int = 0
    """``evals`` when the best last changed."""
    failures: Counter[str] = field(default_factory=Counter[str])
    operators: Counter[str] = field(default_factory=Counter[str])
    """Admitted children by ``optimizer/operator``."""
    open: dict[str, _Open] = field(default_factory=dict[str, _Open])
    front: dict[str, Member] = field(default_factory=dict[str, Member])
    curve: list[CurvePoint] = field(default_factory=list[CurvePoint])
    seed_id: str = ""
    seed: Member | None = None
    best_id: str = ""
    test: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Per candidate scored on test: scores, spread, n, and the scores per case."""
    warnings: list[str] = field(default_factory=list[str])
    """What a reader of the result has to know, as it was noted."""
    infrastructure_noted: bool = False
    """Whether it was noted that our own processes or the machine failed under a rollout."""
    saved: Counter[str] = field(default_factory=Counter[str])
    """Rollouts that were not needed, by the rule that saved them."""
    duels: Counter[str] = field(default_factory=Counter[str])
    """Duels ``held`` and ``won``, and their ``rollouts``."""
    wall: float = 0.0
    cpu: float = 0.0
    """Seconds that rollouts took together, as measured outside the box."""
    calls: Calls = field(default_factory=Calls)
    arms: Arms = field(default_factory=Arms)
    seconds_before: float = 0.0
    session_started: float = 0.0
    last_time: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall seconds worked on the run so far, the time between stop and resume left out."""
        return self.seconds_before + max(0.0, self.last_time - self.session_started)

    @property
    def best(self) -> Member | None:
        return self.front.get(self.best_id)

    @property
    def finished(self) -> bool:
        return self.status in ("budget", "target", "exhausted")

    @property
    def spent(self) -> dict[str, float]:
        own = {"evals": self.evals, "rollouts": self.rollouts, "seconds": round(self.seconds, 3)}
        return own | (self.calls.spent if self._asks_models else {})

    @property
    def _asks_models(self) -> bool:
        """The run has a model, or what it tries calls one itself."""
        return bool(self.info.get("model") or self.calls.requests)

    @property
    def counted(self) -> dict[str, float]:
        """What budgets in counted units and USD see, also where the cost of some request is unknown."""
        calls = self.calls
        return {"evals": self.evals, "rollouts": self.rollouts, "calls": calls.requests, "tokens": calls.tokens, "usd": calls.usd}

    def apply(self, event: Event) -> None:
        self.events = event.seq
        getattr(self, f"_on_{event.kind}", _ignore)(event)
        self.last_time = event.time

    def _on_run_started(self, event: Event) -> None:
        self.info = event.data
        self.objectives = tuple(Objective(**objective) for objective in event.data["task"]["objectives"])
        self.ranking = ordered_objectives(self.objectives, event.data["config"].get("select"))
        self.limits = dict(event.data["budget"])
        self.session_started = event.time

    def _on_resumed(self, event: Event) -> None:
        self.seconds_before = self.seconds
        self.session_started = event.time
        self.limits = dict(event.data["budget"])
        self.status, self.why = "running", ""

    def _on_llm_request(self, event: Event) -> None:
        self.calls.begin(event.data)
        if "ask" in event.data:
            self.arms.request(event.data)

    def _on_llm_reply(self, event: Event) -> None:
        self.calls.end(event.data)
        if "ask" in event.data:
            self.arms.reply(event.data)

    def _on_proposed(self, event: Event) -> None:
        data = event.data
        arm, duplicate = data["optimizer"], data.get("duplicate", False)
        if data["index"] >= 0:
            self.asks = max(self.asks, data["index"] + 1)
            self.arms.answer(arm, data["index"], new=not duplicate)
        if duplicate:
            return
        self.evals += 1
        self.seed_id = self.seed_id or data["candidate"]
        self.open[data["candidate"]] = _Open(data["generation"], data["ticket"], arm if data["index"] >= 0 else None)

    def _on_rollout(self, event: Event) -> None:
        data = event.data
        self.rollouts += 1
        wall, cpu, *_ = data.get("measured") or (0.0, 0.0)
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        opened = self.open.get(data.get("for", data["candidate"]))  # whose duel it is has caused it
        if opened and opened.arm is not None:
            self.arms.evaluate(opened.arm, wall)

    def _on_evaluated(self, event: Event) -> None:
        data = event.data
        if data["stage"] == "test":
            self.test[data["candidate"]] = {key: data[key] for key in ("splits", "cases", "failure") if key in data}
            return
        self._score(data, "train")
        if data.get("saved"):
            self.saved["duplicates"] += data["saved"]

    def _on_confirmed(self, event: Event) -> None:
        data = event.data
        if "for" in data:
            ((split, found),) = data["splits"].items()
            self._rescore(data["candidate"], split, found["scores"])
            return
        for split in data["splits"] or ("validation",):
            self._score(data, split)
        if duel := data.get("duel"):
            self.duels.update(held=1, won=int(duel["kept"]), rollouts=duel["rollouts"])

    def _rescore(self, key: str, split: str, scores: Mapping[str, float]) -> None:
        """A member of the front was scored again on fresh seeds."""
        member = self.front[key]
        self.front[key] = replace(member, confirmed=scores, scores=scores if split == "train" else member.scores)
        if key == self.seed_id:
            self.seed = self.front[key]

    def _score(self, data: Mapping[str, Any], split: str) -> None:
        candidate = self.open[data["candidate"]]
        scores = data["splits"].get(split, {}).get("scores", {})
        candidate.confirmed = scores
        if split == "train":
            candidate.scores = scores
        candidate.failure = data.get("failure")

    def _on_admitted(self, event: Event) -> None:
        data = event.data
        self.told += 1
        if data["status"] == "duplicate":
            self.duplicates += 1
            opened = self.open.get(data["candidate"])
            if opened and opened.ticket == data["ticket"]:  # it was evaluated, until it answered like another
                del self.open[data["candidate"]]
            return
        key = data["candidate"]
        if short := data.get("provisional"):
            self.saved.update({short["rule"]: short["of"] - short["done"]} if short["of"] > short["done"] else {})
        candidate = self.open.pop(key)
        member = Member(key, candidate.scores, candidate.confirmed, candidate.generation)
        if key == self.seed_id:
            self.seed = member
        elif candidate.failure is None:
            self.scored_children += 1
        if candidate.failure is not None:
            self.failures[candidate.failure["kind"]] += 1
            self.scorer_errors += bool(candidate.failure.get("scorer_error"))
        if data["status"] == "admitted":
            self._admit(event, member, candidate.arm)

    def _admit(self, event: Event, member: Member, arm: str | None) -> None:
        former = self.best
        for displaced in event.data["displaced"]:
            self.front.pop(displaced, None)
        self.front[member.id] = member
        self.operators[event.data.get("made_by", "")] += 1
        before, self.best_id = self.best_id, self._select()
        if self.best_id != before:
            self.last_improvement = self.evals
            elapsed = self.seconds_before + max(0.0, event.time - self.session_started)
            best = self.front[self.best_id].confirmed
            self.curve.append(CurvePoint(self.evals, elapsed, self.best_id, best))
            if former and arm is not None:
                first = self.ranking[0].name
                self.arms.improve(arm, abs(best[first] - former.confirmed[first]))

    def _select(self) -> str:
        if len(self.front) == 1:
            return next(iter(self.front))
        return select_best([(key, member.confirmed) for key, member in self.front.items()], self.ranking) or ""

    def _on_note(self, event: Event) -> None:
        if event.data["kind"] in ("warning", "infrastructure"):
            self.warnings.append(event.data["text"])
        self.infrastructure_noted = self.infrastructure_noted or event.data["kind"] == "infrastructure"
        if event.data["kind"] == "refused":
            self.failures["refused"] += 1
            self.asks = max(self.asks, event.data["index"] + 1)
            whole = self.info["config"].get("optimizer", {}).get("name", "")
            self.arms.answer(event.data.get("memo", {}).get("arm", whole), event.data["index"], refused=True)

    def _on_stopped(self, event: Event) -> None:
        self.status, self.why = event.data["status"], event.data["why"]

    def summary(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        seed, best = self.seed, self.best
        return {
            "run": self.info.get("run"),
            "status": self.status,
            "why": self.why,
            "task": self.info.get("task", {}).get("name"),
            "seed": {"id": self.seed_id, "scores": dict(seed.confirmed) if seed else None, "test": self._test_scores(self.seed_id)},
            "best": {
                "id": self.best_id or None,
                "scores": dict(best.confirmed) if best else None,
                "train": dict(best.scores) if best else None,
                "test": self._test_scores(self.best_id),
            },
            "evaluations": self.evals,
            "duplicates": self.duplicates,
            "front": len(self.front),
            "failures": dict(self.failures),
            "spent": self.spent,
            "rollout_seconds": {"wall": round(self.wall, 3), "cpu": round(self.cpu, 3)},
            "saved": dict(self.saved),
            "duels": dict(self.duels),
            "budget": format_budget(self.limits),
            "optimizer": self.info.get("config", {}).get("optimizer"),
            "model": self.info.get("model"),
            "calls": {"replies": self.calls.replies, "failed": dict(self.calls.errors)} if self._asks_models else None,
            "arms": self.arms.to_json(),
            "self_reported": self.info.get("task", {}).get("self_reported", False),
            "sandbox": self.info.get("sandbox"),
            "warnings": list(self.warnings),
        }

    def _test_scores(self, candidate: str) -> dict[str, float] | None:
        splits = self.test.get(candidate, {}).get("splits", {})
        return dict(splits["test"]["scores"]) if "test" in splits else None


def _ignore(event: Event) -> None:
    """Kinds that change nothing shown: asked."""


def fold(events: Iterable[Event]) -> RunState:
    """The state after all ``events``."""
    state = RunState()
    for event in events:
        state.apply(event)
    return state
