"""A replayed trace as a graph, and what in it was judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentopt.trace.flow import Flow, Outcome, Row, says_nothing, shown
from agentopt.trace.functions import Function, annotated
from agentopt.trace.graph import Edge, Feedback, Graph, Node, ParamInfo
from agentopt.trace.values import Linked, Snapshot, changed, keeper

__all__ = ["read_graph"]

_WHOLE = "workflow"


def read_graph(
    rows: Iterable[Row], start: float, outcome: Outcome | None = None, feedback: Iterable[tuple[Any, str, Mapping[str, float]]] = ()
) -> Graph:
    """O(rows + edges + text), but for a sort. ``start`` is when the trace began, of ``time.perf_counter``.

    What was judged, or came out in the end, and no node made is the value of a last node ``workflow``, which contains all others.
    """
    flow = Flow(rows)
    graph = _Writer(flow, start).graph
    ends = _Ends(flow, graph)
    if outcome is not None:
        graph.output = ends.find(outcome.value)
    for target, text, scores in feedback:
        graph.feedback.append(Feedback(ends.find(target), text, scores))
    return graph


class _Writer:
    """Rows -> nodes."""

    def __init__(self, flow: Flow, start: float) -> None:
        self.graph, self.flow, self.start = Graph(), flow, start
        self.names: dict[int, str] = {}
        """By the id of a ``Function``."""
        self.taken: dict[str, Any] = {}
        self.children: dict[int, list[int]] = {}
        for place, span in enumerate(flow.spans):
            if span >= 0:
                self.children.setdefault(span, []).append(place)
        for place, row in enumerate(flow.rows):
            self._write(place, row)

    def _write(self, place: int, row: Row) -> None:
        flow, what, began = self.flow, row[2], row[7]
        kind = row[1]
        if type(what) is str:
            name = what
        elif kind == "param":
            name = what.name
            self.graph.params[name] = ParamInfo(name, what.kind, what.description, what.constraint, what.trainable)
        else:
            name = self.names.get(id(what)) or self._named(what)
        literals = tuple(flow.literals[place]) if place in flow.literals else ()
        seconds = max(0.0, row[8] - began)
        node = Node(0, kind, name, shown(row[6]), self._inputs(place), literals, flow.spans[place], began - self.start, seconds, _meta(row))
        self.graph.add(node)

    def _named(self, function: Function) -> str:
        """The function's name; a number is added if another function has it. Functions of the same code are the same."""
        code = getattr(function.function, "__code__", function.function)
        name, number = function.name, 1
        while name in self.taken and self.taken[name] is not code:
            number += 1
            name = f"{function.name}_{number}"
        if name not in self.taken:
            self.taken[name] = code
            self.graph.functions[name] = function.info
        self.names[id(function)] = name
        return name

    def _inputs(self, place: int) -> tuple[Edge, ...]:
        edges = self.flow.edges.get(place)
        children = self.children.get(place)
        if edges is None and children is None:
            return ()
        inputs = [Edge(source, role, how) for (source, role), how in edges.items()] if edges else []
        for child in children or ():
            row = self.flow.rows[child]
            is_read = row[1] == "param"
            inputs.append(Edge(child, row[2].name if is_read else "", "reads" if is_read else "contains"))
        return tuple(inputs)


def _meta(row: Row) -> dict[str, Any]:
    meta = {} if row[9] is None else dict(row[9])
    if row[1] == "exception":
        meta.update(error=type(row[6]).__name__, message=_message(row[6]), where=annotated(meta.pop("traceback", None)))
    mutated = [role for role, held in _snapshots(row) if changed(held)]
    return {**meta, "mutated": mutated} if mutated else meta


def _snapshots(row: Row) -> list[tuple[str, Snapshot]]:
    found: list[tuple[str, Snapshot]] = []
    if row[4]:
        found = [(row[2].role(position), held) for position, held in enumerate(row[4]) if type(held) is Snapshot]
    if row[5]:
        found += [(role, held) for role, held in row[5].items() if type(held) is Snapshot]
    if type(row[6]) is Snapshot:
        found.append(("return", row[6]))
    return found


def _message(error: Any) -> str:
    try:
        return str(error)
    except Exception as failed:
        return f"<its text raised {type(failed).__name__}>"


class _Ends:
    """The nodes of what was judged, by identity."""

    def __init__(self, flow: Flow, graph: Graph) -> None:
        self.flow, self.graph, self.count = flow, graph, len(graph)
        self.best: dict[int, tuple[int, int, int]] = {}
        """By the id of an object, of all that gave it the outermost and of those the last: (depth, -done, place)."""
        self.reads = {id(row[2]): place for place, row in enumerate(flow.rows) if row[1] == "param"}
        """By the id of a parameter: where it was read last."""
        self.wholes: dict[int, int] = {}
        depths: list[int] = []
        for place, row in enumerate(flow.rows):
            span = flow.spans[place]
            depths.append(depths[span] + 1 if span >= 0 else 0)
            key = id(row[6].value if type(row[6]) in (Snapshot, Linked) else row[6])
            candidate = (depths[-1], -row[10], place)
            if key not in self.best or candidate < self.best[key]:
                self.best[key] = candidate

    def find(self, target: Any) -> int:
        """The node; -1 if nothing was recorded."""
        if isinstance(target, Node):
            return target.id
        if id(target) in self.reads:
            return self.reads[id(target)]
        depth, _, place = self.best.get(id(target), (0, 0, -1))
        if place >= 0 and (depth == 0 or not says_nothing(target)):
            return place
        origin = self.flow.origins.get(id(target), -1)
        return origin if origin >= 0 else self._whole(target)

    def _whole(self, target: Any) -> int:
        if not self.count:
            return -1
        if id(target) not in self.wholes:
            kind = "exception" if isinstance(target, BaseException) else "call"
            top = [place for place, span in enumerate(self.flow.spans) if span < 0]
            rows = self.flow.rows
            inputs = tuple(
                Edge(place, rows[place][2].name, "reads") if rows[place][1] == "param" else Edge(place, "", "contains") for place in top
            )
            seconds = max(self.graph[place].started + self.graph[place].seconds for place in top)
            meta = {"error": type(target).__name__, "message": _message(target)} if kind == "exception" else {}
            node = Node(0, kind, _WHOLE, shown(keeper("ref")(target)), inputs, seconds=seconds, meta=meta)
            self.wholes[id(target)] = self.graph.add(node)
        return self.wholes[id(target)]
