"""Runs of the same structure as one: a listing holds for all of them, and only values differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agentopt.trace.graph import Edge, Graph, Kind

__all__ = ["Group", "Shape", "merge", "shapes"]

Shape = tuple[Kind, str, int, tuple[Edge, ...], tuple[str, ...]]
"""All of a node but its values and times: kind, name, span, inputs, and the names of its literal arguments."""


@dataclass(frozen=True)
class Group:
    """Runs whose nodes correspond by number."""

    runs: tuple[int, ...]
    """Places in the sequence that was merged, ascending."""
    graphs: tuple[Graph, ...]
    """One per run."""

    @property
    def graph(self) -> Graph:
        """The first of the runs, for all that is equal in them."""
        return self.graphs[0]


def shapes(graph: Graph) -> tuple[Shape, ...]:
    """What makes two runs equal, node by node; O(nodes + edges)."""
    return tuple(
        (node.kind, node.name, node.span, node.inputs, tuple(role for role, _ in node.literals) if node.literals else ()) for node in graph
    )


def merge(graphs: Sequence[Graph]) -> list[Group]:
    """Runs with equal shapes together. Groups are in the order of their first runs; linear in what is merged."""
    sizes = Counter(map(len, graphs))
    groups: dict[tuple[int, tuple[Shape, ...]], list[int]] = {}
    for run, graph in enumerate(graphs):
        # one that is alone with its size has no equal, and its shapes need not be looked at
        key = (len(graph), shapes(graph) if sizes[len(graph)] > 1 else ())
        groups.setdefault(key, []).append(run)
    return [Group(tuple(runs), tuple(graphs[run] for run in runs)) for runs in groups.values()]
