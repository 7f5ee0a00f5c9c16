"""A tiny world for engine tests: every part is a few lines, so a failure points at the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from agentopt import Case, Objective, Parameter, Proposal, Task
from agentopt.core.errors import InfrastructureError
from agentopt.core.evaluation import Admission, Entry, Failure, Measured, Rollout
from agentopt.core.events import EVENT_KINDS, Event, canonical
from agentopt.core.fold import RunState
from agentopt.core.protocols import TaskCard
from agentopt.engine.journal import Journal
from agentopt.engine.loop import Loop
from agentopt.engine.plan import Parts, Plan
from agentopt.engine.rules import Rules
from agentopt.engine.run import Run
from agentopt.engine.schedule import Schedule


class Kill(BaseException):
    """Stands for kill -9: nothing after it is logged."""


class ListStore:
    """A store in a list; ``die_after`` raises Kill instead of appending event number n + 1."""

    def __init__(self, events: Sequence[Event] = (), die_after: int | None = None) -> None:
        self.events = list(events)
        self.blobs: dict[str, bytes] = {}
        self.die_after = die_after
        self.ask_last_words: Callable[[], int] = lambda: 0
        self.last_words = 0

    def append(self, kind: str, data: Mapping[str, Any]) -> Event:
        assert kind in EVENT_KINDS
        if self.die_after is not None and len(self.events) >= self.die_after:
            self.last_words = self.last_words or self.ask_last_words()
            raise Kill
        event = Event(len(self.events) + 1, float(len(self.events)), kind, json.loads(json.dumps(data, allow_nan=False)))
        self.events.append(event)
        return event

    def read(self, after: int = 0, subject: str | None = None) -> Iterator[Event]:
        for event in list(self.events[after:]):
            if subject is None or event.subject == subject:
                yield event

    def put(self, data: bytes) -> str:
        self.blobs[data.hex()] = data
        return data.hex()

    def get(self, digest: str) -> bytes:
        return self.blobs[digest]

    def close(self) -> None: ...


class BestArchive:
    """Keeps the one best entry by the only objective (max) and everything for sampling."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.best: Entry | None = None

    def admits(self, entry: Entry) -> bool:
        return bool(entry.scores) and (self.best is None or entry.scores["score"] > self.best.scores["score"])

    def add(self, entry: Entry) -> Admission:
        if entry.failure or not entry.scores:
            return Admission("failed")
        self.entries.append(entry)
        if self.best and entry.confirmed["score"] <= self.best.confirmed["score"]:
            return Admission("dominated")
        displaced = (self.best.id,) if self.best else ()
        self.best = entry
        return Admission("admitted", displaced)

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        return [rng.choice(self.entries) for _ in range(n)] if self.entries else []

    def front(self) -> Sequence[Entry]:
        return [self.best] if self.best else []

    def get(self, candidate_id: str) -> Entry | None:
        return None


Judge = Callable[[Mapping[str, Any], str, int], "float | Failure"]


class FakeExecutor:
    """Scores values by a Python function; ``delay(values, case)`` seconds each; counts everything it did."""

    sandbox = "fake"

    def __init__(self, judge: Judge, schedule: Schedule, capacity: int = 1, delay: Callable[[Any, str], float] = lambda v, c: 0.0) -> None:
        self.judge, self.schedule, self.capacity, self.delay = judge, schedule, capacity, delay
        self.rollouts: list[tuple[str, str, int]] = []
        self.opened = self.closed = self.most_open = 0
        self.broken = 0
        """This many rollouts fail by our own doing."""
        self.at_once = 1
        """Sessions do so many rollouts at once."""
        self.leave: Callable[[Rollout], Rollout] = lambda rollout: rollout
        """What a rollout with scores leaves behind beside them."""

    async def open(self, candidate: Any) -> Any:
        self.opened += 1
        self.most_open = max(self.most_open, self.opened - self.closed)
        return _FakeSession(self, candidate) if self.at_once == 1 else _FakeManySession(self, candidate)

    async def close(self) -> None: ...


