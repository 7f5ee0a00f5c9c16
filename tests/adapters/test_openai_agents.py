"""Agents of the OpenAI Agents SDK as a workflow: texts as parameters, runs as traces, improved against a scripted server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("agents", reason="the extra openai-agents is not installed")

from agents import (
    Agent,
    Model,
    ModelBehaviorError,
    ModelResponse,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    Usage,
    function_tool,
    generation_span,
    handoff,
    set_trace_processors,
)
from openai import APIStatusError, AsyncOpenAI
from openai.types.responses import ResponseOutputMessage, ResponseOutputText
from pydantic import BaseModel, Field

import agentopt as ao
from agentopt.adapters import captured
from agentopt.adapters.openai_agents import wrap
from agentopt.core.errors import ConfigError, TaskError
from agentopt.testing import FakeLLM, Step
from agentopt.trace.params import applied
from agentopt.trace.recorder import record
from tests.house.source import ROOT, clean_environment

CITIES = {"Paris": "France", "Lima": "Peru", "Oslo": "Norway", "Cairo": "Egypt", "Tokyo": "Japan", "Quito": "Ecuador", "Accra": "Ghana"}
CITIES |= {"Rome": "Italy", "Delhi": "India", "Hanoi": "Vietnam", "Berlin": "Germany", "Dakar": "Senegal"}
DESK, GUIDE = "Hand over to somebody who knows.", "Say in which country it is."


@function_tool
def country_of(city: str) -> str:
    """Look up a city.

    Args:
        city: Its name in English.
    """
    return CITIES[city]


def play(received: Any) -> Step:
    """The desk hands over, the guide calls the tool and says what it got: alone, if it is told to."""
    body = received.body
    messages = body["messages"]
    if body["model"] == "large":
        return Step("<variable>\n<name>guide_instructions</name>\n<value>\nSay the country alone.\n</value>\n</variable>")
    told, last = messages[0]["content"], messages[-1]["content"]
    if told.startswith("Hand over"):
        return Step(tool_calls=[{"name": "transfer_to_guide"}])
    if messages[-1]["role"] == "user" or '"assistant"' in last:
        asked = next(message["content"] for message in messages if message["role"] == "user")
        city = next((city for city in CITIES if city in asked), "Atlantis")
        return Step(tool_calls=[{"name": "country_of", "arguments": {"city": city}}])
    return Step(last if "alone" in told else f"It is {last}!")


class World:
    """A server, a client of it, and two agents."""

    def __init__(self, server: FakeLLM) -> None:
        self.server = server
        self.client = AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0)
        self.model = OpenAIChatCompletionsModel("small", self.client)
        self.guide = Agent("Guide", instructions=GUIDE, tools=[country_of], model=self.model, handoff_description="Knows cities")
        self.desk = Agent("Desk", instructions=DESK, handoffs=[self.guide], model=self.model)

    def asked(self) -> list[Any]:
        return [request.body for request in self.server.requests]


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(script: Any = play) -> World:
        server = FakeLLM(script)
        server.__enter__()
        worlds.append(World(server))
        return worlds[-1]

    yield make
    for world in worlds:
        captured.wait_at_home(world.client.close())
        world.server.__exit__()


def rows_of(trace: Any) -> list[tuple[str, str, str]]:
    """(kind, name, name of what it is in) in the order of begins."""
    names = {row[0]: row[2] if isinstance(row[2], str) else row[2].name for row in trace.rows}
    return [(row[1], names[row[0]], names.get(row[3], "")) for row in sorted(trace.rows, key=lambda row: row[0])]


def look_of(agent: Agent[Any]) -> Any:
    """All that could have been changed of agents and what belongs to them."""
    shown = {name: value for name, value in vars(agent).items() if name not in ("tools", "handoffs")}
    tools = [dict(vars(tool)) | {"params_json_schema": json.dumps(tool.params_json_schema)} for tool in agent.tools]
    handoffs = [look_of(item) if isinstance(item, Agent) else dict(vars(item)) for item in agent.handoffs]
    return shown, tools, handoffs


def test_two_agents_and_a_tool_are_improved_and_stay_as_they_were(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    world = make_world()
    before = look_of(world.desk)
    pipeline = wrap(world.desk)
    data = [{"message": f"I was in {city}", "answer": country} for city, country in CITIES.items()]
    result = ao.optimize(
        pipeline,
        data,
        lambda row, output: (output == row["answer"], f"it should be {row['answer']}"),
        budget="400calls",
        model="openai:large",
        optimizer="optoprime",
        llm={"base_url": world.server.url},
    )
    assert result.best.values["guide_instructions"] == "Say the country alone."
    assert pipeline.run_sync("I was in Rome").final_output == "It is Italy!"
    result.best.apply()
    assert pipeline.run_sync("I was in Rome").final_output == "Italy"
    assert "guide_instructions" in result.report()
    assert look_of(world.desk) == before
    assert world.desk.handoffs == [world.guide]
    assert world.guide.instructions == GUIDE


def test_the_trace_has_agents_models_and_tools_where_they_belong(make_world: Callable[..., World]) -> None:
    world = make_world()
    pipeline = wrap(world.desk)
    with record() as trace:
        assert asyncio.run(pipeline("in Oslo")) == "It is Norway!"
    assert rows_of(trace) == [
        ("call", "Desk", ""),
        ("param", "guide_handoff", "Desk"),
        ("param", "desk_instructions", "Desk"),
        ("llm", "small", "Desk"),
        ("call", "handoff from Desk", "Desk"),
        ("param", "country_of_description", "handoff from Desk"),
        ("param", "country_of_city", "handoff from Desk"),
        ("call", "Guide", "Desk"),
        ("param", "guide_instructions", "Guide"),
        ("llm", "small", "Guide"),
        ("tool", "country_of", "Guide"),
        ("param", "guide_instructions", "Guide"),
        ("llm", "small", "Guide"),
    ]
    tool = next(row for row in trace.rows if row[1] == "tool")
    assert (tool[5], tool[6]) == ({"city": "Oslo"}, "Norway")
    models = [row for row in trace.rows if row[1] == "llm"]
    assert all(row[9]["tokens_in"] > 0 and row[9]["tokens_out"] > 0 and row[5]["messages"] for row in models)
    assert len(models) == len(world.server.requests)
    trace.backward(None, "wrong", 0.0)
    graph = trace.graph()
    kept = {graph.name(number) for number in graph.subgraph([graph.feedback[-1].target])}
    assert {"desk_instructions", "guide_instructions"} <= kept


class City(BaseModel):
    name: str = Field(description="In English.")


def test_every_text_can_be_replaced_and_is_chosen_by_pattern(make_world: Callable[..., World]) -> None:
    world = make_world()
    expert = Agent("Expert", instructions="Know.", model=world.model, output_type=City)
    helper = world.guide.as_tool("ask", "Ask somebody.")
    handed = handoff(expert, tool_description_override="Give it away.")
    boss = Agent("Boss", instructions="Lead.", model=world.model, tools=[helper], handoffs=[handed, world.guide])
    pipeline = wrap(boss)
    names = ["boss_instructions", "boss_transfer_to_expert", "expert_instructions", "expert_output_name"]
    names += ["guide_instructions", "guide_handoff", "ask_description", "country_of_description", "country_of_city"]
    assert [param.name for param in pipeline.params] == names
    values = {name: name.upper() for name in names}

    def everything(received: Any) -> Step:
        told = received.body["messages"][0]["content"]
        if "EXPERT" in told:
            return Step('{"name": "Oslo"}')
        if "GUIDE" in told:
            return Step("Norway")
        first = received.body["messages"][-1]["role"] == "user"
        return Step(tool_calls=[{"name": "ask", "arguments": {"input": "?"}} if first else {"name": "transfer_to_expert"}])

    world.server._script = everything
    with applied(values):
        assert pipeline.run_sync("x").final_output == City(name="Oslo")
    sent = str(world.asked())
    assert [value for value in values.values() if value not in sent] == []
    chosen = wrap(boss, params=["*_description"])
    assert [param.name for param in chosen.params] == ["ask_description", "country_of_description"]
    with pytest.raises(ConfigError, match=r"no parameter's name matches 'nothing\*'; the names are: boss_instructions, "):
        wrap(boss, params=["nothing*"])


def test_instructions_that_are_functions_and_texts_that_are_not_chosen_stay(make_world: Callable[..., World]) -> None:
    world = make_world([Step('{"name": "Oslo"}')])
    made = Agent("Made", instructions=lambda context, agent: "made up", model=world.model, tools=[country_of], output_type=City)
    pipeline = wrap(Agent("Fixed", instructions="fixed", model=world.model, handoffs=[made]), params=["country_of_city"])
    with applied({"fixed_instructions": "no", "made_output_name": "no"}):
        pipeline.run_sync("x")
        wrap(made, params=["country_of_city"]).run_sync("x")
    assert [request["messages"][0]["content"] for request in world.asked()] == ["fixed", "made up"]


async def test_runs_at_once_keep_apart(make_world: Callable[..., World]) -> None:
    world = make_world(lambda received: Step(received.body["messages"][0]["content"] + "|" + received.body["messages"][-1]["content"]))
    pipeline = wrap(Agent("echo", instructions="seed", model=world.model))

    async def one(number: int) -> tuple[str, list[Any]]:
        with applied({"echo_instructions": f"told {number}"}), record() as trace:
            return await pipeline(message=f"asked {number}"), rows_of(trace)

    for number, (output, rows) in enumerate(await asyncio.gather(*map(one, range(20)))):
        assert output == f"told {number}|asked {number}"
        assert rows == [("call", "echo", ""), ("param", "echo_instructions", "echo"), ("llm", "small", "echo")]


async def test_a_streamed_run_gives_events_and_the_same_trace(make_world: Callable[..., World]) -> None:
    pipeline = wrap(make_world().desk)
    with record() as trace:
        result = pipeline.run_streamed("in Lima")
        kinds = [event.type async for event in result.stream_events()]
    assert "agent_updated_stream_event" in kinds
    assert result.final_output == "It is Peru!"
    steps = [(kind, name) for kind, name, _ in rows_of(trace) if kind != "param"]
    assert steps[:4] == [("call", "Desk"), ("llm", "small"), ("call", "handoff from Desk"), ("call", "Guide")]
    assert steps[4:] == [("llm", "small"), ("tool", "country_of"), ("llm", "small")]
    result = pipeline.run_streamed("in Lima")
    result.cancel()
    with pytest.raises(KeyError, match="nobody"):
        async for _ in wrap(Agent("lost", instructions="x", model=_Lost())).run_streamed("x").stream_events():
            pass


class _Lost(Model):
    """A model without a client, which the SDK's spans know all the same."""

    def __init__(self, known: bool = False) -> None:
        self._known = known

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:
        with generation_span(input=[{"content": input}], model="lost") as span:
            if not self._known:
                span.set_error({"message": "gone", "data": None})
                raise KeyError("nobody")
            span.span_data.output = [{"content": "found"}]
            span.span_data.usage = {"input_tokens": 3, "output_tokens": 4}
            said = ResponseOutputText(text="found", type="output_text", annotations=[])
            message = ResponseOutputMessage(id="1", content=[said], role="assistant", status="completed", type="message")
            return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise KeyError("nobody")


