"""One process of the benchmark: many calls to a server that answers at once. Prints one JSON line.

``python -m benchmarks.llm.calls WHAT URL CALLS``, WHAT being one of the names below.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

PROMPT = "word " * 1600
IN_FLIGHT = 32
WARM_UP = 64
Call = Callable[[], Awaitable[str]]
Close = Callable[[], Awaitable[None]]


def openai_alone(url: str) -> tuple[Call, Close]:
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)

    async def call() -> str:
        reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": PROMPT}])
        return reply.choices[0].message.content or ""

    return call, client.close


def litellm_alone(url: str) -> tuple[Call, Close]:
    from agentopt.llm.limits import Clock
    from agentopt.llm.litellm_client import LiteLLMTransport

    transport = LiteLLMTransport("openai/m", url, "none", 60.0, Clock())
    import litellm

    async def call() -> str:
        messages = [{"role": "user", "content": PROMPT}]
        reply: Any = await litellm.acompletion(model="openai/m", messages=messages, api_base=url, api_key="none", max_retries=0)
        return reply.choices[0].message.content

    return call, transport.close


def agentopt_over(scheme: str, name: str) -> Callable[[str], tuple[Call, Close]]:
    def make(url: str) -> tuple[Call, Close]:
        from agentopt.core.chat import ChatRequest, Message
        from agentopt.llm.choose import ModelSettings, ModelSpec, build_model
        from agentopt.llm.retry import CallPolicy

        model = build_model(ModelSpec(scheme, name), ModelSettings(base_url=url, policy=CallPolicy(concurrency=IN_FLIGHT)))
        request = ChatRequest((Message("user", PROMPT),))

        async def call() -> str:
            return (await model.complete(request)).text

        return call, model.close

    return make


WAYS: dict[str, Callable[[str], tuple[Call, Close]]] = {
    "openai SDK alone": openai_alone,
    "agentopt, openai SDK": agentopt_over("openai", "m"),
    "litellm alone": litellm_alone,
    "agentopt, litellm": agentopt_over("litellm", "openai/m"),
}


async def many(call: Call, count: int) -> None:
    free = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with free:
            assert await call()

    await asyncio.gather(*(one() for _ in range(count)))


async def measure(what: str, url: str, count: int) -> dict[str, Any]:
    call, close = WAYS[what](url)
    await many(call, WARM_UP)
    cpu, wall = time.process_time(), time.perf_counter()
    await many(call, count)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    await close()
    return {"cpu_ms": 1000 * cpu / count, "rate": count / wall, "openai": version("openai")}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
