"""A LangGraph graph, with a tool and two prompts, improved. Its model is a server on this machine that plays by a script."""

import os

from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import agentopt as ao
from agentopt.adapters.langgraph import wrap
from agentopt.testing import FakeLLM, Step

PEOPLE = {"Rome": 2.8, "Oslo": 0.7, "Lima": 10.1, "Cairo": 10.2, "Paris": 2.1, "Tokyo": 14.0, "Quito": 2.0}
PEOPLE |= {"Delhi": 16.8, "Hanoi": 8.1, "Berlin": 3.7, "Dakar": 1.2, "Madrid": 3.3, "Seoul": 9.4, "Accra": 2.4}

RESEARCH = ChatPromptTemplate.from_messages([("system", "Find the number with the tool."), ("placeholder", "{messages}")])
WORD = ChatPromptTemplate.from_messages([("system", "Write the answer."), ("user", "{question} It is {number}.")])


class State(MessagesState):
    question: str
    answer: str


@tool
def population(city: str) -> float:
    """Says how many millions live in a city."""
    return PEOPLE[city]


def cities(model):
    """The graph, as anybody would build it."""

    def research(state):
        chain = RESEARCH | model.bind_tools([population])
        return {"messages": [chain.invoke({"messages": [("user", state["question"]), *state["messages"]]})]}

    def word(state):
        given = {"question": state["question"], "number": state["messages"][-1].content}
        return {"answer": (WORD | model).invoke(given).content}

    builder = StateGraph(State).add_node(research).add_node("tools", ToolNode([population])).add_node(word)
    builder.add_edge(START, "research").add_conditional_edges("research", tools_condition, {"tools": "tools", END: "word"})
    return builder.add_edge("tools", "research").add_edge("word", END).compile()


def improve(base_url):
    pipeline = wrap(cities(ChatOpenAI(model="small", base_url=base_url)))
    rows = [{"question": f"How many live in {city}?", "answer": f"{people} million"} for city, people in PEOPLE.items()]
    score = lambda row, output: (output["answer"] == row["answer"], f"it should be {row['answer']}")  # noqa: E731
    result = ao.optimize(pipeline, rows, score, budget="300calls", model="openai:large", llm={"base_url": base_url})
    print(result.report())
    result.best.apply()
    print(pipeline(question="How many live in Rome?")["answer"])


def play(received):
    """What the server says: the small model leaves the unit out unless it is told to name it, and the large one tells it."""
    messages = received.body["messages"]
    if received.body["model"] == "large":
        return Step("<variable>\n<name>WORD_system</name>\n<value>\nAnswer with the number in millions.\n</value>\n</variable>")
    city = next(city for city in PEOPLE if city in messages[1]["content"])
    if "tools" in received.body and messages[-1]["role"] != "tool":
        return Step(tool_calls=[{"name": "population", "arguments": {"city": city}}])
    if "tools" in received.body:
        return Step(messages[-1]["content"])
    return Step(f"{PEOPLE[city]} million" if "in millions" in messages[0]["content"] else f"It is {PEOPLE[city]}.")


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with FakeLLM(play) as server:
        improve(server.url)
