"""Conformance group 9: runs side by side in tasks and threads give what they give one after another."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from agentopt.compat.trace import GRAPH, bundle, model, node, stop_tracing
from agentopt.trace.params import applied


@model
class Agent:
    def __init__(self) -> None:
        self.factor = node(2, name="factor", trainable=True)

    @bundle()
    async def think(self, x, factor):
        await asyncio.sleep(0)
        return x * factor

    @bundle(trainable=True)
    def finish(self, x):
        return x + 1

    async def run(self, x):
        return self.finish(await self.think(x, self.factor))


def test_many_tasks_share_an_agent() -> None:
    agent = Agent()

    async def judged(x):
        made = await agent.run(x)
        await asyncio.sleep(0)
        made.backward(f"said of {x}")
        return made

    async def all_of_them():
        return await asyncio.gather(*(judged(x) for x in range(200)))

    made = asyncio.run(all_of_them())
    assert [one.data for one in made] == [2 * x + 1 for x in range(200)]
    for parameter in agent.parameters():
        texts = {target.data: [piece.user_feedback for piece in pieces] for target, pieces in parameter.feedback.items()}
        assert texts == {2 * x + 1: [f"said of {x}"] for x in range(200)}


def test_many_threads_share_an_agent() -> None:
    agent, often = Agent(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(agent.finish, range(400)))
    finally:
        sys.setswitchinterval(often)
    assert [one.data for one in made] == list(range(1, 401))
    assert all(one.info["inputs"]["args"][1] == k for k, one in enumerate(made))
    assert len({id(one.inputs["__code"]) for one in made}) == 1


def test_stopping_holds_in_its_own_task_alone() -> None:
    stopped, recorded_too = asyncio.Event(), asyncio.Event()

    async def silent():
        with stop_tracing():
            stopped.set()
            await recorded_too.wait()
            return node(1) + 1

    async def recorded():
        await stopped.wait()
        assert GRAPH.TRACE
        made = node(1) + 1
        recorded_too.set()
        return made

    async def both():
        return await asyncio.gather(silent(), recorded())

    one, other = asyncio.run(both())
    assert (len(one.parents), len(other.parents)) == (0, 2)


def test_candidates_side_by_side_give_what_they_give_one_after_another() -> None:
    agent, often = Agent(), sys.getswitchinterval()

    def tried(k: int) -> tuple[int, list[str]]:
        with applied({"factor": k}):
            made = asyncio.run(agent.run(10))
            made.backward(f"said of {k}")
        return made.data, [parent.name.partition(":")[0] for parent in made.parents]

    alone = [tried(k) for k in range(40)]
    said = {text for pieces in agent.factor.feedback.values() for text in (piece.user_feedback for piece in pieces)}
    agent.factor.zero_feedback()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(tried, range(40)))
    finally:
        sys.setswitchinterval(often)
    assert together == alone
    assert [data for data, _ in alone] == [10 * k + 1 for k in range(40)]
    assert {text for pieces in agent.factor.feedback.values() for text in (piece.user_feedback for piece in pieces)} == said
    assert len(said) == 40
    assert agent.factor.data == 2
