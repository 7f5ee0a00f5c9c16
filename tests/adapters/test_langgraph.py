"""LangGraph graphs: their prompts and tools are parameters, and the graph stays as it is."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("langgraph.graph", reason="LangGraph is not installed")
openai_models: Any = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")

from langchain_core.caches import InMemoryCache  # noqa: E402
from langchain_core.globals import set_llm_cache  # noqa: E402
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel  # noqa: E402
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage  # noqa: E402
from langchain_core.prompts import ChatPromptTemplate  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from langgraph.checkpoint.memory import InMemorySaver  # noqa: E402
from langgraph.graph import END, START, StateGraph  # noqa: E402
from langgraph.graph.message import add_messages  # noqa: E402
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition  # noqa: E402
from langgraph.runtime import Runtime  # noqa: E402

import agentopt as ao  # noqa: E402
from agentopt.adapters.langgraph import wrap  # noqa: E402
from agentopt.core.errors import ConfigError, TaskError  # noqa: E402
from agentopt.testing import FakeLLM, ScriptedModel, Step  # noqa: E402
from agentopt.trace.params import Param, applied  # noqa: E402
from agentopt.trace.recorder import record  # noqa: E402

# create_react_agent says that it moves to another package; checkpoints warn of what they will do later
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CITIES = {"Rome": "2.8", "Oslo": "0.7", "Lima": "10.1"}
LOOK_UP = SystemMessage("Find the number with the tool.")
WORD = ChatPromptTemplate.from_messages([("system", "Write the answer in {language}."), ("human", "{question}\nIt is {found}.")])


@tool(parse_docstring=True)
def population(city: str) -> str:
    """Knows how many live there.

    Args:
        city: Its name.
    """
    return CITIES[city]


class State(TypedDict):
    question: str
    messages: Annotated[list, add_messages]
    answer: str


def build(url: str, handle: bool = True, **options: Any) -> Any:
    model = openai_models.ChatOpenAI(model="fake", base_url=url, api_key="none", max_retries=0)
    bound = model.bind_tools([population])

    def research(state: State) -> Any:
        return {"messages": [bound.invoke([LOOK_UP, HumanMessage(state["question"]), *state["messages"]])]}

    async def aresearch(state: State) -> Any:
        return {"messages": [await bound.ainvoke([LOOK_UP, HumanMessage(state["question"]), *state["messages"]])]}

    def word(state: State) -> Any:
        given = {"language": "English", "question": state["question"], "found": state["messages"][-1].content}
        return {"answer": (WORD | model).invoke(given).content}

    from langchain_core.runnables import RunnableLambda

    builder = StateGraph(State)
    builder.add_node("research", RunnableLambda(research, aresearch, name="research"))
    builder.add_node("tools", ToolNode([population], handle_tool_errors=handle))
    builder.add_node("word", word)
    builder.add_edge(START, "research")
    builder.add_conditional_edges("research", tools_condition, {"tools": "tools", END: "word"})
    builder.add_edge("tools", "research")
    builder.add_edge("word", END)
    return builder.compile(**options)


def serve(received) -> Step:
    """A model that says the unit only if its system message asks for it, and looks up what is asked."""
    messages = received.body["messages"]
    city = next((name for name in [*CITIES, "Atlantis"] if name in json.dumps(messages)), "Rome")
    if received.body.get("tools"):
        if messages[-1]["role"] == "tool":
            return Step(messages[-1]["content"])
        return Step(tool_calls=[{"name": "population", "arguments": {"city": city}}])
    number = messages[-1]["content"].partition("It is ")[2].rstrip(".")
    return Step(f"{number} million" if "MILLIONS" in messages[0]["content"] else number)


@pytest.fixture
def server():
    with FakeLLM(serve) as running:
        yield running


ROWS = [{"question": f"How many live in {city}? ({number})", "answer": f"{CITIES[city]} million"} for number in range(2) for city in CITIES]
NAMES = ["LOOK_UP", "tool_population", "tool_population_city", "WORD_system", "WORD_human"]


def test_a_graph_is_improved_and_stays_as_it_was(server):
    graph = build(server.url)
    before = (population.description, LOOK_UP.content, WORD.messages[0].prompt.template)
    reply = "<variable>\n<name>WORD_system</name>\n<value>Write the answer in {language}, in MILLIONS.</value>\n</variable>"
    pipeline = wrap(graph, params=["WORD_system", "LOOK_UP", "tool_*"])
    result = ao.optimize(
        pipeline,
        ROWS,
        lambda row, output: (float(output["answer"] == row["answer"]), "the unit is missing"),
        budget="24evals",
        optimizer="optoprime",
        model=ScriptedModel(lambda request: reply),
        workers=2,
    )
    assert result.result.best.scores["score"] == 1.0
    assert (population.description, LOOK_UP.content, WORD.messages[0].prompt.template) == before
    question = {"question": ROWS[0]["question"]}
    assert graph.invoke(question)["answer"] == "2.8"
    result.best.apply()
    assert pipeline(**question)["answer"] == pipeline.invoke(question)["answer"] == "2.8 million"
    assert graph.invoke(question)["answer"] == "2.8"


def test_every_text_that_can_be_found_is_a_parameter(server):
    graph = build(server.url)
    pipeline = wrap(graph)
    assert sorted(pipeline.params) == sorted(NAMES)
    values = {name: f"NEW {name}" for name in NAMES[:3]} | {"WORD_system": "NEW {language}", "WORD_human": "NEW {question} {found}"}
    with applied(values):
        pipeline(question="How many live in Oslo?")
    bodies = [request.body for request in server.requests]
    assert bodies[0]["messages"][0]["content"] == "NEW LOOK_UP"
    function = bodies[0]["tools"][0]["function"]
    assert function["description"] == "NEW tool_population"
    assert function["parameters"]["properties"]["city"]["description"] == "NEW tool_population_city"
    assert [message["content"] for message in bodies[-1]["messages"]] == ["NEW English", "NEW How many live in Oslo? 0.7"]
    plain = len(bodies)
    graph.invoke({"question": "How many live in Oslo?"})
    with applied({}):
        pipeline(question="How many live in Oslo?")
    again = [request.body for request in server.requests[plain:]]
    strip = lambda body: json.dumps(body).replace('"call_0"', "")  # noqa: E731
    assert [strip(body) for body in again[: len(again) // 2]] == [strip(body) for body in again[len(again) // 2 :]]


def test_a_template_keeps_its_variables():
    parameter = wrap(build("http://127.0.0.1:9/v1")).params["WORD_system"].parameter()
    assert parameter.project("Now in {language}.") == "Now in {language}."
    with pytest.raises(ValueError, match=r"has the variables \['tongue'\] where it needs \['language'\]"):
        parameter.project("In {tongue}.")


def test_what_cannot_be_wrapped(server):
    graph = build(server.url)
    with pytest.raises(TaskError, match="give a compiled graph"):
        wrap(len)
    with pytest.raises(TaskError, match="matches no parameter; there are: "):
        wrap(graph, params=["nothing"])
    with pytest.raises(TaskError, match="would both be the parameter 'tool_population'"):
        wrap(graph, texts={"tool_population": "Something else."})

    @tool("population")
    def other(city: str) -> str:
        """Another tool of that name."""
        return city

    builder = StateGraph(State)
    builder.add_node("one", ToolNode([population]))
    builder.add_node("two", ToolNode([other]))
    builder.add_edge(START, "one")
    with pytest.raises(TaskError, match="would both be the parameter 'tool_population'"):
        wrap(builder.compile())


def test_without_langgraph_the_command_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "langgraph.pregel", None)
    with pytest.raises(ConfigError, match="pip install"):
        wrap(object())


def test_prebuilt_agents_and_graphs_inside_of_graphs(server):
    model = openai_models.ChatOpenAI(model="fake", base_url=server.url, api_key="none", max_retries=0)
    agent = create_react_agent(model, [population], prompt="Use the tool.", name="helper")
    builder = StateGraph(State)
    builder.add_node("helper", agent)
    builder.add_edge(START, "helper")
    pipeline = wrap(builder.compile())
    assert sorted(pipeline.params) == ["helper_agent_prompt", "tool_population", "tool_population_city"]
    with applied({"helper_agent_prompt": "NEW"}), record() as trace:
        found = pipeline({"messages": [("user", "How many live in Lima?")]})
    assert found["messages"][-1].content == "10.1"
    assert server.requests[0].body["messages"][0] == {"role": "system", "content": "NEW"}
    graph = trace.graph()
    spans = [(graph.kind(number), graph.name(number), graph.name(graph.span(number))) for number in range(len(graph))]
    assert [row for row in spans if row[0] == "llm"] == [("llm", "fake", "agent")] * 2
    assert ("call", "agent", "helper") in spans or ("call", "helper", "helper") in spans


def nested(trace) -> list[tuple[str, str, str]]:
    graph = trace.graph()
    return [
        (graph.kind(number), graph.name(number), graph.name(graph.span(number)) if graph.span(number) >= 0 else "")
        for number in range(len(graph))
        if graph.kind(number) != "param"
    ]


EXPECTED = [
    ("call", "LangGraph", ""),
    ("call", "research", "LangGraph"),
    ("llm", "fake", "research"),
    ("call", "tools", "LangGraph"),
    ("tool", "population", "tools"),
    ("call", "research", "LangGraph"),
    ("llm", "fake", "research"),
    ("call", "word", "LangGraph"),
    ("llm", "fake", "word"),
]


def test_the_trace_is_nested_and_has_tokens(server):
    pipeline = wrap(build(server.url))
    with record() as trace:
        pipeline(question="How many live in Oslo?")
    assert nested(trace) == EXPECTED
    graph = trace.graph()
    assert all(graph[number].meta["tokens_in"] and graph[number].meta["tokens_out"] for number in graph.of_kind("llm"))
    assert {graph.name(number) for number in graph.of_kind("param")} == set(NAMES)


async def test_async_runs_are_recorded_alike(server):
    pipeline = wrap(build(server.url))
    with record() as trace:
        assert (await pipeline.ainvoke(question="How many live in Oslo?"))["answer"] == "0.7"
        assert (await pipeline.ainvoke({"question": "How many live in Oslo?"}))["answer"] == "0.7"
    assert nested(trace) == EXPECTED * 2


def test_a_tool_that_fails_is_a_node(server):
    with record() as trace:
        wrap(build(server.url))(question="How many live in Atlantis?")
    assert ("exception", "population", "tools") in nested(trace)
    with record() as trace, pytest.raises(KeyError):
        wrap(build(server.url, handle=False))(question="How many live in Atlantis?")
    assert [row[:2] for row in nested(trace) if row[0] == "exception"] == [
        ("exception", "LangGraph"),
        ("exception", "tools"),
        ("exception", "population"),
    ]


def test_a_model_that_fails_raises_what_it_raises_without_us():
    with FakeLLM([Step(status=400, error="no")]) as broken:
        graph = build(broken.url)
        with pytest.raises(Exception, match="no") as plain:
            graph.invoke({"question": "q"})
        with record() as trace, pytest.raises(type(plain.value), match="no"):
            wrap(graph)(question="q")
    assert nested(trace) == [("exception", "LangGraph", ""), ("exception", "research", "LangGraph"), ("exception", "fake", "research")]


def texts(number: int) -> dict[str, str]:
    return {"WORD_system": f"{{language}} MILLIONS {number}" if number % 2 else f"{{language}} {number}"}


def test_twenty_candidates_at_once_in_threads(server):
    pipeline = wrap(build(server.url))

    def one(number):
        with applied(texts(number)), record() as trace:
            return pipeline(question="How many live in Lima?")["answer"], len(trace.rows)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(one, range(20)))
    rows = {count for _, count in found}
    assert [answer for answer, _ in found] == ["10.1 million" if number % 2 else "10.1" for number in range(20)]
    assert len(rows) == 1


async def test_twenty_candidates_at_once_in_tasks(server):
    pipeline = wrap(build(server.url))

    async def one(number):
        with applied(texts(number)), record() as trace:
            answer = (await pipeline.ainvoke({"question": "How many live in Lima?"}))["answer"]
        return answer, nested(trace) == EXPECTED

    found = await asyncio.gather(*(one(number) for number in range(20)))
    assert found == [("10.1 million" if number % 2 else "10.1", True) for number in range(20)]


async def test_streams_have_the_values_and_leave_the_consumer_alone(server):
    pipeline = wrap(build(server.url))
    question = {"question": "How many live in Lima?"}
    with applied(texts(1)), record() as trace:
        steps = []
        for step in pipeline.stream(question, stream_mode="updates"):
            steps.append(step)
            with record(False):
                assert "MILLIONS" not in WORD.format(language="", question="", found="")
    assert steps[-1]["word"]["answer"] == "10.1 million"
    assert nested(trace) == EXPECTED
    with applied(texts(1)), record() as trace:
        pieces = [piece async for piece in pipeline.astream(question, stream_mode="messages")]
    assert "".join(piece.content for piece, about in pieces if about["langgraph_node"] == "word") == "10.1 million"
    assert len([row for row in nested(trace) if row[0] == "llm"]) == 3


async def test_a_stream_that_is_left_early_is_closed(server):
    pipeline = wrap(build(server.url))
    stream = pipeline.stream({"question": "q"})
    next(stream)
    stream.close()
    later = pipeline.astream({"question": "q"})
    await anext(later)
    await later.aclose()
    assert WORD.format(language="a", question="b", found="c").startswith("System: Write the answer in a.")


def test_texts_that_are_given(server):
    model = openai_models.ChatOpenAI(model="fake", base_url=server.url, api_key="none", max_retries=0)
    tail = Param("Be short.", "tail")

    def ask(state: State, config, runtime: Runtime) -> Any:
        said = f"{runtime.context['voice']} {config['configurable']['place']} {tail}"
        return {"messages": [model.invoke([("system", "Plain text."), ("system", said), ("user", state["question"])])]}

    builder = StateGraph(State, context_schema=dict)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    pipeline = wrap(
        builder.compile(),
        texts={"plain": "Plain text."},
        context={"voice": "Be kind.", "level": 3},
        configurable={"place": "Here."},
    )
    assert sorted(pipeline.params) == ["place", "plain", "voice"]
    values = {"plain": "A.", "voice": "B.", "place": "C.", "tail": "D."}
    with applied(values):
        pipeline(question="q")
        pipeline.invoke({"question": "q"}, {"configurable": {"place": "X."}}, context={"voice": "Y."})
    told = [[message["content"] for message in request.body["messages"]][:2] for request in server.requests]
    assert told == [["A.", "B. C. D."], ["A.", "Y. X. D."]]


def test_caches_and_threads_of_checkpoints_are_not_shared(server):
    pipeline = wrap(build(server.url, checkpointer=InMemorySaver()))
    set_llm_cache(InMemoryCache())
    try:
        found = [pipeline(question="How many live in Rome?") for _ in range(2)]
    finally:
        set_llm_cache(None)
    assert len(server.requests) == 6
    assert [len(state["messages"]) for state in found] == [3, 3]


async def test_a_model_without_a_client_that_is_seen_is_a_node_all_the_same():
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    replies = [AIMessage("hello there", usage_metadata=usage) for _ in range(4)]
    model = GenericFakeChatModel(messages=iter(replies))

    def ask(state: State) -> Any:
        return {"answer": model.invoke([LOOK_UP, ("user", "q")]).content}

    async def later(state: State) -> Any:
        said = await model.ainvoke([LOOK_UP, ("user", "q")])
        pieces = [piece.content for piece in model.stream([LOOK_UP])] + [piece.content async for piece in model.astream([LOOK_UP])]
        return {"answer": said.content + "".join(pieces)}

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("later", later)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "later")
    with applied({"LOOK_UP": "NEW"}), record() as trace:
        found = await wrap(builder.compile()).ainvoke({"question": "q"})
    assert found["answer"] == "hello there" * 3
    nodes = [node for node in trace.graph() if node.kind == "llm"]
    assert len(nodes) == 4
    assert nodes[0].meta["tokens_in"] == 5
    assert all(node.kind == "llm" for node in nodes)
