"""Code parameters behind real walls, as a workflow calls them: many at once, each with its own code, and none that harms another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from agentopt.core.protocols import Wish
from agentopt.core.running import RUNNER, CodeFailed
from agentopt.core.task import Limits
from agentopt.sandbox.code_runner import BoxedCode, open_runner
from agentopt.trace.params import applied
from agentopt.trace.recorder import record
from agentopt.trainables import trainable

STEP = 3
TABLE = {"rows": [1, 2, 3]}


@trainable(uses=["STEP"])
def move(x):
    return x + STEP


@trainable(uses=["TABLE"])
def rows(n):
    return TABLE["rows"][:n]


@trainable
async def later(x):
    return x


@pytest.fixture(scope="module")
def boxes() -> Iterator[BoxedCode]:
    with open_runner(Wish(strangers=True), Limits(seconds=5.0, memory_mb=256, output_mb=1.0)) as runner:
        yield runner


@pytest.fixture(autouse=True)
def runner(boxes):
    token = RUNNER.set(boxes)
    yield boxes
    RUNNER.reset(token)


def test_each_thread_sees_its_own_candidate():
    begin = threading.Barrier(8)

    def work(n):
        with applied({"move": f"def move(x):\n    return [{n}, x * STEP]\n"}), record() as trace:
            begin.wait(30)
            values = [move(k) for k in range(20)]
        reads = {node.value for node in trace.graph() if node.kind == "param"}
        return values, reads

    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(copy_context().run, work, n) for n in range(8)]
        for n, future in enumerate(found):
            values, reads = future.result()
            assert values == [[n, k * STEP] for k in range(20)]
            assert reads == {f"def move(x):\n    return [{n}, x * STEP]\n"}


async def test_each_of_two_hundred_tasks_sees_its_own_candidate():
    async def work(n):
        with applied({"later": f"async def later(x):\n    return [{n % 4}, x]\n"}), record() as trace:
            value = await later(n)
        return value, [node.kind for node in trace.graph()]

    found = await asyncio.gather(*(work(n) for n in range(200)))
    assert [value for value, _ in found] == [[n % 4, n] for n in range(200)]


def test_what_code_does_to_its_surroundings_stays_in_its_box():
    spoiling = "def rows(n):\n    TABLE['rows'].append(n)\n    return TABLE['rows']\n"
    with applied({"rows": spoiling}):
        assert [rows(4), rows(5)] == [[1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert rows(9) == [1, 2, 3]
    assert TABLE == {"rows": [1, 2, 3]}


def test_what_code_does_to_its_arguments_stays_in_its_box():
    given = [1]
    with applied({"move": "def move(x):\n    x.append(2)\n    return x\n"}):
        assert move(given) == [1, 2]
    assert given == [1]


def test_a_failure_is_recorded_with_its_lines_and_the_workflow_goes_on():
    with record() as trace, applied({"move": "def move(x):\n    y = []\n    return y[x]\n"}), pytest.raises(CodeFailed) as caught:
        move(5)
    assert caught.value.kind == "crash"
    assert "IndexError" in caught.value.message
    assert ">   3 |     return y[x]" in caught.value.message
    assert [node.kind for node in trace.graph()] == ["exception", "param"]
    assert move(1) == 4


def test_a_workflow_catches_the_exceptions_that_it_expects():
    with applied({"rows": "def rows(n):\n    return {}[n]\n"}), pytest.raises(KeyError, match="crash: "):
        rows(1)
    with applied({"rows": "def rows(n):\n    raise StopIteration\n"}), pytest.raises(CodeFailed, match="StopIteration"):
        rows(1)


@pytest.mark.parametrize(
    "nasty", ["raise SystemExit", "import os; os._exit(1)", "import sys; sys.setrecursionlimit(1 << 30); return move(x)"]
)
def test_the_next_call_is_not_harmed(nasty):
    with applied({"move": f"def move(x):\n    if x: {nasty}\n    return 'alive'\n"}):
        with pytest.raises(CodeFailed):
            move(1)
        assert move(0) == "alive"
    assert move(1) == 4
