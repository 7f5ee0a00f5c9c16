"""From Python: two agents of the OpenAI Agents SDK with a tool, improved in fifteen lines. Their model is a server on this machine."""

import os

from agents import Agent, OpenAIChatCompletionsModel, function_tool
from openai import AsyncOpenAI

import agentopt as ao
from agentopt.adapters.openai_agents import wrap
from agentopt.testing import FakeLLM, Step

CITIES = {"Paris": "France", "Lima": "Peru", "Oslo": "Norway", "Cairo": "Egypt", "Tokyo": "Japan", "Quito": "Ecuador", "Accra": "Ghana"}
CITIES |= {"Rome": "Italy", "Delhi": "India", "Hanoi": "Vietnam", "Berlin": "Germany", "Dakar": "Senegal", "Madrid": "Spain"}


@function_tool
def country_of(city: str) -> str:
    """Look up a city."""
    return CITIES[city]


def improve(client, base_url):
    model = OpenAIChatCompletionsModel("small", client)
    guide = Agent("Guide", instructions="Say in which country it is.", tools=[country_of], model=model)
    desk = Agent("Desk", instructions="Hand over to somebody who knows.", handoffs=[guide], model=model)

    pipeline = wrap(desk)
    data = [{"message": f"I was in {city} last week", "answer": country} for city, country in CITIES.items()]
    score = lambda row, output: (output == row["answer"], f"it should be {row['answer']}, and nothing else")  # noqa: E731
    result = ao.optimize(pipeline, data, score, budget="900calls", model="openai:large", llm={"base_url": base_url})
    result.best.apply()
    print(result.report())
    print(pipeline.run_sync("I was in Rome last week").final_output)


def play(received):
    """What the server says: as the small model it chats unless it is told not to, as the large one it tells it not to."""
    messages = received.body["messages"]
    if received.body["model"] == "large":
        text = "Say in which country it is. Answer with its name alone."
        return Step(f"<variable>\n<name>guide_instructions</name>\n<value>\n{text}\n</value>\n</variable>")
    told = messages[0]["content"]
    if "Hand over" in told:
        return Step(tool_calls=[{"name": "transfer_to_guide"}])
    if "assistant" in messages[-1]["content"]:
        city = next(city for city in CITIES if city in str(messages))
        return Step(tool_calls=[{"name": "country_of", "arguments": {"city": city}}])
    country = messages[-1]["content"]
    return Step(country if "alone" in told else f"The country is {country}.")


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with FakeLLM(play) as server:
        improve(AsyncOpenAI(base_url=server.url), server.url)
