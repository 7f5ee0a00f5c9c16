from __future__ import annotations

from agentopt.trace.graph import Edge, Graph, Node
from agentopt.trace.merge import merge
from tests.trace.graphs import agent, chain


def test_runs_that_differ_in_values_and_times_alone_are_one_group() -> None:
    [group] = merge([agent("Capital of France?"), agent("Capital of Peru?", "Lima")])
    assert group.runs == (0, 1)
    assert [graph.value(graph.output) for graph in group.graphs] == ["Paris", "Lima"]
    assert group.graph is group.graphs[0]


def test_runs_that_differ_stay_apart_in_the_order_of_the_first_of_each() -> None:
    groups = merge([agent("a"), chain(5), agent("b"), agent("c", error=ValueError("no")), chain(6), chain(5)])
    assert [group.runs for group in groups] == [(0, 2), (1, 5), (3,), (4,)]


def test_each_part_of_a_structure_counts() -> None:
    def one(node: Node) -> Graph:
        graph = Graph()
        graph.add(Node(0, "input", "x", 1))
        graph.add(Node(0, "input", "y", 1))
        graph.add(node)
        return graph

    node = Node(0, "call", "f", 3, (Edge(0, "a"),), (("b", 2),))
    others = [
        node._replace(kind="tool"),
        node._replace(name="g"),
        node._replace(span=0),
        node._replace(inputs=(Edge(1, "a"),)),
        node._replace(inputs=(Edge(0, "c"),)),
        node._replace(inputs=(Edge(0, "a", "inferred"),)),
        node._replace(literals=(("c", 2),)),
    ]
    assert len(merge([one(each) for each in [node, *others]])) == 8
    assert len(merge([one(node), one(node._replace(value=4, literals=(("b", 7),), started=1.0, seconds=2.0))])) == 1


def test_nothing_merges_to_nothing() -> None:
    assert merge([]) == []
