"""Several traces kept as one, and apart again."""

from __future__ import annotations

from typing import Any

from agentopt.trace.graph import Edge, Feedback, FunctionInfo, Graph, Node, ParamInfo
from agentopt.trace.jsonl import dump, load
from agentopt.trace.render import render
from agentopt.trace.union import apart, parts, union


def workflow(question: str, name: str = "ask", said: bool = True) -> Graph:
    """A call, its input and the parameter that it read inside."""
    graph = Graph()
    graph.add(Node(0, "input", "question", question))
    graph.add(Node(0, "call", name, question.upper(), (Edge(0, "q"), Edge(2, "prompt", "reads")), (("n", 3),), started=0.5, seconds=0.25))
    graph.add(Node(0, "param", "prompt", "Answer.", span=1, meta={"x": 1}))
    graph.functions[name] = FunctionInfo(name, "(q)")
    graph.params["prompt"] = ParamInfo("prompt", "prompt")
    graph.output = 1
    graph.meta["row"] = question
    if said:
        graph.feedback.append(Feedback(1, "too loud", {"score": 0.5}))
    return graph


def content(graph: Graph) -> Any:
    return list(graph), graph.functions, graph.params, graph.feedback, graph.output, graph.meta


def test_traces_come_apart_as_they_were():
    silent = Graph()
    silent.add(Node(0, "input", "x", 1))
    silent.feedback.append(Feedback(-1, "nothing came out"))
    graphs = [workflow("a"), workflow("b", "tell"), workflow("c", said=False)]
    whole = union([*graphs, silent])
    assert len(whole) == 10
    assert whole.inputs(4) == (Edge(3, "q"), Edge(5, "prompt", "reads"))
    assert whole[5].span == 4
    assert [said.target for said in whole.feedback] == [1, 4, -1]
    assert whole.output == -1
    assert set(whole.functions) == {"ask", "tell"}
    back = parts(whole)
    assert [content(graph) for graph in back[:3]] == [content(graph) for graph in graphs]
    assert (back[3].output, len(back[3])) == (-1, 1)


def test_one_trace_stays_what_it_is():
    graph = workflow("a")
    assert union([graph]) is graph
    assert parts(graph) == [graph]
    assert len(union([])) == 0


def test_a_union_is_shown_as_its_runs_are():
    graphs = [workflow("a"), workflow("b")]
    whole = load(dump(union(graphs)))
    assert render([whole]) == render(graphs)
    told = render([whole, workflow("c")], labels=["case x", "case y"])
    assert told.code.count("ask(") == 1, "runs of one structure have one listing"
    for label in ("case x, 1 of 2", "case x, 2 of 2", "case y"):
        assert label in told.feedback
    assert apart([whole, graphs[0]], ["p", "q"])[1] == ["p, 1 of 2", "p, 2 of 2", "q"]
    assert apart([whole])[1] == []
