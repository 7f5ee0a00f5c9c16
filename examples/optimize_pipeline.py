"""From Python: two agents in a row, improved in ten lines. Their model is a server on this machine that plays by a script."""

import os

import openai

import agentopt as ao
from agentopt.testing import FakeLLM, Step

CITIES = {"Paris": "France", "Lima": "Peru", "Oslo": "Norway", "Cairo": "Egypt", "Tokyo": "Japan", "Quito": "Ecuador", "Accra": "Ghana"}
CITIES |= {
    "Rome": "Italy",
    "Delhi": "India",
    "Hanoi": "Vietnam",
    "Berlin": "Germany",
    "Dakar": "Senegal",
    "Madrid": "Spain",
    "Seoul": "Korea",
}


def improve(client, base_url):
    extract = ao.param("Which city is this message about?", name="extract")
    answer = ao.param("In which country is it?", name="answer")

    @ao.traced
    def agent(instruction, text):
        reply = client.chat.completions.create(model="small", messages=[{"role": "user", "content": f"{instruction}\n{text}"}])
        return reply.choices[0].message.content

    def pipeline(message):
        """Name the country that a message is about."""
        return agent(answer, agent(extract, message))

    data = [{"message": f"I was in {city} last week", "answer": country} for city, country in CITIES.items()]
    score = lambda row, output: (output == row["answer"], f"it should be {row['answer']}, and nothing else")  # noqa: E731
    result = ao.optimize(pipeline, data, score, budget="300calls", model="openai:large", llm={"base_url": base_url})
    result.best.apply()
    print(result.report())
    print(pipeline("I was in Rome last week"))


def play(received):
    """What the server says: as the small model it chats unless it is told not to, as the large one it tells it not to."""
    text = received.body["messages"][-1]["content"]
    if received.body["model"] == "large":
        return Step("<variable>\n<name>answer</name>\n<value>\nIn which country is it? Answer with its name alone.\n</value>\n</variable>")
    city = next(city for city in CITIES if city in text)
    if "Which city" in text:
        return Step(f"That must be {city}, a lovely place.")
    return Step(CITIES[city] if "alone" in text else f"The country is {CITIES[city]}.")


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with FakeLLM(play) as server:
        improve(openai.OpenAI(base_url=server.url), server.url)
