"""A replayed trace as a graph, and what in it was judged."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from agentopt.trace.flow import Flow, Outcome, Row, says_nothing, shown
from agentopt.trace.functions import Function, annotated
from agentopt.trace.graph import Feedback, Graph, How, Kind, Node, ParamInfo
from agentopt.trace.values import Snapshot, changed, keeper

__all__ = ["read_graph"]

_WHOLE = "workflow"


def read_graph(
    rows: Iterable[Row], start: float, outcome: Outcome | None = None, feedback: Iterable[tuple[Any, str, Mapping[str, float]]] = ()
) -> Graph:
    """O(rows + edges + text), but for a sort. ``start`` is when the trace began, of ``time.perf_counter``.

    What was judged, or came out in the end, and no node made is the value of a last node ``workflow``, which contains all others.
    """
    flow = Flow(rows)
    writer = _Writer(flow, start)
    graph, feedback = writer.graph, list(feedback)
    if outcome is None and not feedback:
        return graph
    ends = _Ends(flow, writer)
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
        flow, graph, kind, what, began = self.flow, self.graph, row[1], row[2], row[7]
        if type(what) is str:
            name = what
        elif kind == "param":
            name = what.name
            if name not in graph.params:
                graph.params[name] = ParamInfo(name, what.kind, what.description, what.constraint, what.trainable)
        else:
            name = self.names.get(id(what)) or self._named(what)
        times = (began - self.start, max(0.0, row[8] - began))
        number = graph.put(kind, name, shown(row[6]), flow.spans[place], times)
        begin, end = flow.ends[place], flow.ends[place + 1]
        if end > begin:
            graph.link(flow.sources[begin:end], flow.roles[begin:end], flow.hows[begin:end])
        if place in self.children:
            graph.link(*self.inner(self.children[place]))
        if place in flow.literals:
            graph.set_literals(number, flow.literals[place])
        if row[9] is not None or place in flow.snapshots or kind == "exception":
            graph.set_meta(number, _meta(row, flow.snapshots.get(place, ())))

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

    def inner(self, places: list[int]) -> tuple[list[int], list[str], list[How]]:
        """What happened inside: parameters that were read, and calls."""
        rows = self.flow.rows
        roles = [rows[place][2].name if rows[place][1] == "param" else "" for place in places]
        hows: list[How] = ["reads" if rows[place][1] == "param" else "contains" for place in places]
        return places, roles, hows


def _meta(row: Row, snapshots: Iterable[tuple[str, Snapshot]]) -> dict[str, Any]:
    meta = {} if row[9] is None else dict(row[9])
    traceback = meta.pop("traceback", None)
    if isinstance(row[6], BaseException):
        meta.update(error=type(row[6]).__name__, message=_message(row[6]), where=annotated(traceback))
    mutated = [role for role, held in snapshots if changed(held)]
    return {**meta, "mutated": mutated} if mutated else meta


def _message(error: Any) -> str:
    try:
        return str(error)
    except Exception as failed:
        return f"<its text raised {type(failed).__name__}>"


class _Ends:
    """The nodes of what was judged, by identity."""

    def __init__(self, flow: Flow, writer: _Writer) -> None:
        self.flow, self.writer = flow, writer
        self.reads = {id(row[2]): place for place, row in enumerate(flow.rows) if row[1] == "param"}
        """By the id of a parameter: where it was read last."""
        self.best: dict[int, int] = {}
        """By the id of an object: of all that gave it the outermost, and of those the last."""
        self.wholes: dict[int, int] = {}
        self.depths = depths = array("q")
        for place, row in enumerate(flow.rows):
            span, value = flow.spans[place], row[6]
            depth = depths[span] + 1 if span >= 0 else 0
            depths.append(depth)
            key = id(value.value) if type(value) is Snapshot else id(value)
            best = self.best.get(key, -1)
            if best < 0 or depth <= depths[best]:
                self.best[key] = place

    def find(self, target: Any) -> int:
        """The node; -1 if nothing was recorded."""
        if isinstance(target, Node):
            return target.id
        if id(target) in self.reads:
            return self.reads[id(target)]
        place = self.best.get(id(target), -1)
        if place < 0 or (self.depths[place] and says_nothing(target)):
            place = self.flow.origins.get(id(target), -1)
        return place if place >= 0 else self._whole(target)

    def _whole(self, target: Any) -> int:
        graph, spans = self.writer.graph, self.flow.spans
        if not spans:
            return -1
        if id(target) not in self.wholes:
            top = [place for place, span in enumerate(spans) if span < 0]
            ended = max(graph[place].started + graph[place].seconds for place in top)
            kind: Kind = "exception" if isinstance(target, BaseException) else "call"
            self.wholes[id(target)] = number = graph.put(kind, _WHOLE, shown(keeper("ref")(target)), -1, (0.0, ended))
            graph.link(*self.writer.inner(top))
            if kind == "exception":
                graph.set_meta(number, {"error": type(target).__name__, "message": _message(target)})
        return self.wholes[id(target)]