def test_a_model_without_a_client_is_a_node_of_what_the_sdk_knows() -> None:
    with record() as trace:
        assert wrap(Agent("known", instructions="x", model=_Lost(known=True))).run_sync("hello").final_output == "found"
    row = next(row for row in trace.rows if row[1] == "llm")
    assert (row[2], row[9]) == ("lost", {"tokens_in": 3, "tokens_out": 4})
    with record() as trace, pytest.raises(KeyError, match="nobody"):
        wrap(Agent("lost", instructions="x", model=_Lost())).run_sync("hello")
    assert [(row[2], str(row[6])) for row in trace.rows if row[1] == "exception"] == [("lost", "gone"), ("lost", "'nobody'")]


def test_a_tool_that_fails_is_an_exception_node_and_the_run_goes_on(make_world: Callable[..., World]) -> None:
    pipeline = wrap(make_world().desk)
    with record() as trace:
        assert "error occurred" in pipeline.run_sync("nowhere").final_output
    failed = [row for row in trace.rows if row[1] == "exception"]
    assert [(row[2], row[5]) for row in failed] == [("country_of", {"city": "Atlantis"})]
    assert "Atlantis" in str(failed[0][6])


def test_a_tool_that_is_not_there_ends_the_run(make_world: Callable[..., World]) -> None:
    pipeline = wrap(make_world([Step(tool_calls=[{"name": "nothing", "arguments": {}}])]).guide)
    with record() as trace, pytest.raises(ModelBehaviorError, match="nothing not found"):
        pipeline.run_sync("in Oslo")
    assert [(row[1], row[2]) for row in trace.rows if row[1] != "param"] == [("llm", "small"), ("exception", "Guide")]


