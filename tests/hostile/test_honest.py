"""Honest candidates are not rejected: numbers, files, threads, and modules that are imported when the walls are up already."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agentopt.core.protocols import Wish
from agentopt.core.task import Case, Limits, Score
from agentopt.executors.boxed import Boxed
from tests.boxes import context, make_task, once
from tests.hostile import honest
from tests.hostile.arena import LEVELS, at, why_not

HERE = [level for level in LEVELS if not why_not(level)]


def rejected(level: str, sources: dict[str, str], **settings) -> dict[str, str]:
    """Those that did not come out right, and what was said of them."""
    limits = Limits(seconds=60.0, memory_mb=settings.pop("memory_mb", 1024))
    task = make_task(limits=limits, cases={"train": [Case("one", {"x": 4}, True)]}, **settings)

    @task.score
    def score(case, output, measured):
        return Score(right=float(output is case.expected), feedback=repr(output)[:500])

    async def all_of_them() -> dict[str, str]:
        executor = Boxed(replace(context(task, capacity=2), wish=Wish(level[:2])))
        turns = asyncio.Semaphore(2)

        async def one(name: str) -> tuple[str, str]:
            async with turns:
                rollout = await once(executor, task, sources[name], "one")
            return name, "" if rollout.scores == {"right": 1.0} else str(rollout.failure or rollout.feedback)

        try:
            return {name: said for name, said in await asyncio.gather(*map(one, sources)) if said}
        finally:
            await executor.close()

    with at(level):
        return asyncio.run(all_of_them())


@pytest.mark.parametrize("level", [level for level in HERE if level != "L1"])
def test_the_honest_are_not_rejected(level):
    sources = honest.short_form()
    assert len(sources) >= 40
    assert rejected(level, sources, imports=("numpy",)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("level", HERE)
def test_the_long_form_of_honesty(level):
    sources = honest.long_form()
    assert len(sources) >= 150
    assert rejected(level, sources) == {}


@pytest.mark.slow
@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("warm", [True, False])
def test_scikit_learn(level, warm):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    imports = ("sklearn.ensemble", "sklearn.cluster", "sklearn.svm", "sklearn.linear_model") if warm else ()
    assert rejected(level, honest.learning_form(), imports=imports) == {}


@pytest.mark.slow
@pytest.mark.parametrize("level", HERE)
def test_torch(level):
    pytest.importorskip("torch", reason="torch is not installed")
    assert rejected(level, honest.torch_form(), imports=("torch",), memory_mb=4096) == {}


@pytest.mark.slow
def test_there_are_two_hundred_of_them():
    forms = (honest.long_form(), honest.learning_form(), honest.torch_form())
    assert sum(map(len, forms)) >= 200
