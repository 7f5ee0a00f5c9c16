"""A clock that only tests move, and models over each library that is installed here."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from random import Random
from typing import Any

import pytest

from agentopt.core.chat import ChatModel, ChatRequest, Message
from agentopt.llm.limits import Clock
from agentopt.llm.prices import Price
from agentopt.llm.retry import CallPolicy, RetryingModel

__all__ = ["FakeClock", "ask", "each_library", "make_model", "make_transport", "quick"]

LITELLM = find_spec("litellm") is not None
each_library = pytest.mark.parametrize(
    "library", ["openai", pytest.param("litellm", marks=pytest.mark.skipif(not LITELLM, reason="the extra litellm is not installed"))]
)


class FakeClock:
    """Sleeping takes no time and moves the clock."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep, lambda: self.time)


def quick(**policy: Any) -> CallPolicy:
    """A policy that waits for nothing; reproducible."""
    return CallPolicy(**{"clock": FakeClock().clock(), "rng": Random(0)} | policy)


def make_transport(library: str, url: str, timeout: float = 20.0, key: str = "a-key-for-tests", clock: Clock | None = None) -> ChatModel:
    clock = clock or Clock()
    if library == "openai":
        from agentopt.llm.client import OpenAITransport

        return OpenAITransport("m", url, key, timeout, clock, local=True)
    from agentopt.llm.litellm_client import LiteLLMTransport

    return LiteLLMTransport("openai/m", url, key, timeout, clock)


def make_model(
    library: str,
    url: str,
    policy: CallPolicy | None = None,
    *,
    timeout: float = 20.0,
    key: str = "a-key-for-tests",
    price: Price | None = None,
) -> RetryingModel:
    policy = policy or quick()
    return RetryingModel(make_transport(library, url, timeout, key, Clock(unix=policy.clock.unix)), policy, price)


def ask(text: str = "hello", **more: Any) -> ChatRequest:
    return ChatRequest((Message("user", text),), **more)