def test_a_model_that_refuses_is_an_exception_node(make_world: Callable[..., World]) -> None:
    pipeline = wrap(make_world([Step(status=400, error="no")]).guide)
    with record() as trace, pytest.raises(APIStatusError):
        pipeline.run_sync("in Oslo")
    assert [(row[1], row[2]) for row in trace.rows if row[1] != "param"] == [("exception", "small"), ("exception", "Guide")]


def test_an_agent_that_is_a_tool_reads_the_candidate_and_is_inside_of_it(make_world: Callable[..., World]) -> None:
    def ask(received: Any) -> Step:
        messages = received.body["messages"]
        if messages[0]["content"] == "Lead.":
            return Step(messages[-1]["content"] if messages[-1]["role"] == "tool" else "", tool_calls=_ASK if len(messages) == 2 else ())
        return Step(f"said by {messages[0]['content']}")

    world = make_world(ask)
    boss = Agent("Boss", instructions="Lead.", model=world.model, tools=[world.guide.as_tool("ask", "Ask.")])
    pipeline = wrap(boss)
    with record() as trace, applied({"guide_instructions": "somebody else"}):
        assert pipeline.run_sync("x").final_output == "said by somebody else"
    places = [(name, where) for kind, name, where in rows_of(trace) if kind in ("call", "tool")]
    assert places == [("Boss", ""), ("ask", "Boss"), ("Guide", "ask")]


