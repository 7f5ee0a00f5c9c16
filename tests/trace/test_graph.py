"""Graphs: columns, views, and what lies between parameters and what was judged."""

from __future__ import annotations

import pytest

from agentopt.trace.graph import Edge, Graph, Node, ParamInfo


def graph_of(*nodes):
    graph = Graph()
    for kind, name, *sources in nodes:
        graph.add(Node(0, kind, name, None, tuple(source if isinstance(source, Edge) else Edge(source, "x") for source in sources)))
    return graph


def test_views_show_what_was_added():
    graph = Graph()
    inner = Node(0, "call", "inner", "value", (), (("a", 1),), 1, 0.5, 0.25, {"k": "v"})
    assert graph.add(Node(0, "input", "q", "why")) == 0
    assert graph.add(Node(0, "call", "outer", "value", (Edge(0, "q"), Edge(2, "", "contains")))) == 1
    assert graph.add(inner) == 2
    assert graph[2] == inner._replace(id=2)
    assert [node.id for node in graph] == [0, 1, 2]
    assert graph.inputs(1) == (Edge(0, "q"), Edge(2, "", "contains"))
    assert list(graph.sources(1)) == [0, 2]
    assert (graph.kind(0), graph.name(0), graph.value(0), graph.span(2)) == ("input", "q", "why", 1)
    assert graph.of_kind("call") == [1, 2]
    with pytest.raises(IndexError, match="the trace has 3 nodes; there is no node 3"):
        graph[3]


def test_the_subgraph_lies_between_parameters_and_targets():
    graph = graph_of(
        ("param", "a"),
        ("input", "q"),
        ("call", "uses_a", 0, 1),
        ("call", "beside", 1),
        ("call", "joins", 2, 3),
        ("call", "after", 4),
        ("param", "b"),
        ("call", "elsewhere", 6),
    )
    assert graph.subgraph([4]) == [0, 2, 4]
    assert graph.subgraph([3]) == []
    assert graph.subgraph([4, 7]) == [0, 2, 4, 6, 7]
    assert graph.subgraph([-1, 99]) == []
    graph.params["a"] = ParamInfo("a", trainable=False)
    assert graph.subgraph([4]) == []


def test_a_diamond_and_a_ring_are_walked_once():
    graph = graph_of(("param", "a"), ("op", "l", 0), ("op", "r", 0), ("op", "join", 1, 2, 1))
    assert graph.subgraph([3]) == [0, 1, 2, 3]
    ring = graph_of(("param", "a"), ("call", "f", 0, Edge(2, "", "contains")), ("call", "g", 1))
    assert ring.subgraph([2]) == [0, 1, 2]


def test_hidden_parameters_three_layers_down_are_reached():
    graph = graph_of(
        ("call", "outer", Edge(1, "", "contains")),
        ("call", "middle", Edge(2, "", "contains")),
        ("call", "inner", Edge(3, "p", "reads")),
        ("param", "p"),
    )
    assert graph.subgraph([0]) == [0, 1, 2, 3]


def test_a_chain_of_a_hundred_thousand_and_a_fan_of_ten_thousand():
    chain = Graph()
    chain.add(Node(0, "param", "p", 1.0))
    for number in range(100_000):
        chain.add(Node(0, "op", "add", 1.0, (Edge(number, "x"),)))
    assert len(chain.subgraph([100_000])) == 100_001
    fan = graph_of(*[("param", f"p{i}") for i in range(10_000)], ("op", "sum", *range(10_000)))
    assert len(fan.subgraph([10_000])) == 10_001
