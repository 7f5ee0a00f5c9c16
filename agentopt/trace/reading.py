"""A replayed trace as a graph, and what in it was judged."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentopt.trace.flow import Flow, Outcome, Row, shown
from agentopt.trace.functions import Function, annotated
from agentopt.trace.graph import Feedback, Graph, How, Kind, Node, ParamInfo
from agentopt.trace.linking import Links
from agentopt.trace.node import Node as Proxy
from agentopt.trace.node import operation_of
from agentopt.trace.params import Param
from agentopt.trace.replay import Ends, Replay
from agentopt.trace.values import Snapshot, changed, keeper

__all__ = ["read_graph"]

_WHOLE = "workflow"


def read_graph(
    replay: Replay, start: float, outcome: Outcome | None = None, feedback: Iterable[tuple[Any, str, Mapping[str, float]]] = ()
) -> Graph:
    """O(rows + edges + text). ``start`` is when the trace began, of ``time.perf_counter``.

    What was judged, or came out in the end, and no node made is the value of a last node ``workflow``, which contains all others.
    """
    feedback = list(feedback)
    targets = [target for target, _, _ in feedback] + ([] if outcome is None else [outcome.value])
    writer = _Writer(replay.flow, Links(replay.flow, targets), start)
    if targets:
        ends = _Ends(replay.ends, writer)
        writer.graph.output = -1 if outcome is None else ends.find(outcome.value)
        writer.graph.feedback = [Feedback(ends.find(target), text, scores) for target, text, scores in feedback]
    return writer.graph


class _Writer:
    """Rows, and the proxies among them -> nodes."""

    def __init__(self, flow: Flow, links: Links, start: float) -> None:
        self.graph, self.flow, self.links, self.start = Graph(), flow, links, start
        self.names: dict[int, str] = {}
        """By the id of a ``Function``."""
        self.taken: dict[str, Any] = {}
        self.operations: dict[int, tuple[str, Sequence[str]]] = {}
        self.proxies: dict[int, int] = {}
        """The numbers of proxies, by their ids."""
        self.numbers: Sequence[int] = range(len(flow.rows))
        """By place."""
        self.children: dict[int, list[tuple[int, int]]] = {}
        """By place: (number, place) of what happened inside; a proxy has no place, which is -1."""
        self.given: dict[int, list[tuple[int, str, Any]]] = {}
        """By place: the proxies that it was given."""
        self._number()
        at = 0
        for place, row in enumerate(flow.rows):
            while at < len(links.made) and links.made[at][0].serial < row[0]:
                self._write_proxy(*links.made[at])
                at += 1
            self._write(place, row)
        for made, span in links.made[at:]:
            self._write_proxy(made, span)

    def _number(self) -> None:
        flow, made = self.flow, self.links.made
        if made:
            serials = [proxy.serial for proxy, _ in made]
            self.numbers = [place + bisect_left(serials, row[0]) for place, row in enumerate(flow.rows)]
            begins = [row[0] for row in flow.rows]
            self.proxies = {id(proxy): index + bisect_left(begins, proxy.serial) for index, (proxy, _) in enumerate(made)}
            for proxy, span in made:
                if span >= 0:
                    self.children.setdefault(span, []).append((self.proxies[id(proxy)], -1))
        self.proxies.update((key, self.numbers[place]) for key, place in self.links.places.items())
        for given in flow.proxies:
            if given[1] != "return":
                self.given.setdefault(given[0], []).append(given)
        for place, span in enumerate(flow.spans):
            if span >= 0:
                self.children.setdefault(span, []).append((self.numbers[place], place))

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
        span = flow.spans[place]
        times = (began - self.start, max(0.0, row[8] - began))
        number = graph.put(kind, name, shown(row[6]), span if span < 0 else self.numbers[span], times)
        for edge in range(flow.ends[place], flow.ends[place + 1]):
            graph.link_one(self.numbers[flow.sources[edge]], flow.roles[edge], flow.hows[edge])
        if place in self.given:
            for source, role in dict.fromkeys((self.proxies[id(proxy)], role) for _, role, proxy in self.given[place]):
                graph.link_one(source, role)
        if place in self.children:
            graph.link(*self.inner(sorted(self.children[place])))
        if place in flow.literals:
            graph.set_literals(number, flow.literals[place])
        if row[9] is not None or place in flow.snapshots or kind == "exception":
            graph.set_meta(number, _meta(row, flow.snapshots.get(place, ())))

    def _write_proxy(self, made: Proxy, span: int) -> None:
        if made.op is None:
            node = Node(0, "input", made.label or "input", made.value)
        elif isinstance(made.op, Param):
            param = made.op
            self.graph.params[param.name] = ParamInfo(param.name, param.kind, param.description, param.constraint, param.trainable)
            node = Node(0, "param", param.name, made.value)
        else:
            node = operation_of(self.graph, self.operations, made, self.proxies)
        self.graph.add(node._replace(span=span if span < 0 else self.numbers[span]))

    def _named(self, function: Function) -> str:
        """The function's name; a number is added if another function has it. Functions of the same code are the same."""
        code = getattr(function.function, "__code__", function.function)
        name, number = function.name, 1
        while name in self.graph.functions and self.taken.get(name) is not code:
            number += 1
            name = f"{function.name}_{number}"
        if name not in self.taken:
            self.taken[name] = code
            self.graph.functions[name] = function.info
        self.names[id(function)] = name
        return name

    def inner(self, numbers: list[tuple[int, int]]) -> tuple[list[int], list[str], list[How]]:
        """What happened inside: parameters that were read, and calls."""
        rows = self.flow.rows
        reads = [place >= 0 and rows[place][1] == "param" for _, place in numbers]
        roles = [rows[place][2].name if read else "" for (_, place), read in zip(numbers, reads, strict=True)]
        hows: list[How] = ["reads" if read else "contains" for read in reads]
        return [number for number, _ in numbers], roles, hows


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

    def __init__(self, ends: Ends, writer: _Writer) -> None:
        self.ends, self.spans, self.writer = ends, ends.flow.spans, writer
        self.wholes: dict[int, int] = {}

    def find(self, target: Any) -> int:
        """The node; -1 if nothing was recorded."""
        if isinstance(target, Node):
            return target.id
        if isinstance(target, Proxy):
            return self.writer.proxies[id(target)]
        place = self.ends.place(target)
        return self.writer.numbers[place] if place >= 0 else self._whole(target)

    def _whole(self, target: Any) -> int:
        graph, spans = self.writer.graph, self.spans
        if not spans:
            return -1
        if id(target) not in self.wholes:
            top = [place for place, span in enumerate(spans) if span < 0]
            ended = max(graph[number].started + graph[number].seconds for number in map(self.writer.numbers.__getitem__, top))
            kind: Kind = "exception" if isinstance(target, BaseException) else "call"
            self.wholes[id(target)] = number = graph.put(kind, _WHOLE, shown(keeper("ref")(target)), -1, (0.0, ended))
            graph.link(*self.writer.inner([(self.writer.numbers[place], place) for place in top]))
            if kind == "exception":
                graph.set_meta(number, {"error": type(target).__name__, "message": _message(target)})
        return self.wholes[id(target)]
