"""The executor that runs nothing: it hands on what the user says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentopt.core.candidate import Candidate
from agentopt.core.errors import TaskError
from agentopt.core.evaluation import Failure
from agentopt.core.protocols import Executor, Session
from agentopt.executors.interactive import Interactive
from agentopt.scoring.judge import Verdict
from tests.boxes import candidate, context, make_task


async def test_what_is_said_becomes_the_rollout():
    heard: list[str] = []
    kept: list[bytes] = []
    verdicts = [Verdict({"right": 1.0}, feedback="good"), Verdict(feedback="bad", failure=Failure("wrong", "bad"))]

    async def listen(candidate: Candidate) -> tuple[Verdict, bytes]:
        heard.append(candidate.id)
        return verdicts[len(heard) - 1], b"a trace" if len(heard) == 1 else b""

    task = replace(make_task(), functions={"listen": listen})

    def put(data: bytes) -> str:
        kept.append(data)
        return "digest"

    executor = Interactive(replace(context(task, capacity=4), put=put))
    assert isinstance(executor, Executor)
    assert (executor.capacity, executor.sandbox) == (1, "interactive")
    tried = candidate(task)
    session = await executor.open(tried)
    assert isinstance(session, Session)
    first = await session.rollout("ten", 0, 7)
    assert (first.case, first.split, first.rng_seed, first.scores, first.feedback) == ("ten", "test", 7, {"right": 1.0}, "good")
    assert (first.trace, first.failure, kept) == ("digest", None, [b"a trace"])
    second = await session.rollout("one", 0, 7)
    assert (second.failure, second.feedback, second.trace) == (Failure("wrong", "bad"), "bad", "")
    assert heard == [tried.id] * 2
    await session.close()
    await executor.close()


def test_a_task_that_runs_by_itself_is_refused():
    with pytest.raises(TaskError, match=r"runs by itself; the executor interactive is for agentopt.pipeline.stepper"):
        Interactive(context(make_task()))
