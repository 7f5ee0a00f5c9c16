"""litellm outside of its OpenAI path, where it has an HTTP client and errors of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentopt.core.chat import ModelError
from agentopt.llm.limits import Clock
from agentopt.llm.retry import RetryingModel
from agentopt.testing.fake_llm import FakeLLM, Step
from tests.llm.helpers import LITELLM, FakeClock, ask, quick

pytestmark = pytest.mark.skipif(not LITELLM, reason="the extra litellm is not installed")


def make(model: str, url: str | None, timeout: float = 20.0, **policy: Any) -> RetryingModel:
    from agentopt.llm.litellm_client import LiteLLMTransport

    return RetryingModel(LiteLLMTransport(model, url, "a-key-for-tests", timeout, Clock()), quick(**policy))


@pytest.mark.parametrize(
    ("step", "kind", "requests"),
    [
        (Step(status=429, error="slow", headers={"Retry-After": "7"}), "rate_limit", 4),
        (Step(status=500), "server", 4),
        (Step(status=529), "server", 4),
        (Step(status=400, error="maximum context length is 5"), "context_length", 1),
        (Step(status=401), "auth", 1),
        (Step(status=403), "auth", 1),
        (Step(status=404), "not_found", 1),
        (Step(fault="malformed"), "malformed", 4),
        (Step(body="<html>", content_type="text/html"), "malformed", 4),
        (Step("word " * 50, fault="cut"), "cut", 4),
        (Step(choices=0), "no_choices", 4),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
async def test_faults_of_another_provider(step: Step, kind: str, requests: int) -> None:
    clock = FakeClock()
    with FakeLLM([step]) as server:
        model = make("deepseek/m", server.url, clock=clock.clock(), retries=3, base=1e-9)
        with pytest.raises(ModelError) as caught:
            await model.complete(ask())
        await model.close()
    assert (caught.value.kind, len(server.requests), caught.value.attempts) == (kind, requests, requests)
    if kind == "rate_limit":
        assert clock.slept == [7.0] * 3


async def test_a_connection_that_breaks_before_the_reply_is_tried_once_more_by_litellm_itself() -> None:
    with FakeLLM([Step(fault="reset")]) as server:
        model = make("deepseek/m", server.url, retries=1)
        with pytest.raises(ModelError) as caught:
            await model.complete(ask())
        await model.close()
    assert (caught.value.kind, caught.value.attempts, len(server.requests)) == ("connection", 2, 4)


async def test_a_deadline_of_another_provider() -> None:
    with FakeLLM([Step(), Step(fault="stall")]) as server:
        model = make("deepseek/m", server.url, retries=0)
        await model.complete(ask())
        model._model._timeout = 0.3
        with pytest.raises(ModelError, match="no reply in time"):
            await model.complete(ask())
        assert await asyncio.to_thread(server.wait_for_disconnects, 1)
        await model.close()


async def test_what_litellm_refuses_by_itself() -> None:
    model = make("nobody/m", None)
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    await model.close()
    assert (caught.value.kind, caught.value.attempts) == ("bad_request", 1)
    assert "nobody" in str(caught.value)


async def test_a_missing_key_is_no_access(monkeypatch: pytest.MonkeyPatch) -> None:
    from agentopt.llm.litellm_client import LiteLLMTransport

    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for provider in ("openai/m", "anthropic/m"):
        transport = LiteLLMTransport(provider, None, None, 5.0, Clock())
        with pytest.raises(ModelError) as caught:
            await transport.complete(ask())
        await transport.close()
        assert caught.value.kind == "auth", str(caught.value)


async def test_the_last_to_close_closes_for_all() -> None:
    with FakeLLM() as server:
        first, second = make("deepseek/m", server.url), make("deepseek/m", server.url)
        await first.complete(ask())
        await second.complete(ask())
        await first.close()
        await first.close()
        await second.complete(ask())
        await second.close()
        third = make("deepseek/m", server.url)
        await third.complete(ask())
        await third.close()
    assert len(server.requests) == 4


async def test_timeouts_of_its_own_and_faults_of_ours() -> None:
    import litellm

    model = make("deepseek/m", None)
    named = model._model._named
    assert named(litellm.Timeout("slow", model="m", llm_provider="deepseek")).kind == "timeout"
    with pytest.raises(ZeroDivisionError):
        named(ZeroDivisionError())
    await model.close()
