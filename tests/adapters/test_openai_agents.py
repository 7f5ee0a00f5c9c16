"""Agents of the OpenAI Agents SDK as a workflow: texts as parameters, runs as traces, improved against a scripted server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("agents", reason="the extra openai-agents is not installed")

from agents import (
    Agent,
    AgentOutputSchema,
    ModelBehaviorError,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    function_tool,
    handoff,
)
from agents.tracing import get_trace_provider
from openai import APIStatusError, AsyncOpenAI
from pydantic import BaseModel, Field

import agentopt as ao
from agentopt.adapters import captured
from agentopt.adapters.openai_agents import wrap
from agentopt.core.errors import ConfigError, TaskError
from agentopt.testing import FakeLLM, Step
from agentopt.trace.params import applied
from agentopt.trace.recorder import record

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


def test_two_agents_and_a_tool_are_improved_and_stay_as_they_were(make_world: Callable[..., World]) -> None:
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
