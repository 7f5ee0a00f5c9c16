"""What every executor keeps to. Inherit from the class and give ``make``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.evaluation import Rollout
from agentopt.core.protocols import Executor, ExecutorContext
from agentopt.core.task import Score, Task
from agentopt.testing.fakes import make_task

__all__ = ["ExecutorContract"]

_KEEP = "def shrink(point):\n    return point\n"
_RANDOM = "import random\n\ndef shrink(point):\n    return [random.random() for _ in point]\n"
_FAILING = {
    "syntax": "def shrink(point:\n",
    "build": "def another_name(point):\n    return point\n",
    "crash": "def shrink(point):\n    raise ValueError('on purpose')\n",
    "nonfinite": "def shrink(point):\n    return [float('nan'), 0.0]\n",
    "wrong": "def shrink(point):\n    return point[:1]\n",
}
"""By the kind of failure; the last makes the task's score function raise."""


class ExecutorContract:
    """Inherit, name the class ``Test...`` and return your executor from ``make``::

    class TestMine(ExecutorContract):
        def make(self, context):
            return Mine(context)
    """

    def make(self, context: ExecutorContext) -> Executor:
        raise NotImplementedError("return your executor built from the context")

    def task(self) -> Task:
        return make_task()

    def test_says_what_it_is(self) -> None:
        async def check(executor: Executor) -> None:
            assert executor.capacity >= 1, "an executor can hold at least one session"
            assert isinstance(executor.sandbox, str), "the sandbox level is text"
            assert executor.sandbox, "the sandbox level is named"

        self._with(check)

    def test_score_is_right(self) -> None:
        async def check(executor: Executor) -> None:
            rollout = await _one(executor, _KEEP, "a", 0, 11)
            assert rollout.failure is None, f"an honest candidate failed: {rollout.failure}"
            assert dict(rollout.scores) == {"distance": 1.8125}, f"1.25 and 0.5 from the origin is 1.8125, not {dict(rollout.scores)}"
            assert (rollout.case, rollout.split, rollout.repeat, rollout.rng_seed) == ("a", "train", 0, 11)
            assert "1.25" in rollout.feedback, "the scorer's feedback comes back"
            assert rollout.measured.wall > 0, "wall time is measured"

        self._with(check)

    def test_every_split_and_repeat(self) -> None:
        async def check(executor: Executor) -> None:
            session = await executor.open(_candidate(_KEEP))
            for case, split, repeat in (("b", "train", 1), ("c", "validation", 0), ("d", "test", 2)):
                rollout = await session.rollout(case, repeat, 5)
                assert (rollout.case, rollout.split, rollout.repeat) == (case, split, repeat)
                assert rollout.failure is None, f"case {case} failed: {rollout.failure}"
            await session.close()

        self._with(check)

    def test_failing_candidates_are_data(self) -> None:
        async def check(executor: Executor) -> None:
            for kind, source in _FAILING.items():
                rollout = await _one(executor, source, "a", 0, 1)
                assert rollout.failure is not None, f"a candidate with a {kind} failure got the scores {dict(rollout.scores)}"
                assert rollout.failure.kind == kind, f"expected the failure {kind}, got {rollout.failure}"
                assert not rollout.scores, "a failed rollout has no scores"
                healthy = await _one(executor, _KEEP, "a", 0, 1)
                assert healthy.failure is None, f"after a {kind} failure the next candidate suffered: {healthy.failure}"

        self._with(check)

    def test_a_session_outlives_a_failure(self) -> None:
        async def check(executor: Executor) -> None:
            source = "def shrink(point):\n    return point if point[0] > 1 else 1 // 0\n"
            session = await executor.open(_candidate(source))
            outcomes = [(await session.rollout(case, 0, 1)).failure is None for case in ("b", "a", "b", "a")]
            await session.close()
            assert outcomes == [False, True, False, True], f"failures of single cases came out as {outcomes}"

        self._with(check)

    def test_rng_seed_makes_rollouts_repeatable(self) -> None:
        async def check(executor: Executor) -> None:
            first, again, other = [(await _one(executor, _RANDOM, "a", 0, seed)).scores for seed in (3, 3, 4)]
            assert first == again, "one rng_seed, two different scores"
            assert first != other, "rng_seed has no effect"

        self._with(check)

    def test_score_is_told_the_rng_seed(self) -> None:
        def seed(case: Any, output: Any, measured: Any) -> Score:
            return Score(distance=float(measured.rng_seed))

        async def check(executor: Executor) -> None:
            session = await executor.open(_candidate(_KEEP))
            told = [(await session.rollout("a", repeat, seed)).scores["distance"] for repeat, seed in enumerate((3, 2**40))]
            await session.close()
            assert told == [3.0, 2.0**40], f"score was told the rng_seeds {told}"

        task = self.task()
        task.score(seed)
        self._with(check, task)

    def test_unknown_case_raises(self) -> None:
        async def check(executor: Executor) -> None:
            session = await executor.open(_candidate(_KEEP))
            try:
                rollout = await session.rollout("no such case", 0, 1)
            except Exception:
                rollout = None
            await session.close()
            assert rollout is None, "an unknown case is an error of the caller, not of the candidate"

        self._with(check)

    def test_close_twice(self) -> None:
        async def check(executor: Executor) -> None:
            session = await executor.open(_candidate(_KEEP))
            await session.rollout("a", 0, 1)
            await session.close()
            await session.close()
            await executor.close()
            await executor.close()

        self._with(check)

    def test_sessions_side_by_side(self) -> None:
        async def check(executor: Executor) -> None:
            sources = [_KEEP, "def shrink(point):\n    return [0.0, 0.0]\n"][: executor.capacity]
            rollouts = await asyncio.gather(*(_one(executor, source, "a", 0, 1) for source in sources))
            scores = [rollout.scores.get("distance") for rollout in rollouts]
            assert scores == [1.8125, 0.0][: executor.capacity], f"two candidates at once scored {scores}"

        self._with(check, capacity=2)

    def _with(self, check: Callable[[Executor], Coroutine[Any, Any, None]], task: Task | None = None, capacity: int = 1) -> None:
        task = task or self.task()

        async def main() -> None:
            executor = self.make(ExecutorContext(task, task.make_cases(), capacity))
            try:
                await check(executor)
            finally:
                await executor.close()

        asyncio.run(main())


def _candidate(source: str) -> Candidate:
    parameters = make_task().resolved
    return Candidate.of(Proposal({"start": {"x": 1.0, "y": 0.0}, "shrink": source}), parameters)


async def _one(executor: Executor, source: str, case: str, repeat: int, rng_seed: int) -> Rollout:
    session = await executor.open(_candidate(source))
    try:
        return await session.rollout(case, repeat, rng_seed)
    finally:
        await session.close()
