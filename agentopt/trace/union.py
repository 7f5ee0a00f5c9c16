"""Several traces as one, for where one place is kept for them, and apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agentopt.trace.graph import Feedback, Graph, Node

__all__ = ["apart", "parts", "union"]

_PARTS = "parts"


def union(graphs: Sequence[Graph]) -> Graph:
    """The nodes of all, side by side; ``output`` is that of the last. One graph stays what it is. O(V + E)."""
    if len(graphs) == 1:
        return graphs[0]
    whole = Graph()
    about: list[dict[str, Any]] = []
    for graph in graphs:
        base = len(whole)
        for node in graph:
            whole.add(_moved(node, base))
        whole.functions |= graph.functions
        whole.params |= graph.params
        whole.feedback += [_aimed(said, base) for said in graph.feedback]
        whole.output = graph.output + base if graph.output >= 0 else -1
        about.append({"nodes": len(graph), "output": graph.output, "meta": dict(graph.meta)})
    whole.meta[_PARTS] = about
    return whole


def parts(whole: Graph) -> list[Graph]:
    """The traces that ``union`` joined; a graph that is no union is its only part. O(V + E)."""
    found: list[Graph] = []
    base = 0
    for about in whole.meta.get(_PARTS, ()):
        part, end = Graph(), base + about["nodes"]
        for number in range(base, end):
            part.add(_moved(whole[number], -base))
        names = {part.name(number) for number in range(len(part))}
        part.functions |= {name: info for name, info in whole.functions.items() if name in names}
        part.params |= {part.name(number): whole.params[part.name(number)] for number in part.of_kind("param")}
        part.feedback += [_aimed(said, -base) for said in whole.feedback if base <= said.target < end]
        part.output = about["output"]
        part.meta |= about["meta"]
        found.append(part)
        base = end
    return found or [whole]


def apart(graphs: Sequence[Graph], labels: Sequence[str] = ()) -> tuple[list[Graph], list[str]]:
    """Each union's traces in its place, and a label for each of them, if there are labels."""
    found = [parts(graph) for graph in graphs]
    numbered = [
        [f"{label}, {number} of {len(of)}" if len(of) > 1 else label for number in range(1, len(of) + 1)]
        for label, of in zip(labels, found, strict=False)
    ]
    return [part for of in found for part in of], [label for of in numbered for label in of]


def _moved(node: Node, by: int) -> Node:
    inputs = tuple(edge._replace(source=edge.source + by) for edge in node.inputs)
    return node._replace(inputs=inputs, span=node.span + by if node.span >= 0 else -1)


def _aimed(said: Feedback, by: int) -> Feedback:
    return replace(said, target=said.target + by) if said.target >= 0 else said
