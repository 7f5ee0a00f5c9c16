"""A DSPy program, an agent with a tool and a predictor, improved. Its model is a server on this machine that plays by a script."""

import json
import os
from tempfile import mkdtemp

os.environ.setdefault("DSPY_CACHEDIR", mkdtemp())
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy

import agentopt as ao
from agentopt.adapters.dspy import wrap
from agentopt.testing import FakeLLM, Step

PEOPLE = {"Rome": 2.8, "Oslo": 0.7, "Lima": 10.1, "Cairo": 10.2, "Paris": 2.1, "Tokyo": 14.0, "Quito": 2.0}
PEOPLE |= {"Delhi": 16.8, "Hanoi": 8.1, "Berlin": 3.7, "Dakar": 1.2, "Madrid": 3.3, "Seoul": 9.4, "Accra": 2.4}


class Cities(dspy.Module):
    """Looks up how many live in a city, and words what it found."""

    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> number", tools=[population], max_iters=3)
        self.word = dspy.Predict("question, number -> answer")

    def forward(self, question):
        return self.word(question=question, number=self.agent(question=question).number)


def population(city: str) -> float:
    """Says how many millions live in a city."""
    return PEOPLE[city]


def improve(base_url):
    dspy.configure(lm=dspy.LM("openai/small", api_base=base_url, api_key="none"))
    pipeline = wrap(Cities())
    rows = [{"question": f"How many live in {city}?", "answer": f"{people} million"} for city, people in PEOPLE.items()]
    score = lambda row, output: (output.answer == row["answer"], f"it should be {row['answer']}")  # noqa: E731
    result = ao.optimize(pipeline, rows, score, budget="300calls", model="openai:large", llm={"base_url": base_url})
    print(result.report())
    result.best.apply()
    print(pipeline(question="How many live in Rome?").answer)


def play(received):
    """What the server says: the small model leaves the unit out unless it is told to name it, and the large one tells it."""
    system, user = received.body["messages"][0]["content"], received.body["messages"][-1]["content"]
    if received.body["model"] == "large":
        return Step("<variable>\n<name>word_instructions</name>\n<value>\nAnswer with the number in millions.\n</value>\n</variable>")
    city = next(city for city in PEOPLE if city in user.partition("?")[0])
    if "next_tool_name" in system:
        name, given = ("finish", {}) if "observation_0" in user else ("population", {"city": city})
        return fields(next_thought="I look it up.", next_tool_name=name, next_tool_args=json.dumps(given))
    if "trajectory" in system:
        return fields(reasoning="I looked it up.", number=str(PEOPLE[city]))
    return fields(answer=f"{PEOPLE[city]} million" if "in millions" in system else f"It is {PEOPLE[city]}.")


def fields(**texts):
    return Step("".join(f"[[ ## {name} ## ]]\n{text}\n\n" for name, text in texts.items()) + "[[ ## completed ## ]]")


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with FakeLLM(play) as server:
        improve(server.url)
