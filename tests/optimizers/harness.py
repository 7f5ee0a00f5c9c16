"""A run in a few lines: an archive that is a list, a view of it, and a loop that evaluates by executing the source."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from agentopt import plugins
from agentopt.core.candidate import Candidate, Proposal, candidate_id
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation, Failure, Rollout
from agentopt.core.protocols import Archive, ArchiveContext, Optimizer, OptimizerContext, TaskCard
from agentopt.core.task import Objective, Parameter
from agentopt.optimizers.memetic import Memetic
from agentopt.optimizers.mutate import Mutate
from agentopt.optimizers.tune import Tune

KINDS: dict[str, Callable[[OptimizerContext], Optimizer]] = {"mutate": Mutate, "tune": Tune, "memetic": Memetic}
Evaluate = Callable[[Mapping[str, Any]], float | None]


def card(*parameters: Parameter, direction: str = "min") -> TaskCard:
    return TaskCard("toy", "", {parameter.name: parameter for parameter in parameters}, (Objective("loss", direction),))  # type: ignore[arg-type]


def build(kind: str, task: TaskCard, options: Mapping[str, Any] | None = None) -> Optimizer:
    return KINDS[kind](OptimizerContext(task, options or {}, lambda name, more, chat: build(name, task, more), own_archive(task)))


def own_archive(task: TaskCard) -> Callable[[str, Mapping[str, Any]], Archive]:
    """Builds archives as a run does for optimizers that keep their own."""

    def make(name: str, options: Mapping[str, Any]) -> Archive:
        return plugins.resolve("archives", name)(ArchiveContext(task.objectives, task.measures, options, make))

    return make


class ListView:
    """Keeps everything told; samples among the twenty best, the better the likelier."""

    def __init__(self, task: TaskCard) -> None:
        self.task = task
        self.pending: list[Candidate] = []
        self.budget_left: dict[str, float] = {}
        self.entries: dict[str, Entry] = {}
        sign = 1.0 if task.objectives[0].direction == "min" else -1.0
        self.key: Callable[[Entry], float] = lambda entry: sign * entry.scores["loss"]

    def ranked(self) -> list[Entry]:
        """Best first; one of those with equal scores."""
        by_score = {self.key(entry): entry for entry in reversed(list(self.entries.values())) if entry.scores}
        return [by_score[score] for score in sorted(by_score)]

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        elite = self.ranked()[:20]
        return rng.choices(elite, [0.85**rank for rank in range(len(elite))], k=n) if elite else []

    def front(self) -> Sequence[Entry]:
        return self.ranked()[:1]

    def entry(self, candidate_id: str) -> Entry | None:
        return self.entries.get(candidate_id)

    def texts(self, entry: Entry, limit: int) -> Mapping[str, str]:
        return {}

    def traces(self, entry: Entry) -> Iterator[tuple[Rollout, bytes]]:
        return iter(())


class Run:
    """``step`` asks for proposals and, once ``workers`` are out, tells one of them."""

    def __init__(self, optimizer: Optimizer, task: TaskCard, evaluate: Evaluate, *, seed: int = 0, workers: int = 1) -> None:
        self.optimizer, self.task, self.evaluate = optimizer, task, evaluate
        self.seed, self.workers = seed, workers
        self.view = ListView(task)
        self.history: list[tuple[Entry, Admission]] = []
        self.asks = 0
        self.answer: Any = None
        self.tell(Candidate.of(Proposal({name: parameter.initial for name, parameter in task.parameters.items()}), task.parameters))

    async def step(self) -> bool:
        """False when the optimizer has nothing more to propose."""
        if len(self.view.pending) < self.workers:
            self.answer = await self.optimizer.propose(
                self.view, self.workers - len(self.view.pending), Random(f"{self.seed}:ask:{self.asks}")
            )
            self.asks += 1
            if isinstance(self.answer, list):
                self.view.pending += [Candidate.of(proposal, self.task.parameters) for proposal in self.answer]
            elif not self.view.pending:
                return False
        order = Random(f"{self.seed}:order:{len(self.history)}")
        self.tell(self.view.pending.pop(order.randrange(len(self.view.pending))))
        return True

    async def go(self, candidates: int) -> Run:
        while len(self.history) <= candidates and await self.step():
            pass
        return self

    def tell(self, candidate: Candidate) -> None:
        twin = self.view.entries.get(candidate.id)
        if twin is not None:
            self.observe(Entry(candidate, twin.evaluation), Admission("duplicate"))
            return
        loss = self.evaluate(candidate.values)
        if loss is None:
            evaluation = Evaluation(candidate.id, failure=Failure("crash"))
        else:
            evaluation = Evaluation(candidate.id, splits={"train": Aggregate({"loss": loss}, 1, {"loss": 0.0})})
        entry = Entry(candidate, evaluation)
        before = self.best
        self.view.entries[entry.id] = entry
        better = loss is not None and (before is None or self.view.key(entry) < before)
        self.observe(entry, Admission("failed" if loss is None else "admitted" if better else "dominated"))

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.history.append((entry, admission))
        self.optimizer.observe(entry, admission)

    @property
    def best(self) -> float | None:
        ranked = self.view.ranked()
        return self.view.key(ranked[0]) if ranked else None

    def resumed(self, optimizer: Optimizer) -> Run:
        """As after a crash: the same log and pending candidates, with an optimizer that has seen nothing but the log."""
        other = copy.copy(self)
        other.view = copy.copy(self.view)
        other.view.entries, other.view.pending, other.history = dict(self.view.entries), list(self.view.pending), list(self.history)
        other.optimizer = optimizer
        for entry, admission in self.history:
            optimizer.observe(entry, admission)
        return other


def ids(run: Run) -> list[str]:
    return [entry.id for entry, _ in run.history]


def proposal_ids(answer: Any, task: TaskCard) -> list[str]:
    return [candidate_id(proposal.values, task.parameters) for proposal in answer] if isinstance(answer, list) else [repr(answer)]
