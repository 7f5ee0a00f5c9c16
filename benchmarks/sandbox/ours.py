"""Our own way: the real executor, from the opening of a session to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from agentopt.core import wire
from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.protocols import ExecutorContext, Session, Wish
from agentopt.core.task import Case, Limits, Objective, Parameter, Task
from agentopt.executors.boxed import Boxed
from benchmarks.sandbox.tree import cpu_seconds
from benchmarks.sandbox.ways import source

__all__ = ["Ours", "candidate", "context", "make_task"]

ROUND_TRIP = 131_072
"""Numbers of 8 bytes in 1 MB."""


def make_task(module: str, **limits: float) -> Task:
    """``f(x)`` is to double its input; a right answer scores 1."""
    cases = [Case("one", 1, 2), Case("two", 2, 4)]
    task = Task(
        "double",
        "double it",
        parameters={"f": Parameter("f", "code", source(0))},
        objectives=[Objective("right", "max")],
        cases={"train": cases},
        imports=(module,) if module else (),
        limits=Limits(**({"seconds": 20.0} | limits)),
    )
    task.run(lambda program, input: program.f(input))
    task.score(lambda case, output, measured: float(output == case.expected))
    return task


def context(task: Task, level: str, capacity: int = 1) -> ExecutorContext:
    return ExecutorContext(task, task.make_cases(), capacity, wish=Wish(level))


def candidate(task: Task, text: str) -> Candidate:
    return Candidate.of(Proposal({"f": text}), task.resolved)


class Ours:
    """Answers orders: a block of evaluations, of calls into one box, or of arrays that go there and back."""

    def __init__(self, level: str, module: str, capacity: int = 8) -> None:
        self._task = make_task(module)
        self._runner = asyncio.Runner()
        self._executor = Boxed(context(self._task, level, capacity))
        self._made = 0
        self._orders: dict[str, Callable[[dict[str, Any]], Any]] = {
            "evaluations": self._evaluations,
            "calls": self._calls,
            "box_calls": self._box_calls,
            "round_trips": self._round_trips,
        }

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        what = next(iter(order))
        return self._runner.run(self._orders[what](order))

    async def _open(self) -> Session:
        return await self._executor.open(self._candidates(1)[0])

    def _candidates(self, count: int) -> list[Candidate]:
        self._made += count
        return [candidate(self._task, source(k)) for k in range(self._made - count, self._made)]

    async def _evaluations(self, order: dict[str, Any]) -> dict[str, Any]:
        """``at_once`` of them at a time. Making a candidate's identity is the engine's work and not counted."""
        left, walls = self._candidates(order["evaluations"]), []

        async def work() -> None:
            while left:
                begun = time.perf_counter()
                session = await self._executor.open(left.pop())
                rollout = await session.rollout("two", 0, 1)
                await session.close()
                walls.append(time.perf_counter() - begun)
                assert rollout.scores == {"right": 1.0}, rollout

        before, begun = cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(order.get("at_once", 1))))
        seconds = time.perf_counter() - begun
        used = cpu_seconds()
        used.subtract(before)
        return {"cpu": used, "walls": walls, "seconds": seconds, "sandbox": self._executor.sandbox}

    async def _calls(self, order: dict[str, Any]) -> dict[str, Any]:
        """Calls with their scoring, as the engine makes them: as many at once as the session likes, or one by one."""
        session: Any = await self._open()
        jobs = [("two", repeat, 1) for repeat in range(order["calls"])]
        await session.rollouts(jobs[:1])
        begun = time.perf_counter()
        while jobs:
            rollouts = await session.rollouts(jobs if order["together"] else jobs[:1])
            assert all(rollout.scores == {"right": 1.0} for rollout in rollouts)
            jobs = jobs[len(rollouts) :]
        seconds = time.perf_counter() - begun
        await session.close()
        return {"seconds": seconds}

    async def _box_calls(self, order: dict[str, Any]) -> dict[str, Any]:
        """Calls without their scoring, ``together`` at a time."""
        session: Any = await self._open()
        await session.rollout("two", 0, 1)
        data, left = wire.encode(2), order["box_calls"]
        begun = time.perf_counter()
        while left > 0:
            reports = await session._box.rollouts(20.0, [(1, data)] * min(left, order["together"]))
            assert all(report.failure is None for report in reports)
            left -= len(reports)
        seconds = time.perf_counter() - begun
        await session.close()
        return {"seconds": seconds}

    async def _round_trips(self, order: dict[str, Any]) -> dict[str, Any]:
        """1 MB of float64 into the box, doubled there, and back; without scoring."""
        import numpy

        session: Any = await self._open()
        await session.rollout("two", 0, 1)
        numbers = numpy.arange(ROUND_TRIP, dtype="f8")
        data, walls = wire.encode(numbers), []
        for _ in range(order["round_trips"]):
            begun = time.perf_counter()
            (report,) = await session._box.rollouts(20.0, [(1, data)])
            walls.append(time.perf_counter() - begun)
        assert (wire.decode(report.output, lambda dtype, shape, view: numpy.frombuffer(view, dtype)) == 2 * numbers).all()
        await session.close()
        return {"seconds": sum(walls)}