_ASK = ({"name": "ask", "arguments": {"input": "?"}},)


class _Listener:
    """A trace processor of the user's."""

    def __init__(self) -> None:
        self.heard = 0

    def on_trace_start(self, trace: Any) -> None:
        self.heard += 1

    on_trace_end = on_span_start = on_span_end = on_trace_start

    def shutdown(self, timeout: float | None = None) -> None:
        """Nothing is kept."""

    force_flush = shutdown


def test_nothing_of_a_wrapped_run_is_sent_to_a_vendor_whatever_the_user_set(make_world: Callable[..., World]) -> None:
    world = make_world([Step("fine")])
    agent = Agent("a", instructions="x", model=world.model)
    pipeline = wrap(agent)
    listener = _Listener()
    set_trace_processors([listener])
    try:
        for config in (None, {"tracing_disabled": True}, RunConfig(tracing_disabled=True, trace_include_sensitive_data=False)):
            with record() as trace:
                pipeline.run_sync("x", run_config=config)
            assert [name for kind, name, _ in rows_of(trace) if kind == "call"] == ["a"]
        pipeline.run_sync("x")
        assert listener.heard == 0
        captured.wait_at_home(Runner.run(agent, "x"))
        assert listener.heard > 0
    finally:
        set_trace_processors([])


def test_a_function_that_runs_agents_is_a_workflow_too(make_world: Callable[..., World]) -> None:
    world = make_world()

    async def program(message: str) -> str:
        return (await Runner.run(world.guide, message)).final_output

    pipeline = wrap(program, agents=[world.guide], params=["guide_*"])
    with applied({"guide_instructions": "alone"}), record() as trace:
        assert asyncio.run(pipeline("in Lima")) == "Peru"
    assert [name for kind, name, _ in rows_of(trace) if kind == "call"] == ["Guide"]


def test_a_function_without_await_runs_agents_in_its_own_thread() -> None:
    read: list[str] = []

    class Reads(_Lost):
        async def get_response(self, system_instructions: Any, *args: Any, **kwargs: Any) -> ModelResponse:
            read.append(system_instructions)
            return await super().get_response(system_instructions, *args, **kwargs)

    agent = Agent("Other", instructions="x", model=Reads(known=True))
    pipeline = wrap(lambda message: Runner.run_sync(agent, message).final_output, agents=[agent])
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with applied({"other_instructions": "y"}):
            assert pipeline("hello") == "found"
        assert Runner.run_sync(agent, "hello").final_output == "found"
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert read == ["y", "x"]


def test_what_cannot_be_wrapped_is_said(make_world: Callable[..., World]) -> None:
    agent = Agent("a", instructions="x")
    with pytest.raises(TaskError, match=r"wrap\(\) takes an Agent, or a function"):
        wrap(len)
    with pytest.raises(TaskError, match=r"wrap\(\) takes an Agent, or a function"):
        wrap(3, agents=[agent])
    with pytest.raises(TaskError, match=r"agents has 3, which is no Agent"):
        wrap(len, agents=[3])
    with pytest.raises(TaskError, match=r"two agents are named 'a'; give each a name of its own"):
        wrap(Agent("b", handoffs=[agent, Agent("a", instructions="y")]))
    with pytest.raises(ConfigError, match=r"no text that could be improved"):
        wrap(Agent("mute"))
    with pytest.raises(TaskError, match=r"would both be the parameter 'country_of_description'"):
        wrap(Agent("b", tools=[country_of, function_tool(lambda city: city, name_override="country_of")]))
    with pytest.raises(TaskError, match=r"asked one thing, and the row gives question, hint"):
        asyncio.run(wrap(agent)(question="x", hint="y"))


def test_without_the_framework_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agents", None)
    with pytest.raises(ConfigError, match=r"agents is not installed; run: pip install 'agentopt\[openai-agents\]'"):
        wrap(len)


def test_the_example_says_what_it_should(tmp_path: Path) -> None:
    path = ROOT / "examples" / "adapters_openai_agents.py"
    body = path.read_text().partition("def improve(client, base_url):\n")[2].partition("\n\n\ndef play")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "score: 0 -> 1" in done.stdout
    assert done.stdout.endswith("\nItaly\n")
