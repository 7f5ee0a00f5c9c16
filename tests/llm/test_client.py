"""Both libraries against a server that does what is wrong in every way: what is named how, and how many requests it took."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

import pytest

from agentopt.core.chat import Attempt, ChatRequest, Message, ModelError, Usage
from agentopt.core.errors import MissingExtra
from agentopt.llm.prices import Price, upper_bound
from agentopt.testing.fake_llm import FakeLLM, Step
from tests.llm.helpers import FakeClock, ask, each_library, make_model, make_transport, quick

RETRIES = 3


@dataclass(frozen=True)
class Bad:
    """A step, and what becomes of a request that meets it every time."""

    step: Step
    kind: str
    again: bool = True
    status: int | None = None


def status(number: int, kind: str, again: bool, **more: Any) -> Bad:
    return Bad(Step(status=number, **more), kind, again, number)


PAGE = {"body": "<html>welcome</html>", "content_type": "text/html; charset=utf-8"}
FAULTS = {
    "429": status(429, "rate_limit", True, error="slow down", headers={"Retry-After": "3"}),
    "429 without money": status(429, "rate_limit", False, error="You exceeded your quota", code="insufficient_quota"),
    "500": status(500, "server", True, error="oops"),
    "502 with a page": status(502, "server", True, **PAGE),
    "503": status(503, "server", True),
    "529": status(529, "server", True, error="overloaded"),
    "408": status(408, "timeout", True),
    "400": status(400, "bad_request", False, error="temperature is too high"),
    "401": status(401, "auth", False, error="no such key"),
    "402": status(402, "auth", False, error="insufficient balance"),
    "403": status(403, "auth", False),
    "404": status(404, "not_found", False, error="no such model", code="model_not_found"),
    "too long": status(400, "context_length", False, error="maximum context length is 8192 tokens", code="context_length_exceeded"),
    "filtered": status(400, "content_filter", False, error="content management policy", code="content_filter"),
    "malformed": Bad(Step(fault="malformed"), "malformed"),
    "a list": Bad(Step(body="[1, 2]"), "malformed"),
    "cut": Bad(Step("word " * 50, fault="cut"), "cut"),
    "reset": Bad(Step(fault="reset"), "connection"),
    "no choices": Bad(Step(choices=0), "no_choices"),
    "an error inside 200": Bad(Step(body='{"choices": null, "error": {"code": 429, "message": "upstream"}}'), "rate_limit", True, 429),
}


@each_library
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_has_one_name_and_n_retries_are_n_plus_one_requests(library: str, fault: str) -> None:
    bad = FAULTS[fault]
    attempts: list[Attempt] = []
    with FakeLLM([bad.step]) as server:
        model = make_model(library, server.url, quick(retries=RETRIES, on_attempt=attempts.append))
        with pytest.raises(ModelError) as caught:
            await model.complete(ask())
        await model.close()
    error = caught.value
    expected = RETRIES + 1 if bad.again else 1
    assert (error.kind, error.retryable) == (bad.kind, bad.again), str(error)
    assert len(server.requests) == error.attempts == len(attempts) == expected
    assert [attempt.number for attempt in attempts] == list(range(1, expected + 1))
    assert {attempt.kind for attempt in attempts} == {bad.kind}
    assert str(error).startswith(f"{model.name}: ")
    if library == "openai":
        assert error.status == bad.status
    assert error.__context__ is None, "the library's error would come along with all its headers"


@each_library
@pytest.mark.parametrize("step", [Step(fault="stall"), Step("word " * 50, drip=0.02)], ids=["stall", "drip"])
async def test_a_deadline_ends_the_request_and_its_connection(library: str, step: Step) -> None:
    with FakeLLM([Step(), step]) as server:
        model = make_model(library, server.url, quick(retries=1))
        await model.complete(ask())  # what is loaded at the first call is no business of the deadline
        model._model._timeout = 0.3
        with pytest.raises(ModelError, match=r"no reply in time: 0\.3 s") as caught:
            await model.complete(ask())
        assert await asyncio.to_thread(server.wait_for_disconnects, 2)
        await model.close()
    assert caught.value.kind == "timeout"
    assert caught.value.attempts == 2
    assert len(server.requests) == 3


@each_library
async def test_a_good_reply_with_everything_in_it(library: str) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 7},
    }
    with FakeLLM([Step("good day", usage=usage)]) as server:
        model = make_model(library, server.url, price=Price(1.0, 10.0, 0.5))
        reply = await model.complete(ask())
        await model.close()
    assert (reply.text, reply.model, reply.finish, reply.attempts) == ("good day", "m", "stop", 1)
    assert reply.usage == Usage(100, 20, 60, 7)
    assert reply.cost_usd == pytest.approx((40 * 1.0 + 60 * 0.5 + 20 * 10.0) / 1e6)
    assert reply.latency > 0


@each_library
async def test_replies_that_are_odd_but_replies(library: str) -> None:
    null = {"choices": [{"message": {"role": "assistant", "content": None}, "finish_reason": "length"}], "model": "m"}
    steps = [
        Step(refusal="I will not"),
        Step(choices=3),
        Step(usage=None),
        Step(finish="content_filter"),
        Step("one two three"),
        Step(body=json.dumps(null)),
    ]
    with FakeLLM(steps) as server:
        model = make_model(library, server.url)
        replies = [await model.complete(ask(max_output_tokens=2)) for _ in steps]
        await model.close()
    assert [reply.finish for reply in replies] == ["refusal", "stop", "stop", "filter", "length", "length"]
    assert [reply.text for reply in replies] == ["I will not", "ok", "ok", "ok", "one two", ""]
    assert replies[2].usage is None
    assert replies[2].cost_usd is None
    assert len(server.requests) == len(steps)


@each_library
async def test_usage_beyond_the_cap_is_reported_as_it_is(library: str) -> None:
    request = ask(max_output_tokens=10)
    with FakeLLM([Step(usage={"prompt_tokens": 5, "completion_tokens": 5000, "total_tokens": 5005}), Step()]) as server:
        model = make_model(library, server.url)
        over, honest = [await model.complete(request) for _ in range(2)]
        await model.close()
    assert over.usage
    assert honest.usage
    assert upper_bound(request).exceeded_by(over.usage)
    assert not upper_bound(request).exceeded_by(honest.usage)


@each_library
async def test_only_what_is_set_is_sent(library: str) -> None:
    full = ChatRequest(
        (Message("system", "be brief"), Message("user", "now")), temperature=0.5, max_output_tokens=7, stop=("END",), seed=3, sample=9
    )
    with FakeLLM() as server:
        model = make_model(library, server.url)
        await model.complete(replace(full, temperature=None, max_output_tokens=None, stop=(), seed=None, purpose="test"))
        await model.complete(full)
        await model.close()
    plain, rich = (request.body for request in server.requests)
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "now"}]
    assert plain == {"model": "m", "messages": messages}
    assert rich == {"model": "m", "messages": messages, "temperature": 0.5, "max_tokens": 7, "stop": ["END"], "seed": 3}


@each_library
async def test_requests_run_side_by_side_and_a_cancelled_one_ends_its_connection(library: str) -> None:
    with FakeLLM(lambda received: Step(fault="stall") if "stall" in str(received.body) else Step(str(received.number))) as server:
        model = make_model(library, server.url)
        await model.complete(ask())
        stalled = asyncio.ensure_future(model.complete(ask("stall")))
        replies = await asyncio.gather(*(model.complete(ask()) for _ in range(20)))
        stalled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stalled
        assert await asyncio.to_thread(server.wait_for_disconnects, 1)
        await model.close()
        await model.close()
    assert len({reply.text for reply in replies}) == 20
    assert len(server.requests) == 22


@each_library
@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
async def test_retry_after_is_honoured(library: str, form: str) -> None:
    clock = FakeClock()
    headers = {
        "seconds": {"Retry-After": "7"},
        "date": {"Retry-After": formatdate(clock.time + 7, usegmt=True)},
        "milliseconds": {"Retry-After-Ms": "7000"},
    }[form]
    with FakeLLM([Step(status=429, headers=headers, times=2), Step(status=503, headers={"Retry-After": "900"}), Step()]) as server:
        model = make_model(library, server.url, quick(clock=clock.clock(), base=1e-9, longest_wait=60.0))
        reply = await model.complete(ask())
        await model.close()
    assert reply.attempts == 4
    second = 0.0 if form == "date" else 7.0  # by then the date has come
    assert clock.slept == pytest.approx([7.0, second, 60.0], abs=1e-6)


async def test_a_page_in_place_of_json_is_not_asked_for_again() -> None:
    with FakeLLM([Step(**PAGE)]) as server:
        model = make_model("openai", server.url)
        with pytest.raises(ModelError, match="text/html and not JSON; check the base URL") as caught:
            await model.complete(ask())
        await model.close()
    assert caught.value.kind == "malformed"
    assert len(server.requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    with FakeLLM() as other, FakeLLM([Step(status=307, headers={"Location": other.url + "/chat/completions"})]) as server:
        model = make_model("openai", server.url)
        with pytest.raises(ModelError, match="redirects to somewhere else"):
            await model.complete(ask())
        await model.close()
    assert (len(server.requests), len(other.requests)) == (1, 0)


async def test_a_body_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentopt.llm.client._LARGEST_BODY", 1000)
    with FakeLLM([Step("word " * 1000)]) as server:
        model = make_model("openai", server.url, quick(retries=0))
        with pytest.raises(ModelError, match="more than 1000 bytes") as caught:
            await model.complete(ask())
        await model.close()
    assert caught.value.kind == "malformed"


async def test_nobody_there() -> None:
    with FakeLLM() as server:
        url = server.url
    model = make_model("openai", url, quick(retries=2))
    with pytest.raises(ModelError, match="no connection") as caught:
        await model.complete(ask())
    await model.close()
    assert (caught.value.kind, caught.value.attempts) == ("connection", 3)


async def test_the_cap_has_the_name_that_the_server_knows() -> None:
    from agentopt.llm.client import OPENAI_URL, OpenAITransport
    from agentopt.llm.limits import Clock

    theirs = OpenAITransport("m", OPENAI_URL, "k", 1.0, Clock())
    ours = make_transport("openai", "http://127.0.0.1:1/v1")
    assert (theirs._cap, ours._cap) == ("max_completion_tokens", "max_tokens")
    await theirs.close()
    await ours.close()


async def test_a_fault_of_ours_stays_loud() -> None:
    with FakeLLM() as server:
        model = make_model("openai", server.url)
        model._model._model = object()
        with pytest.raises(TypeError, match="JSON serializable"):
            await model.complete(ask())
        await model.close()


async def test_a_timeout_below_the_library_is_a_timeout_too() -> None:
    import openai

    transport = make_transport("openai", "http://127.0.0.1:1/v1")
    assert transport._named(openai.APITimeoutError(request=None)).kind == "timeout"
    await transport.close()


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'agentopt\[litellm\]'"):
        make_transport("litellm", "http://127.0.0.1:1")
