"""litellm itself where it is installed, and a stand-in with its shape everywhere."""

import asyncio
import gc
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import pytest

from agentopt.core.metering import METER
from agentopt.testing import FakeLLM, Step
from agentopt.trace.clients import capture_clients, captured
from agentopt.trace.flow import shown
from agentopt.trace.params import Param
from agentopt.trace.recorder import record

KEY = "sk-never-in-a-node"


def rows(trace, kind="llm"):
    """As a graph shows them."""
    found = [row for row in trace.rows if row[1] == kind]
    return [(*row[:5], {role: shown(kept) for role, kept in (row[5] or {}).items()}, shown(row[6]), *row[7:]) for row in found]


def say(text):
    return [{"role": "user", "content": text}]


@contextmanager
def looking():
    with capture_clients(), record() as trace:
        yield trace


class Stream:
    """As litellm's, read either way."""

    def __init__(self, chunks):
        self._chunks = iter(chunks)

    def __iter__(self):
        return self

    def __aiter__(self):
        return self

    def __next__(self):
        return self._step(StopIteration)

    async def __anext__(self):
        return self._step(StopAsyncIteration)

    def _step(self, end):
        chunk = next(self._chunks, end)
        if chunk is end or isinstance(chunk, Exception):
            raise chunk
        return chunk


