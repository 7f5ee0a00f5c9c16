"""Agents of pydantic-ai as a workflow: texts as parameters, runs as traces, improved against a scripted server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra pydantic-ai is not installed")

from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.exceptions import ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

import agentopt as ao
from agentopt.adapters import captured
from agentopt.adapters.pydantic_ai import wrap
from agentopt.core.errors import ConfigError, TaskError
from agentopt.testing import FakeLLM, Step
from agentopt.trace.params import applied
from agentopt.trace.recorder import record
from tests.house.source import ROOT, clean_environment

CITIES = {"Paris": "France", "Lima": "Peru", "Oslo": "Norway", "Cairo": "Egypt", "Tokyo": "Japan", "Quito": "Ecuador", "Accra": "Ghana"}
CITIES |= {"Rome": "Italy", "Delhi": "India", "Hanoi": "Vietnam", "Berlin": "Germany", "Dakar": "Senegal"}
GUIDE = "Say in which country it is."


def country_of(city: str) -> str:
    """Look up a city.

    Args:
        city: Its name in English.
    """
    return CITIES[city]


def play(received: Any) -> Step:
    """The desk asks the guide, the guide calls the tool and says what it got: alone, if it is told to."""
    body = received.body
    messages = body["messages"]
    if body["model"] == "large":
        return Step("<variable>\n<name>guide_instructions</name>\n<value>\nSay the country alone.\n</value>\n</variable>")
    told, last = messages[0]["content"], messages[-1]["content"]
    if messages[-1]["role"] == "tool":
        return Step(last if "alone" in told or "desk" in told else f"It is {last}!")
    if "desk" in told:
        return Step(tool_calls=[{"name": "ask_guide", "arguments": {"question": last}}])
    city = next((city for city in CITIES if city in last), "Atlantis")
    return Step(tool_calls=[{"name": "country_of", "arguments": {"city": city}}])


class World:
    """A server, a client of it, and two agents, one of which is asked by a tool of the other."""

    def __init__(self, server: FakeLLM) -> None:
        self.server = server
        self.client = AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0)
        self.model = OpenAIChatModel("small", provider=OpenAIProvider(openai_client=self.client))
        self.guide = guide = Agent(self.model, name="guide", instructions=GUIDE, tools=[country_of])

        async def ask_guide(question: str) -> str:
            return (await guide.run(question)).output

        self.desk = Agent(self.model, name="Desk", system_prompt="You are a desk.", instructions="Ask.", tools=[ask_guide])


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


def look_of(agent: Any) -> Any:
    """All that could have been changed of an agent."""
    toolset = agent.toolsets[0]
    tools = {name: (id(tool), tool.description, repr(tool.function_schema.json_schema)) for name, tool in toolset.tools.items()}
    return repr(agent._instructions), agent._system_prompts, tools, repr(agent._effective_root_capability()), set(vars(agent))


def test_two_agents_and_tools_are_improved_and_stay_as_they_were(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    world = make_world()
    before = look_of(world.desk), look_of(world.guide)
    pipeline = wrap(world.desk, agents=[world.guide])
    data = [{"message": f"I was in {city}", "answer": country} for city, country in CITIES.items()]
    score = lambda row, output: (output == row["answer"], f"it should be {row['answer']}")  # noqa: E731
    more = {"optimizer": "optoprime", "llm": {"base_url": world.server.url}}
    result = ao.optimize(pipeline, data, score, budget="600calls", model="openai:large", **more)
    assert result.best.values["guide_instructions"] == "Say the country alone."
    assert pipeline.run_sync("I was in Rome").output == "It is Italy!"
    result.best.apply()
    assert pipeline.run_sync("I was in Rome").output == "Italy"
    assert "guide_instructions" in result.report()
    assert (look_of(world.desk), look_of(world.guide)) == before
    assert captured.wait_at_home(world.guide.run("Rome")).output == "It is Italy!"


def test_the_trace_has_agents_models_and_tools_where_they_belong(make_world: Callable[..., World]) -> None:
    world = make_world()
    pipeline = wrap(world.desk, agents=[world.guide])
    with record() as trace:
        assert asyncio.run(pipeline("in Oslo")) == "It is Norway!"
    steps = [row for row in rows_of(trace) if row[0] != "param"]
    assert steps == [
        ("call", "Desk", ""),
        ("llm", "small", "Desk"),
        ("tool", "ask_guide", "Desk"),
        ("call", "guide", "ask_guide"),
        ("llm", "small", "guide"),
        ("tool", "country_of", "guide"),
        ("llm", "small", "guide"),
        ("llm", "small", "Desk"),
    ]
    read = {(name, where) for kind, name, where in rows_of(trace) if kind == "param"}
    assert {("desk_system_prompt", "Desk"), ("desk_instructions", "Desk"), ("guide_instructions", "guide")} <= read
    assert ("country_of_city", "guide") in read
    tool = next(row for row in trace.rows if row[2] == "country_of")
    assert (tool[5], tool[6]) == ({"city": "Oslo"}, "Norway")
    models = [row for row in trace.rows if row[1] == "llm"]
    assert all(row[9]["tokens_in"] > 0 and row[9]["tokens_out"] > 0 and row[5]["messages"] for row in models)
    assert len(models) == len(world.server.requests)


def test_every_text_can_be_replaced_and_is_chosen_by_pattern(make_world: Callable[..., World]) -> None:
    class City(BaseModel):
        """A city."""

        name: str = Field(description="In English.")

    def answer(received: Any) -> Step:
        return Step(tool_calls=[{"name": "final_result", "arguments": {"name": "Oslo"}}])

    world = make_world(answer)
    agent = Agent(world.model, name="Finder", instructions=["Find.", "Be kind."], output_type=City, tools=[country_of])
    pipeline = wrap(agent)
    names = ["finder_instructions", "finder_instructions_2", "finder_final_result_description", "finder_final_result_name"]
    assert [param.name for param in pipeline.params] == [*names, "country_of_description", "country_of_city"]
    values = {param.name: param.name.upper() for param in pipeline.params}
    with applied(values):
        assert pipeline.run_sync("x").output == City(name="Oslo")
    sent = str(world.server.requests[-1].body)
    assert [value for value in values.values() if value not in sent] == []
    chosen = wrap(agent, params=["*_city", "*_2"])
    assert [param.name for param in chosen.params] == ["finder_instructions_2", "country_of_city"]
    with applied(values):
        chosen.run_sync("x")
    assert "FINDER_INSTRUCTIONS_2" in str(world.server.requests[-1].body)
    assert "Find." in str(world.server.requests[-1].body)
    with pytest.raises(ConfigError, match=r"no parameter's name matches 'nothing\*'; the names are: finder_instructions, "):
        wrap(agent, params=["nothing*"])


async def test_runs_at_once_keep_apart(make_world: Callable[..., World]) -> None:
    world = make_world(lambda received: Step(received.body["messages"][0]["content"] + "|" + received.body["messages"][-1]["content"]))
    pipeline = wrap(Agent(world.model, name="echo", instructions="seed"))

    async def one(number: int) -> tuple[str, list[Any]]:
        with applied({"echo_instructions": f"told {number}"}), record() as trace:
            return await pipeline(f"asked {number}"), rows_of(trace)

    for number, (output, rows) in enumerate(await asyncio.gather(*map(one, range(20)))):
        assert output == f"told {number}|asked {number}"
        assert rows == [("call", "echo", ""), ("param", "echo_instructions", "echo"), ("llm", "small", "echo")]


async def test_a_streamed_run_gives_events_and_the_same_trace(make_world: Callable[..., World]) -> None:
    world = make_world()
    pipeline = wrap(world.desk, agents=[world.guide])
    with record() as trace:
        events = [event async for event in pipeline.run_stream_events("in Lima")]
    assert events[-1].result.output == "It is Peru!"
    assert [kind for kind, _, _ in rows_of(trace) if kind != "param"] == ["call", "llm", "tool", "call", "llm", "tool", "llm", "llm"]
    assert all(row[9]["tokens_in"] for row in trace.rows if row[1] == "llm" and "tokens_in" in row[9])


async def test_a_stream_that_nobody_reads_to_its_end_is_given_up(make_world: Callable[..., World]) -> None:
    pipeline = wrap(make_world().desk)
    stream = pipeline.run_stream_events("in Lima")
    async for _ in stream:
        break
    await stream.aclose()
    assert (await pipeline.run("in Lima")).output


def test_a_tool_that_fails_is_an_exception_node_and_ends_the_run(make_world: Callable[..., World]) -> None:
    pipeline = wrap(make_world().guide)
    with record() as trace, pytest.raises(KeyError, match="Atlantis"):
        pipeline.run_sync("nowhere")
    failed = [row for row in trace.rows if row[1] == "exception"]
    assert [(row[2], type(row[6])) for row in failed] == [("country_of", KeyError), ("guide", KeyError)]
    assert failed[0][5] == {"city": "Atlantis"}


def test_arguments_that_do_not_fit_are_an_exception_of_the_tool(make_world: Callable[..., World]) -> None:
    steps = [Step(tool_calls=[{"name": "country_of", "arguments": {"town": "Oslo"}}]), Step("I give up.")]
    pipeline = wrap(make_world(steps).guide)
    with record() as trace:
        assert pipeline.run_sync("in Oslo").output == "I give up."
    assert [row[2] for row in trace.rows if row[1] == "exception"] == ["country_of"]
    assert pipeline.run_sync("in Oslo").output == "I give up."


def test_a_tool_that_is_not_there_and_one_that_wants_another_try(make_world: Callable[..., World]) -> None:
    steps = [Step(tool_calls=[{"name": "nothing", "arguments": {}}])]
    world = make_world(steps)
    with record() as trace, pytest.raises(UnexpectedModelBehavior):
        wrap(world.guide).run_sync("in Oslo")
    assert [row[2] for row in trace.rows if row[1] == "exception"][-1] == "guide"

    def picky(city: str) -> str:
        raise ModelRetry("say it otherwise")

    agent = Agent(world.model, name="picky", tools=[picky])
    asked = make_world([Step(tool_calls=[{"name": "picky", "arguments": {"city": "Oslo"}}]), Step("so be it")])
    with record() as trace, agent.override(model=asked.model):
        assert wrap(agent).run_sync("in Oslo").output == "so be it"
    assert [(row[1], row[2]) for row in trace.rows if row[1] == "exception"] == [("exception", "picky")]


def test_a_model_that_refuses_is_an_exception_node(make_world: Callable[..., World]) -> None:
    pipeline = wrap(make_world([Step(status=400, error="no")]).guide)
    with record() as trace, pytest.raises(ModelHTTPError):
        pipeline.run_sync("in Oslo")
    assert [(row[1], row[2]) for row in trace.rows if row[1] != "param"] == [("exception", "small"), ("exception", "guide")]


def test_a_model_without_a_client_is_a_node_of_what_the_framework_knows() -> None:
    pipeline = wrap(Agent(TestModel(), name="local", instructions="x", tools=[country_of]))
    with record() as trace, pytest.raises(KeyError):
        pipeline.run_sync("hello")
    model = next(row for row in trace.rows if row[1] == "llm")
    assert model[6].copy == [{"name": "country_of", "arguments": {"city": "a"}}]
    assert model[9]["tokens_in"] > 0

    def broken(messages: Any, info: Any) -> Any:
        raise OSError("the line is dead")

    with record() as trace, pytest.raises(OSError, match="dead"):
        wrap(Agent(FunctionModel(broken), name="broken", instructions="x")).run_sync("hello")
    assert [type(row[6]) for row in trace.rows if row[1] == "exception"] == [OSError, OSError]


def test_a_function_that_runs_agents_is_a_workflow_too(make_world: Callable[..., World]) -> None:
    world = make_world()

    async def twice(message: str) -> str:
        first = await world.desk.run(message)
        return (await world.guide.run(first.output.replace("Peru", "Lima"))).output

    pipeline = wrap(twice, agents=[world.desk, world.guide], params=["guide_*"])
    assert [param.name for param in pipeline.params] == ["guide_instructions"]
    with applied({"guide_instructions": "alone"}), record() as trace:
        assert asyncio.run(pipeline("in Lima")) == "Peru"
    assert [name for kind, name, _ in rows_of(trace) if kind == "call"] == ["Desk", "guide", "guide"]
    plain = wrap(lambda message: message, agents=[world.guide])
    assert plain("as it was") == "as it was"


def test_what_cannot_be_wrapped_is_said(make_world: Callable[..., World]) -> None:
    agent = Agent(TestModel(), name="a", instructions="x")
    with pytest.raises(TaskError, match=r"wrap\(\) takes an Agent, or a function"):
        wrap(len)
    with pytest.raises(TaskError, match=r"agents has 3, which is no Agent"):
        wrap(len, agents=[3])
    with pytest.raises(TaskError, match=r"has no name; give it one"):
        wrap(Agent(TestModel(), instructions="x"))
    with pytest.raises(TaskError, match=r"two agents are named 'a'; give each a name of its own"):
        wrap(agent, agents=[Agent(TestModel(), name="a", instructions="y")])
    with pytest.raises(ConfigError, match=r"no text that could be improved"):
        wrap(Agent(TestModel(), name="mute"))
    with pytest.raises(TaskError, match=r"asked one thing, and the row gives question, hint"):
        asyncio.run(wrap(agent)(question="x", hint="y"))


async def test_run_sync_in_a_loop_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="await the workflow instead"):
        wrap(Agent(TestModel(), name="a", instructions="x")).run_sync("x")


def test_without_the_framework_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    with pytest.raises(ConfigError, match=r"pydantic_ai is not installed; run: pip install 'agentopt\[pydantic-ai\]'"):
        wrap(len)


def test_the_example_says_what_it_should(tmp_path: Path) -> None:
    path = ROOT / "examples" / "adapters_pydantic_ai.py"
    body = path.read_text().partition("    pipeline = wrap(")[2].partition("\n\n\ndef play")[0]
    assert len(body.splitlines()) <= 15
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "score: 0 -> 1" in done.stdout
    assert done.stdout.endswith("\nItaly\n")
