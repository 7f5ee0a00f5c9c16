"""From rows to a graph: who made what each call was given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentopt.trace.graph import Edge, Graph, Kind, Node, ParamInfo

__all__ = ["read_graph"]


Row = tuple[int, Kind, Any, int, tuple[Any, ...], dict[str, Any] | None, Any, float, float, dict[str, Any] | None]
"""``(number, kind, what, span, args, kwargs, value, began, ended, meta)``."""


def read_graph(rows: Iterable[Row], start: float) -> Graph:
    """One pass over the rows, in the order in which they began.

    An argument came from the node that returned or read that very object; the trace keeps every object, so an ``id`` is never
    used twice. Numbers, truth values and short texts may be the same object by chance and say nothing.
    """
    graph = Graph()
    makers: dict[int, int] = {}
    numbers: dict[int, int] = {}
    for number, kind, what, span, args, kwargs, value, began, ended, _ in sorted(rows, key=lambda row: row[0]):
        inputs: list[Edge] = []
        literals: list[tuple[str, Any]] = []
        for role, argument in _arguments(what, args, kwargs):
            source = makers.get(id(argument))
            if source is None:
                literals.append((role, argument))
            else:
                inputs.append(Edge(source, role))
        name: str = what if isinstance(what, str) else what.name
        numbers[number] = made = graph.add(
            Node(0, kind, name, value, tuple(inputs), tuple(literals), numbers.get(span, -1), began - start, max(0.0, ended - began))
        )
        makers[id(value)] = made
        if kind == "param":
            graph.params[name] = _info(what)
    return graph


def _info(param: Any) -> ParamInfo:
    return ParamInfo(param.name, param.kind, param.description, param.constraint, param.trainable)


def _arguments(what: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> list[tuple[str, Any]]:
    return [*((what.role(i), argument) for i, argument in enumerate(args)), *(kwargs or {}).items()]
