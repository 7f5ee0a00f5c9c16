import asyncio
import gc
import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

from agentopt.core.errors import BudgetSpent, ConfigError
from agentopt.core.metering import METER, PRICES
from agentopt.testing import FakeLLM, Step
from agentopt.trace import openai_client
from agentopt.trace.clients import capture_clients, captured, refuse_unmetered
from agentopt.trace.flow import shown
from agentopt.trace.node import node
from agentopt.trace.params import Param, applied
from agentopt.trace.recorder import record
from agentopt.trace.traced import traced

KEY = "sk-never-in-a-node"
# openai 2 lets the HTTP library's own error through where a stream breaks
BROKEN = (openai.APIConnectionError, getattr(sys.modules.get("httpx"), "RemoteProtocolError", openai.APIConnectionError))
TOOLS = [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}}}]


@contextmanager
def looking():
    with capture_clients(), record() as trace:
        yield trace


@pytest.fixture
def opened():
    """Clients that are closed at the end."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def client_of(opened):
    def make(server, **options):
        return opened.enter_context(OpenAI(**{"base_url": server.url, "api_key": KEY, "max_retries": 0} | options))

    return make


def async_client_of(server):
    return AsyncOpenAI(base_url=server.url, api_key=KEY, max_retries=0)


def say(text):
    return [{"role": "user", "content": text}]


def rows(trace, kind="llm"):
    """As a graph shows them."""
    found = [row for row in trace.rows if row[1] == kind]
    return [(*row[:5], {role: shown(kept) for role, kept in (row[5] or {}).items()}, shown(row[6]), *row[7:]) for row in found]


def only(trace, kind="llm"):
    (row,) = rows(trace, kind)
    return row


# --- chat completions --------------------------------------------------------------------------------------------------


def test_a_call_is_a_node_with_what_was_said_and_what_it_took(client_of):
    with FakeLLM([Step("four words are here")]) as server, looking() as trace:
        reply = client_of(server).chat.completions.create(model="m", messages=say("how many?"), temperature=0.5)
    _, kind, name, span, args, kwargs, value, began, ended, meta, _ = only(trace)
    assert (kind, name, span, args) == ("llm", "m", -1, ())
    assert kwargs == {"messages": say("how many?")}
    assert value is reply.choices[0].message.content
    assert type(reply) is openai.types.chat.ChatCompletion
    assert (meta["tokens_in"], meta["tokens_out"], meta["finish"], meta["served_by"], meta["attempts"]) == (2, 4, "stop", "m", 1)
    assert meta["settings"] == {"temperature": 0.5}
    assert 0 < meta["latency"] == pytest.approx(ended - began, abs=1e-5)
    assert meta["cost_usd"] is None


def test_prices_are_handed_in(client_of):
    with FakeLLM([Step("a b")]) as server, looking() as trace:
        token = PRICES.set(lambda model, usage: usage.output_tokens * 0.5 if model == "openai-compatible:m" else None)
        try:
            client_of(server).chat.completions.create(model="m", messages=say("x"))
        finally:
            PRICES.reset(token)
    assert only(trace)[9]["cost_usd"] == 1.0


def test_it_is_inside_the_traced_call_that_made_it(client_of):
    with FakeLLM([Step("fine")]) as server, looking() as trace:

        @traced
        def ask(question):
            return client_of(server).chat.completions.create(model="m", messages=say(question)).choices[0].message.content

        ask("how?")
    assert only(trace)[3] == only(trace, "call")[0]
    assert only(trace)[6] is only(trace, "call")[6]


def test_parameters_leave_as_their_current_values_and_are_recorded_as_reads(client_of):
    system, limit = Param("Be brief.", "system"), Param(5, "limit")
    described = Param("adds", "description")
    tools = [{"type": "function", "function": {**TOOLS[0]["function"], "description": described}}]
    with FakeLLM() as server, looking() as trace, applied({"system": "Be long.", "limit": 7, "description": "multiplies"}):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": [{"type": "text", "text": system}]}]
        client_of(server).chat.completions.create(model="m", messages=messages, tools=tools, max_tokens=limit)
    sent = server.requests[0].body
    assert [sent["messages"][0]["content"], sent["messages"][1]["content"][0]["text"]] == ["Be long.", "Be long."]
    assert (sent["max_tokens"], sent["tools"][0]["function"]["description"]) == (7, "multiplies")
    assert messages[0]["content"] is system
    assert {(row[2].name, row[3]) for row in rows(trace, "param")} == {(p, only(trace)[0]) for p in ("system", "limit", "description")}
    assert only(trace)[5]["messages"][0]["content"] == "Be long."


def test_parameters_leave_without_a_record_too(client_of):
    with FakeLLM() as server, capture_clients(), applied({"p": "new"}):
        client_of(server).chat.completions.create(model=Param("m", "model"), messages=say(Param("old", "p")))
    assert server.requests[0].body == {"model": "m", "messages": say("new")}


def test_proxies_leave_as_their_values_too(client_of):
    with FakeLLM() as server, looking() as trace:
        client_of(server).chat.completions.create(model="m", messages=say(node("hello")), temperature=node(0.5))
    assert server.requests[0].body == {"model": "m", "messages": say("hello"), "temperature": 0.5}
    assert only(trace)[9]["settings"] == {"temperature": 0.5}


def test_what_one_call_said_reaches_the_next_in_the_graph(client_of):
    system = Param("Answer like a poet.", "system")
    with FakeLLM([Step("the first answer in full"), Step("the second answer")]) as server, looking() as trace:
        client = client_of(server)
        first = client.chat.completions.create(model="m", messages=[{"role": "system", "content": system}, *say("why?")])
        told = "Judge this text: " + first.choices[0].message.content
        client.responses.create(model="n", input=told)
    graph = trace.graph()
    one, two = graph.of_kind("llm")
    (read,) = graph.of_kind("param")
    assert read in graph.sources(one)
    assert one in graph.sources(two)
    assert graph[one].meta["tokens_out"] == 5
    assert (graph[two].name, graph[two].value) == ("n", "the second answer")


def test_tool_calls_are_the_value(client_of):
    call = {"name": "add", "arguments": {"a": 1}}
    with FakeLLM([Step(tool_calls=[call])]) as server, looking() as trace:
        client = client_of(server)
        client.chat.completions.create(model="m", messages=say("x"), tools=TOOLS)
        list(client.chat.completions.create(model="m", messages=say("x"), tools=TOOLS, stream=True))
    for row in rows(trace):
        assert row[6] == [{"name": "add", "arguments": '{"a": 1}'}]
        assert row[9]["finish"] == "tools"
        assert row[5]["tools"] == TOOLS


def test_several_samples_are_a_list(client_of):
    with FakeLLM([Step("one", choices=2)]) as server, looking() as trace:
        client_of(server).chat.completions.create(model="m", messages=say("x"), n=2)
    assert only(trace)[6] == ["one", "one"]


def test_a_cut_reply_and_a_refusal_say_so(client_of):
    with FakeLLM([Step("one two three"), Step(refusal="no")]) as server, looking() as trace:
        for _ in range(2):
            client_of(server).chat.completions.create(model="m", messages=say("x"), max_completion_tokens=2)
    assert [(row[6], row[9]["finish"]) for row in rows(trace)] == [("one two", "length"), ("no", "stop")]


def test_no_secret_is_in_a_node(client_of):
    with FakeLLM() as server, looking() as trace:
        client = client_of(server, default_headers={"X-Other": KEY})
        client.chat.completions.create(model="m", messages=say("x"), extra_headers={"X-Key": KEY}, extra_body={"own_key": KEY})
        tool = {"type": "mcp", "server_label": "s", "headers": {"Authorization": KEY}, "authorization": KEY, "extra": {1: "one"}}
        client.responses.create(model="m", input="x", tools=[tool])
    assert len(rows(trace)) == 2
    assert KEY not in repr(trace.rows)
    assert [request.body.get("own_key") for request in server.requests] == [KEY, None]


def test_the_users_errors_stay_theirs(client_of):
    with (
        FakeLLM([Step(status=429, error="slow down"), Step(status=500), Step(fault="reset"), Step(status=404)]) as server,
        looking() as trace,
    ):
        client, seen = client_of(server), []
        for expected in (openai.RateLimitError, openai.InternalServerError, openai.APIConnectionError, openai.NotFoundError):
            with pytest.raises(expected) as caught:
                client.chat.completions.create(model="m", messages=say("x"))
            seen.append(caught.value)
        with pytest.raises(TypeError):
            client.chat.completions.create(model="m")
    found = rows(trace, "exception")
    assert [row[6] for row in found] == seen
    assert [row[9]["error"] for row in found] == ["rate_limit", "server", "connection", "not_found"]
    assert [row[9].get("status") for row in found] == [429, 500, None, 404]


def test_other_errors_have_their_kinds(client_of):
    steps = [Step(status=400, code="context_length_exceeded"), Step(status=400, code="content_filter"), Step(fault="stall")]
    with FakeLLM(steps) as server, looking() as trace:
        for _ in range(2):
            with pytest.raises(openai.BadRequestError):
                client_of(server).chat.completions.create(model="m", messages=say("x"))
        with pytest.raises(openai.APITimeoutError):
            client_of(server, timeout=0.05).chat.completions.create(model="m", messages=say("x"))
    assert [row[9]["error"] for row in rows(trace, "exception")] == ["context_length", "content_filter", "timeout"]


def test_a_call_that_the_sdk_repeats_is_one_node(client_of):
    step = Step(status=500, headers={"retry-after-ms": "1"}, times=2)
    with FakeLLM([step, Step("at last")]) as server, looking() as trace:
        client = client_of(server, max_retries=3)
        client.chat.completions.create(model="m", messages=say("x"))
    assert len(server.requests) == 3
    assert (only(trace)[6], only(trace)[9]["attempts"]) == ("at last", 3)


def test_parse_and_raw_responses_keep_their_types(client_of):
    class Sum(BaseModel):
        total: int

    with FakeLLM([Step('{"total": 3}')]) as server, looking() as trace:
        client = client_of(server)
        parsed = client.chat.completions.parse(model="m", messages=say("x"), response_format=Sum)
        raw = client.chat.completions.with_raw_response.create(model="m", messages=say("x"))
        with client.chat.completions.with_streaming_response.create(model="m", messages=say("x")) as response:
            read = response.json()
    assert parsed.choices[0].message.parsed == Sum(total=3)
    assert raw.parse().choices[0].message.content == read["choices"][0]["message"]["content"] == '{"total": 3}'
    assert "content-type" in raw.headers
    assert [row[6] for row in rows(trace)] == ['{"total": 3}'] * 3
    assert [row[9]["tokens_in"] for row in rows(trace)] == [1] * 3


def test_what_was_bound_before_is_captured_too(client_of):
    with FakeLLM() as server:
        client = client_of(server)
        create, raw = client.chat.completions.create, client.chat.completions.with_raw_response.create
        with looking() as trace:
            create(model="m", messages=say("x"))
            raw(model="m", messages=say("x"))
        create(model="m", messages=say("x"))
    assert len(rows(trace)) == 2


def test_other_requests_are_left_alone(client_of):
    with FakeLLM() as server, looking() as trace:
        client = client_of(server)
        with pytest.raises(openai.BadRequestError):
            client.models.list()
        with pytest.raises(openai.BadRequestError):
            client.post("/chat/completions", cast_to=object, body=["no object"])
    assert trace.rows == []


def test_a_reply_that_is_no_json_is_kept_as_it_is(client_of):
    with FakeLLM([Step(body="<html>", content_type="text/html")]) as server, looking() as trace:
        raw = client_of(server).chat.completions.with_raw_response.create(model="m", messages=say("x"))
        assert raw.text == "<html>"
    assert (only(trace)[6], only(trace)[9]["complete"]) == ("<html>", False)


def test_azure_is_a_client_like_the_others(opened):
    with FakeLLM([Step("from azure")]) as server, looking() as trace:
        azure = AzureOpenAI(azure_endpoint=server.url, api_key=KEY, api_version="2024-06-01", max_retries=0)
        client = opened.enter_context(azure)
        assert client.chat.completions.create(model="gpt", messages=say("x")).choices[0].message.content == "from azure"
    assert "/deployments/gpt/" in server.requests[0].path
    assert (only(trace)[2], only(trace)[9]["provider"]) == ("gpt", "azure")


# --- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_a_node_when_it_ends(client_of):
    with FakeLLM([Step("one two three")]) as server, looking() as trace:
        stream = client_of(server).chat.completions.create(
            model="m", messages=say("x"), stream=True, stream_options={"include_usage": True}
        )
        assert type(stream) is openai.Stream
        assert rows(trace) == []
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == only(trace)[6] == "one two three"
    assert (only(trace)[9]["tokens_out"], only(trace)[9]["finish"], "complete" in only(trace)[9]) == (3, "stop", False)


@pytest.mark.parametrize("how", ["closed", "left", "dropped", "never read"])
def test_a_stream_that_is_left_early_is_a_node_all_the_same(client_of, how):
    with FakeLLM([Step("one two three four", drip=0.001)]) as server, looking() as trace:
        stream = client_of(server).chat.completions.create(model="m", messages=say("x"), stream=True)
        if how != "never read":
            next(chunk for chunk in stream if chunk.choices[0].delta.content)
        if how == "closed":
            stream.close()
        elif how == "left":
            with stream:
                next(iter(stream))
        del stream
        gc.collect()
    assert only(trace)[6] in ("", "one", "one two", "one two three")
    assert (only(trace)[9]["complete"], only(trace)[9]["finish"]) == (False, None)
    assert (only(trace)[6] == "") is (how == "never read")


def test_a_stream_that_breaks_says_so(client_of):
    with FakeLLM([Step("one two three", fault="cut")]) as server, looking() as trace, pytest.raises(BROKEN):
        list(client_of(server).chat.completions.create(model="m", messages=say("x"), stream=True))
    assert only(trace)[9]["error"] == "connection"
    assert only(trace)[9]["complete"] is False


def test_the_helpers_for_streams_and_raw_streams(client_of):
    with FakeLLM([Step("one two")]) as server, looking() as trace:
        client = client_of(server)
        with client.chat.completions.stream(model="m", messages=say("x")) as events:
            assert events.get_final_completion().choices[0].message.content == "one two"
        raw = client.chat.completions.with_raw_response.create(model="m", messages=say("x"), stream=True)
        assert len(list(raw.parse())) == 4
        with client.chat.completions.with_streaming_response.create(model="m", messages=say("x"), stream=True) as response:
            assert any("[DONE]" in line for line in response.iter_lines())
    assert [row[6] for row in rows(trace)] == ["one two"] * 3


async def test_async_calls_and_streams():
    with FakeLLM([*[Step("one two")] * 7, Step("one two", drip=0.001)]) as server, looking() as trace:
        client = async_client_of(server)
        replies = await asyncio.gather(*(client.chat.completions.create(model="m", messages=say(str(i))) for i in range(5)))
        assert {reply.choices[0].message.content for reply in replies} == {"one two"}
        stream = await client.chat.completions.create(model="m", messages=say("x"), stream=True)
        assert len([chunk async for chunk in stream]) == 4
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=say("x"))
        assert raw.parse().choices[0].message.content == "one two"
        left = await client.chat.completions.create(model="m", messages=say("x"), stream=True)
        async for _ in left:
            break
        await left.close()
        await client.close()
    assert sorted(row[5]["messages"][0]["content"] for row in rows(trace)) == ["0", "1", "2", "3", "4", "x", "x", "x"]
    assert rows(trace)[-1][9]["complete"] is False


async def test_async_errors_and_cancelled_calls():
    steps = [Step(status=500), Step("one two three", fault="cut"), Step(fault="stall")]
    with FakeLLM(steps) as server, looking() as trace:
        client = async_client_of(server)
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=say("x"))
        with pytest.raises(BROKEN):
            [_ async for _ in await client.chat.completions.create(model="m", messages=say("x"), stream=True)]
        call = asyncio.create_task(client.chat.completions.create(model="m", messages=say("x")))
        await asyncio.to_thread(server.wait_for_requests, 3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await client.close()
    assert [row[9]["error"] for row in rows(trace, "exception")] == ["server", "cancelled"]
    assert only(trace)[9]["error"] == "connection"


# --- other endpoints ---------------------------------------------------------------------------------------------------


def test_responses_and_their_streams(client_of):
    with FakeLLM([Step("one two three")]) as server, looking() as trace:
        client = client_of(server)
        reply = client.responses.create(model="m", instructions=Param("Be kind.", "kind"), input="hello")
        events = list(client.responses.create(model="m", input=say("hello"), stream=True))
        cut = client.responses.create(model="m", input="x", max_output_tokens=2)
    whole, streamed, short = rows(trace)
    assert reply.output_text == whole[6] == streamed[6] == "one two three"
    assert whole[5] == {"instructions": "Be kind.", "input": "hello"}
    assert whole[6] is reply.output[0].content[0].text
    assert [row[9]["tokens_out"] for row in (whole, streamed, short)] == [3, 3, 2]
    assert [row[9]["finish"] for row in (whole, streamed, short)] == ["stop", "stop", "length"]
    assert (events[-1].type, cut.status) == ("response.completed", "incomplete")


def test_a_stream_of_responses_that_is_left_early(client_of):
    with FakeLLM([Step("one two three", drip=0.0005)]) as server, looking() as trace:
        stream = client_of(server).responses.create(model="m", input="x", stream=True)
        next(event for event in stream if event.type == "response.output_text.delta")
        stream.close()
    assert only(trace)[6].startswith("one")
    assert only(trace)[9]["complete"] is False


def test_function_calls_of_responses(client_of):
    output = [
        {"type": "reasoning", "id": "r", "summary": []},
        {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "id": "f", "call_id": "c", "name": "add", "arguments": "{}"},
    ]
    body = json.dumps({"id": "r", "object": "response", "model": "m", "created_at": 0, "status": "completed", "output": output})
    with FakeLLM([Step(body=body)]) as server, looking() as trace:
        client_of(server).responses.create(model="m", input="x")
    assert only(trace)[6] == {"text": "no", "tool_calls": [{"name": "add", "arguments": "{}"}]}
    assert "tokens_in" not in only(trace)[9]


def test_embeddings_are_tools_and_old_completions_are_models(client_of):
    with FakeLLM([Step("one two")]) as server, looking() as trace:
        client = client_of(server)
        found = client.embeddings.create(model="e", input="a b c", encoding_format="float")
        text = client.completions.create(model="m", prompt="x")
        list(client.completions.create(model="m", prompt="x", stream=True))
    assert found.data[0].embedding == [0.25, -0.5]
    assert only(trace, "tool")[6] is found
    assert only(trace, "tool")[9]["tokens_in"] == 3
    assert [row[6] for row in rows(trace)] == [text.choices[0].text] * 2 == ["one two"] * 2


# --- in place and gone -------------------------------------------------------------------------------------------------


def test_hooks_are_in_place_while_anybody_captures():
    from openai._base_client import AsyncAPIClient, BaseClient, SyncAPIClient

    before = SyncAPIClient.request, AsyncAPIClient.request, BaseClient._build_request, list(sys.meta_path)
    assert captured() == ()
    with capture_clients():
        hooked = SyncAPIClient.request
        assert hooked is not before[0]
        with capture_clients():
            assert SyncAPIClient.request is hooked
        assert "openai" in captured()
        assert SyncAPIClient.request is hooked
    assert (SyncAPIClient.request, AsyncAPIClient.request, BaseClient._build_request, list(sys.meta_path)) == before
    assert captured() == ()


async def test_two_hundred_tasks_see_their_own_calls_alone():
    with FakeLLM() as server, capture_clients():
        client = async_client_of(server)

        async def one(i):
            with record() as trace:
                await client.chat.completions.create(model="m", messages=say(str(i)))
            return only(trace)[5]["messages"][0]["content"]

        assert await asyncio.gather(*map(one, range(200))) == [str(i) for i in range(200)]
        await client.close()


def test_a_client_that_comes_late_is_hooked_before_its_first_call():
    code = """