class _FakeSession:
    def __init__(self, executor: FakeExecutor, candidate: Any) -> None:
        self.executor, self.candidate = executor, candidate

    async def rollout(self, case: str, repeat: int, rng_seed: int) -> Rollout:
        executor, values = self.executor, self.candidate.values
        await asyncio.sleep(executor.delay(values, case))
        if executor.broken:
            executor.broken -= 1
            if executor.broken % 2:
                raise InfrastructureError("the box is gone")
            return Rollout(case, "train", repeat, rng_seed, failure=Failure("infrastructure", "the scorer is gone"))
        executor.rollouts.append((self.candidate.id, case, repeat))
        split = next(split for split, cases in executor.schedule.cases.items() if case in cases)
        found = executor.judge(values, case, repeat)
        measured = Measured(wall=max(0.001, executor.delay(values, case)))
        if isinstance(found, Failure):
            return Rollout(case, split, repeat, rng_seed, failure=found, measured=measured)
        return executor.leave(Rollout(case, split, repeat, rng_seed, scores={"score": found}, measured=measured))

    async def close(self) -> None:
        self.executor.closed += 1


class _FakeManySession(_FakeSession):
    async def rollouts(self, jobs: Sequence[tuple[str, int, int]]) -> Sequence[Rollout]:
        done = [await self.rollout(*job) for job in jobs[: self.executor.at_once]]
        return done[:1] if done[0].failure and done[0].failure.kind == "infrastructure" else done


class Climber:
    """Adds a random step to a sampled parent; remembers what it saw, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        parent = view.sample(1, rng)[0]
        x = parent.candidate.values["x"] + rng.choice([-2, -1, 1, 2, 3]) + 0.25 * (len(self.seen) % 3)
        return [Proposal({"x": x}, (parent.id,), "climber", "step", memo={"seen": len(self.seen)})]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.seen.append((entry.id, admission.status))


class Forgetful(Climber):
    """Often proposes what it has proposed before."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        return [Proposal({"x": rng.randrange(12)}, (view.sample(1, rng)[0].id,), "forgetful", "step")]


def make_task(**changes: Any) -> Task:
    cases = {"train": [Case("a", 1), Case("b", 2)], "validation": [Case("v", 3)], "test": [Case("t", 4), Case("u", 5)]}
    parts: dict[str, Any] = {"parameters": {"x": Parameter("x", "value", 0)}, "objectives": [Objective("score", "max")], "cases": cases}
    task = Task("toy", "climb", **(parts | changes))
    task.score(lambda case, output, measured: 0.0)
    return task


def parabola(values: Mapping[str, Any], case: str, repeat: int) -> float:
    return -abs(values["x"] - 20.0) + {"a": 0.0, "b": 1.0}.get(case, 0.5)


class World:
    """One run of the engine over a ListStore."""

    def __init__(
        self,
        task: Task | None = None,
        *,
        judge: Judge = parabola,
        optimizer: Any = None,
        budget: Mapping[str, float] | None = None,
        store: ListStore | None = None,
        capacity: int = 1,
        delay: Callable[[Any, str], float] = lambda v, c: 0.0,
        plan: Plan | None = None,
        on_event: Any = None,
        chat: Journal | None = None,
        rules: Rules | None = None,
        archive: Any = None,
        meter: Any = None,
        executor: Any = None,
    ) -> None:
        self.task = task or make_task()
        schedule = Schedule.of(self.task, self.task.make_cases(), rules)
        self.executor = executor or FakeExecutor(judge, schedule, capacity, delay)
        self.executor.schedule = schedule
        self.optimizer = optimizer or Climber()
        self.archive = archive or BestArchive()
        self.store = store or ListStore()
        self.store.ask_last_words = lambda: len(self.executor.rollouts)
        card = TaskCard("toy", "climb", self.task.resolved, tuple(self.task.objectives))
        self.parts = Parts(card, schedule, self.optimizer, self.archive, self.executor, self.store, chat, meter)
        self.plan = plan or Plan()
        self.on_event = on_event
        if not self.store.events:
            objectives = [{"name": o.name, "direction": o.direction} for o in self.task.objectives]
            info = {"task": {"name": "toy", "objectives": objectives}, "config": {}, "budget": dict(budget or {"evals": 12})}
            info["model"] = ",".join(chat.models) if chat else None
            self.store.append("run_started", info)
        else:
            self.store.append("resumed", {"budget": dict(budget or {"evals": 12})})

    async def run(self) -> RunState:
        self.run_ = Run(self.parts, self.plan, self.on_event)
        self.loop = Loop(self.run_)
        await self.loop.restore()
        return await self.loop.drive(self.task.seed_values)

    @property
    def log(self) -> list[tuple[str, Mapping[str, Any]]]:
        return canonical(self.store.events)
