"""Conformance group 9: runs side by side in tasks and threads give what they give one after another."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from agentopt.compat.trace import GRAPH, bundle, model, node, stop_tracing


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
    async def silent():
        with stop_tracing():
            await asyncio.sleep(0.01)
            return node(1) + 1

    async def recorded():
        await asyncio.sleep(0.005)
        assert GRAPH.TRACE
        return node(1) + 1

    async def both():
        return await asyncio.gather(silent(), recorded())

    one, other = asyncio.run(both())
    assert (len(one.parents), len(other.parents)) == (0, 2)