import sys
from agentopt.testing import FakeLLM
from agentopt.trace import openai_client
from agentopt.trace.clients import capture_clients, captured, refuse_unmetered
from agentopt.trace.recorder import record

assert not any(name.split(".")[0] in ("openai", "litellm") for name in sys.modules), "nothing of it is loaded by us"
with FakeLLM() as server, capture_clients(), record() as trace:
    assert captured() == ()
    import openai
    assert captured() == ("openai",)
    with openai.OpenAI(base_url=server.url, api_key="k") as client:
        client.chat.completions.create(model="m", messages=[])
assert [row[1] for row in trace.rows] == ["llm"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_budget_in_what_models_take_needs_a_client_that_is_seen(monkeypatch):
    refuse_unmetered({"evals": 5, "seconds": 3})
    with pytest.raises(
        ConfigError, match=r"budget: 5calls,\$2 counts what models take, and the workflow calls none through the openai SDK"
    ):
        refuse_unmetered({"evals": 5, "usd": 2.0, "calls": 5})
    with capture_clients():
        refuse_unmetered({"usd": 2.0})


class Counting:
    """A meter that refuses after ``most`` calls."""

    def __init__(self, cap=None, most=99):
        self.output_cap, self.most, self.seen = cap, most, []

    def begin(self, model, bound, request):
        if len(self.seen) >= self.most:
            raise BudgetSpent("no more")
        self.seen.append((model, bound, request["stream"]))
        return self

    async def abegin(self, model, bound, request):
        return self.begin(model, bound, request)

    def end(self, usage):
        self.seen[-1] += ("end", usage)

    def fail(self, kind, billed):
        self.seen[-1] += (kind, billed)


@contextmanager
def metered(meter):
    token = METER.set(meter)
    try:
        with capture_clients():
            yield meter
    finally:
        METER.reset(token)


@pytest.mark.parametrize(
    ("path", "asked", "cap"),
    [
        ("chat.completions", {"messages": say("x")}, "max_tokens"),
        ("responses", {"input": "x"}, "max_output_tokens"),
        ("completions", {"prompt": "x"}, "max_tokens"),
    ],
)
def test_a_request_without_a_cap_gets_the_meters(client_of, path, asked, cap):
    with FakeLLM([Step("a b c")]) as server, metered(Counting(cap=2)) as meter:
        client = client_of(server)
        for name in path.split("."):
            client = getattr(client, name)
        client.create(model="m", **asked)
        client.create(model="m", **asked, **{cap: 1})
    assert [request.body[cap] for request in server.requests] == [2, 1]
    assert [(bound.output_tokens, usage.output_tokens) for _, bound, _, _, usage in meter.seen] == [(2, 2), (1, 1)]
    assert all(usage.input_tokens <= bound.input_tokens for _, bound, _, _, usage in meter.seen)


def test_openais_own_address_gets_the_newer_cap_and_the_name_that_prices_have(client_of, monkeypatch):
    with FakeLLM() as server, metered(Counting(cap=2)) as meter:
        client = client_of(server)
        monkeypatch.setattr(openai_client, "_OWN", "127.0.0.1")
        client.chat.completions.create(model="m", messages=say("x"), n=3)
        client.embeddings.create(model="e", input="x")
    assert [model for model, *_ in meter.seen] == ["openai:m", "openai:e"]
    assert server.requests[0].body["max_completion_tokens"] == 2
    assert [bound.output_tokens for _, bound, *_ in meter.seen] == [6, 0]


def test_what_ends_a_call_is_told_to_the_meter(client_of):
    steps = [Step(status=429), Step(status=500), Step("a b", fault="cut"), Step("a b"), Step("a b")]
    with FakeLLM(steps) as server, metered(Counting(most=5)) as meter:
        chat = client_of(server).chat.completions
        for expected in (openai.RateLimitError, openai.InternalServerError):
            with pytest.raises(expected):
                chat.create(model="m", messages=say("x"))
        with pytest.raises(BROKEN):
            list(chat.create(model="m", messages=say("x"), stream=True))
        list(chat.create(model="m", messages=say("x"), stream=True))
        list(chat.create(model="m", messages=say("x"), stream=True, stream_options={"include_usage": True}))
        with pytest.raises(BudgetSpent):
            chat.create(model="m", messages=say("x"))
    assert len(server.requests) == 5
    ends = [seen[2:] for seen in meter.seen]
    assert ends[:4] == [(False, "rate_limit", False), (False, "server", True), (True, "connection", True), (True, "end", None)]
    assert ends[4][2].output_tokens == 2


async def test_an_awaited_call_is_metered_too():
    with FakeLLM() as server, metered(Counting(most=1)) as meter:
        async with async_client_of(server) as client:
            await client.chat.completions.create(model="m", messages=say("x"))
            with pytest.raises(BudgetSpent):
                await client.chat.completions.create(model="m", messages=say("x"))
    assert len(server.requests) == len(meter.seen) == 1