def chunk(text, finish=None):
    return SimpleNamespace(model="m", usage=None, choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


@pytest.fixture
def stand_in(monkeypatch):
    """Functions that answer at once; ``asked`` are the arguments they got, ``answer`` what they say next."""
    litellm, streaming = ModuleType("litellm"), ModuleType("litellm.litellm_core_utils.streaming_handler")
    user = ModuleType("a_users_module")
    asked, answers = [], []

    def completion(model, messages=(), **kwargs):
        asked.append({"model": model, "messages": messages, **kwargs})
        if isinstance(answers[0], Exception):
            raise answers.pop(0)
        return answers.pop(0)

    async def acompletion(model, messages=(), **kwargs):
        await asyncio.sleep(0)
        return litellm.completion(model, messages, **kwargs)

    def responses(input, model, **kwargs):
        return completion(model, input, **kwargs)

    litellm.completion, litellm.acompletion, litellm.responses = completion, acompletion, responses
    user.completion = completion
    streaming.CustomStreamWrapper = type("CustomStreamWrapper", (Stream,), {"__next__": Stream.__next__, "__anext__": Stream.__anext__})
    for name, module in {"litellm": litellm, streaming.__name__: streaming, "a_users_module": user}.items():
        monkeypatch.setitem(sys.modules, name, module)
    reply = {"model": "m-1", "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}
    reply["usage"] = {"prompt_tokens": 2, "completion_tokens": 1}
    return SimpleNamespace(litellm=litellm, user=user, asked=asked, answers=answers, reply=reply, stream=streaming.CustomStreamWrapper)


def test_its_functions_are_hooked_wherever_they_were_imported_to(stand_in):
    before = stand_in.user.completion
    stand_in.answers += [stand_in.reply] * 3
    with looking() as trace:
        assert "litellm" in captured()
        stand_in.user.completion("m", say(Param("hello", "p")), api_key=KEY, extra_headers={"k": KEY})
        stand_in.litellm.completion(model="m", messages=say("again"), max_tokens=4)
    assert stand_in.user.completion is before is stand_in.litellm.completion
    stand_in.litellm.completion(model="m", messages=[])
    first, second = rows(trace)
    assert (first[2], first[6], first[5]) == ("m", "fine", {"messages": say("hello")})
    assert (first[9]["provider"], first[9]["tokens_in"], second[9]["settings"]) == ("litellm", 2, {"max_tokens": 4})
    assert stand_in.asked[0]["messages"] == say("hello")
    assert stand_in.asked[0]["api_key"] == KEY not in repr(trace.rows)


async def test_a_call_inside_of_its_own_is_no_second_node(stand_in):
    stand_in.answers += [stand_in.reply, RuntimeError("no")]
    with looking() as trace:
        assert await stand_in.litellm.acompletion("m", say("x")) is stand_in.reply
        with pytest.raises(RuntimeError):
            await stand_in.litellm.acompletion("m", say("x"))
    assert len(rows(trace)) == len(rows(trace, "exception")) == 1


def test_streams_are_nodes_when_they_end_break_or_are_dropped(stand_in):
    parts = [chunk("one"), chunk(" two"), chunk("", "stop")]
    broken = type("ReadTimeout", (Exception,), {})()
    stand_in.answers += [stand_in.stream(parts), stand_in.stream([*parts[:1], broken]), stand_in.stream(parts), [1]]
    with looking() as trace:
        ask = stand_in.litellm.completion
        assert list(ask("m", say("x"), stream=True)) == parts
        with pytest.raises(type(broken)):
            list(ask("m", say("x"), stream=True))
        assert next(ask("m", say("x"), stream=True)) is parts[0]
        gc.collect()
        assert stand_in.litellm.responses("hello", "m", stream=True) == [1]
        assert list(stand_in.stream(parts)) == parts
    assert [row[6] for row in rows(trace)] == ["one two", "one", "one", ""]
    assert [row[9].get("complete", True) for row in rows(trace)] == [True, False, False, False]
    assert rows(trace)[1][9]["error"] == "timeout"


async def test_streams_that_are_awaited(stand_in):
    parts = [chunk("one"), chunk(" two"), chunk("", "stop")]
    stand_in.answers += [stand_in.stream(parts), stand_in.stream([ValueError("no")])]
    with looking() as trace:
        assert [part async for part in await stand_in.litellm.acompletion("m", say("x"), stream=True)] == parts
        with pytest.raises(ValueError, match="no"):
            [_ async for _ in await stand_in.litellm.acompletion("m", say("x"), stream=True)]
        assert [part async for part in stand_in.stream(parts)] == parts
    assert [(row[6], row[9].get("error")) for row in rows(trace)] == [("one two", None), ("", "other")]


def test_a_meter_puts_a_cap_in_and_is_paid(stand_in):
    ended = []

    class Meter:
        output_cap = 7

        def begin(self, model, bound, request):
            ended.append((model, bound.output_tokens, request["stream"]))
            return SimpleNamespace(end=ended.append, fail=lambda kind, billed: ended.append((kind, billed)))

    stand_in.answers += [stand_in.reply, RuntimeError("no")]
    token = METER.set(Meter())
    try:
        with capture_clients():
            stand_in.litellm.completion("m", say("x"))
            with pytest.raises(RuntimeError):
                stand_in.litellm.completion("m", say("x"), max_tokens=3)
    finally:
        METER.reset(token)
    assert stand_in.asked[0]["max_tokens"] == 7
    assert [ended[0], ended[1].input_tokens, *ended[2:]] == [("litellm:m", 7, False), 2, ("litellm:m", 3, False), ("other", True)]


def test_without_a_record_or_a_meter_only_parameters_are_replaced(stand_in):
    stand_in.answers += [stand_in.reply]
    with capture_clients():
        assert stand_in.litellm.completion("m", say(Param("p", "p"))) is stand_in.reply
    assert stand_in.asked[0]["messages"] == say("p")


# --- the real one ------------------------------------------------------------------------------------------------------


@pytest.fixture
def litellm(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return pytest.importorskip("litellm")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("provider", ["openai", "deepseek"])
async def test_real_calls_and_streams_of_two_providers(litellm, provider):
    steps = [Step("one two")] * 4 + [Step(status=429)]
    with FakeLLM(steps) as server, looking() as trace:
        options = {"model": f"{provider}/m", "messages": say(Param("hello", "p")), "api_base": server.url, "api_key": KEY, "num_retries": 0}
        reply = litellm.completion(**options)
        assert type(reply) is litellm.ModelResponse
        assert "".join(part.choices[0].delta.content or "" for part in litellm.completion(**options, stream=True)) == "one two"
        await litellm.acompletion(**options)
        assert len([part async for part in await litellm.acompletion(**options, stream=True)]) >= 2
        with pytest.raises(litellm.RateLimitError):
            litellm.completion(**options, max_retries=0)
    assert len(rows(trace)) == len(server.requests) - 1 == 4
    assert [row[6] for row in rows(trace)] == ["one two"] * 4
    assert [row[5]["messages"] for row in rows(trace)] == [say("hello")] * 4
    assert [row[9]["error"] for row in rows(trace, "exception")] == ["rate_limit"]
    assert rows(trace)[0][9]["tokens_out"] == 2
    assert KEY not in repr(trace.rows)
