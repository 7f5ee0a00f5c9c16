"""From Python: two agents of pydantic-ai with tools, improved in fifteen lines. Their model is a server on this machine."""

import os

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import agentopt as ao
from agentopt.adapters.pydantic_ai import wrap
from agentopt.testing import FakeLLM, Step

CITIES = {"Paris": "France", "Lima": "Peru", "Oslo": "Norway", "Cairo": "Egypt", "Tokyo": "Japan", "Quito": "Ecuador", "Accra": "Ghana"}
CITIES |= {"Rome": "Italy", "Delhi": "India", "Hanoi": "Vietnam", "Berlin": "Germany", "Dakar": "Senegal", "Madrid": "Spain"}


def country_of(city: str) -> str:
    """Look up a city."""
    return CITIES[city]


def improve(client, base_url):
    model = OpenAIChatModel("small", provider=OpenAIProvider(openai_client=client))
    guide = Agent(model, name="guide", instructions="Say in which country it is.", tools=[country_of])

    async def ask_guide(question: str) -> str:
        return (await guide.run(question)).output

    desk = Agent(model, name="desk", instructions="Ask somebody who knows.", tools=[ask_guide])

    pipeline = wrap(desk, agents=[guide])
    data = [{"message": f"I was in {city} last week", "answer": country} for city, country in CITIES.items()]
    score = lambda row, output: (output == row["answer"], f"it should be {row['answer']}, and nothing else")  # noqa: E731
    result = ao.optimize(pipeline, data, score, budget="900calls", model="openai:large", llm={"base_url": base_url})
    result.best.apply()
    print(result.report())
    print(pipeline.run_sync("I was in Rome last week").output)


def play(received):
    """What the server says: as the small model it chats unless it is told not to, as the large one it tells it not to."""
    messages = received.body["messages"]
    if received.body["model"] == "large":
        text = "Say in which country it is. Answer with its name alone."
        return Step(f"<variable>\n<name>guide_instructions</name>\n<value>\n{text}\n</value>\n</variable>")
    told, last = messages[0]["content"], messages[-1]["content"]
    if messages[-1]["role"] == "tool":
        return Step(last if "alone" in told or "Ask" in told else f"The country is {last}.")
    if "Ask" in told:
        return Step(tool_calls=[{"name": "ask_guide", "arguments": {"question": last}}])
    return Step(tool_calls=[{"name": "country_of", "arguments": {"city": next(city for city in CITIES if city in last)}}])


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with FakeLLM(play) as server:
        improve(AsyncOpenAI(base_url=server.url), server.url)
