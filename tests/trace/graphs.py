"""Graphs for tests, made by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from agentopt.trace.graph import Edge, Feedback, FunctionInfo, Graph, Kind, Node, ParamInfo


def agent(question: str, answer: str = "Paris", error: Exception | None = None, prompt: str = "You plan.\nQuestion: {q}") -> Graph:
    """A planner that reads a prompt inside and asks a model, and an answer that is given a style."""
    graph = Graph()
    graph.functions["plan"] = FunctionInfo(
        "plan", "(question)", "Makes a plan.", "@traced\ndef plan(question):\n    return ask(question)\n"
    )
    graph.functions["answer"] = FunctionInfo("answer", "(plan, question, style)", "Answers.")
    graph.params["planner prompt"] = ParamInfo("planner prompt", "prompt", "How to plan.", "At most 3 steps.")
    graph.params["class"] = ParamInfo("class", "value")
    given = graph.add(Node(0, "input", "question", question, started=0.0))
    reads = (Edge(given, "question"), Edge(2, "planner prompt", "reads"), Edge(3, "", "contains"))
    plan = graph.add(Node(0, "call", "plan", "1. look up\n2. say", reads, started=0.001, seconds=0.4))
    graph.add(Node(0, "param", "planner prompt", prompt, (), (), plan, 0.002))
    messages = (("messages", [{"role": "user", "content": "y" * 100}]),)
    usage = {"tokens_in": 31, "tokens_out": 12, "cost_usd": 0.00021}
    graph.add(Node(0, "llm", "gpt-4o", "1. look up\n2. say", (Edge(2, "", "inferred"),), messages, plan, 0.003, 0.39, usage))
    style = graph.add(Node(0, "param", "class", "brief", started=0.41))
    inputs = (Edge(plan, "plan"), Edge(given, "question"), Edge(style, "style"))
    kind: Kind = "exception" if error else "call"
    graph.output = graph.add(Node(0, kind, "answer", error or answer, inputs, started=0.42, seconds=0.05))
    graph.feedback.append(Feedback(graph.output, "too long\nsay one word", {"exact": 0.0}))
    return graph


def chain(length: int, names: tuple[str, ...] = ("step",)) -> Graph:
    """A parameter that every third call of a long chain uses."""
    graph = Graph()
    graph.params["w"] = ParamInfo("w")
    weight = graph.add(Node(0, "param", "w", 0.5))
    last = graph.add(Node(0, "input", "x", 1))
    for place in range(length):
        inputs = (Edge(last, "x"), Edge(weight, "w")) if place % 3 == 0 else (Edge(last, "x"),)
        last = graph.add(Node(0, "call", names[place % len(names)], place, inputs))
    graph.output = last
    graph.feedback.append(Feedback(last, "too small"))
    return graph


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=300),
    st.lists(st.text(max_size=20), max_size=30),
    st.just(ValueError("no")),
)
NAMES = st.sampled_from(["step", "Agent.plan", "class", "α β", "chat gpt-4", "", "x\ny", "step_1", "a" * 200])


@st.composite
def any_graph(draw: Any) -> Graph:
    """Any graph that keeps to what graphs promise."""
    graph = Graph()
    kinds: list[Kind] = draw(st.lists(st.sampled_from(["input", "param", "op", "call", "llm", "tool", "exception"]), max_size=40))
    for number, kind in enumerate(kinds):
        name = draw(NAMES)
        if kind in ("input", "param"):
            inputs, literals = (), ()
        else:
            sources = draw(st.lists(st.integers(0, number - 1), max_size=4)) if number else []
            inputs = tuple(Edge(source, draw(NAMES), draw(st.sampled_from(["arg", "inferred"]))) for source in sources)
            literals = tuple((role, draw(VALUES)) for role in draw(st.lists(NAMES, max_size=3, unique=True)))
        graph.add(Node(0, kind, name, draw(VALUES), inputs, literals, draw(st.integers(-1, number - 1)), number / 10, 0.05))
        if kind == "param":
            graph.params[name] = ParamInfo(name, "prompt", draw(st.text(max_size=50)), "", draw(st.booleans()))
        else:
            graph.functions[name] = FunctionInfo(name, "(x)", draw(st.text(max_size=50)))
    if kinds and draw(st.booleans()):
        graph.output = draw(st.integers(0, len(kinds) - 1))
        graph.feedback.append(Feedback(graph.output, draw(st.text(max_size=200)), {"s": 1.0}))
    return graph
