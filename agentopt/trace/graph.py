"""A finished trace: nodes in the order in which they began, their inputs, and what was said about the outcome.

Columns instead of objects: a node is a number, and a view of it is made when somebody looks.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

__all__ = ["Edge", "Feedback", "FunctionInfo", "Graph", "How", "Kind", "Node", "ParamInfo"]

Kind = Literal["input", "param", "op", "call", "llm", "tool", "exception"]
KINDS: tuple[Kind, ...] = ("input", "param", "op", "call", "llm", "tool", "exception")
_PARAM = KINDS.index("param")
How = Literal["arg", "reads", "contains", "inferred"]
"""How it is known that a node needed another: it was given as an argument; it is a parameter that was read inside; it is a call that was
made inside; or it is only a guess, by equal or contained text or by time."""
HOWS: tuple[How, ...] = ("arg", "reads", "contains", "inferred")
_KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}
_HOW_CODES = {how: code for code, how in enumerate(HOWS)}


class Edge(NamedTuple):
    """One input of a node: the node it came from, and the name of the argument that took it."""

    source: int
    role: str
    how: How = "arg"


@dataclass(frozen=True)
class FunctionInfo:
    """What is known of a function, once for all of its calls. Empty texts where nothing is known."""

    name: str
    signature: str = ""
    doc: str = ""
    source: str = ""


@dataclass(frozen=True)
class ParamInfo:
    """A parameter as it was when the trace was recorded."""

    name: str
    kind: str = "value"
    description: str = ""
    constraint: str = ""
    trainable: bool = True


@dataclass(frozen=True)
class Feedback:
    """What somebody said of one node of one trace: scores (higher is better), text, or both. Any number per trace."""

    target: int
    text: str = ""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Node(NamedTuple):
    """A view of one node.

    ``value`` is what came out, ``literals`` are arguments that no other node made, by name. ``span`` is the call inside which it
    happened, -1 at the top. ``started`` and ``seconds`` are seconds, from the begin of the trace.
    """

    id: int
    kind: Kind
    name: str
    value: Any
    inputs: tuple[Edge, ...] = ()
    literals: tuple[tuple[str, Any], ...] = ()
    span: int = -1
    started: float = 0.0
    seconds: float = 0.0
    meta: Mapping[str, Any] = {}


class Graph:
    """Append-only. Nodes are in the order in which they began, so ``arg`` and ``inferred`` edges lead to smaller numbers and
    ``reads`` and ``contains`` to larger ones; only the last node, ``workflow``, contains smaller ones.
    """

    def __init__(self) -> None:
        self.functions: dict[str, FunctionInfo] = {}
        """By the name of ``call`` and ``op`` nodes."""
        self.params: dict[str, ParamInfo] = {}
        """By the name of ``param`` nodes."""
        self.feedback: list[Feedback] = []
        self.output: int = -1
        """The node that made what the workflow returned, or its exception; -1 if nothing did."""
        self.meta: dict[str, Any] = {}
        """About the whole: JSON."""
        self._kinds = bytearray()
        self._names: list[str] = []
        self._spans = array("q")
        self._values: list[Any] = []
        self._times = array("d")
        self._literals: dict[int, tuple[tuple[str, Any], ...]] = {}
        self._metas: dict[int, Mapping[str, Any]] = {}
        self._ends = array("q", [0])
        """Where the edges of each node end; those of node i are from ``_ends[i]`` to ``_ends[i + 1]``."""
        self._sources = array("q")
        self._roles: list[str] = []
        self._hows = bytearray()

    def add(self, node: Node) -> int:
        """The number of the new node; the one that ``node`` has is not looked at."""
        number = self.put(node.kind, node.name, node.value, node.span, (node.started, node.seconds))
        if node.inputs:
            self.link(*zip(*node.inputs, strict=True))
        if node.literals:
            self.set_literals(number, node.literals)
        if node.meta:
            self.set_meta(number, node.meta)
        return number

    def put(self, kind: Kind, name: str, value: Any, span: int = -1, times: tuple[float, float] = (0.0, 0.0)) -> int:
        """``add`` for those who make many: a node without inputs, whose ``link`` and the rest follow. ``times`` is (started, seconds)."""
        self._kinds.append(_KIND_CODES[kind])
        self._names.append(name)
        self._values.append(value)
        self._spans.append(span)
        self._times.append(times[0])
        self._times.append(times[1])
        self._ends.append(len(self._roles))
        return len(self._names) - 1

    def link(self, sources: Iterable[int], roles: Iterable[str], hows: Iterable[How]) -> None:
        """Inputs of the newest node, after those that it has."""
        self._sources.extend(sources)
        self._roles.extend(roles)
        self._hows.extend([_HOW_CODES[how] for how in hows])
        self._ends[-1] = len(self._roles)

    def link_one(self, source: int, role: str, how: How = "arg") -> None:
        """One more input of the newest node."""
        self._sources.append(source)
        self._roles.append(role)
        self._hows.append(_HOW_CODES[how])
        self._ends[-1] += 1

    def set_literals(self, number: int, literals: Iterable[tuple[str, Any]]) -> None:
        self._literals[number] = tuple(literals)

    def set_meta(self, number: int, meta: Mapping[str, Any]) -> None:
        self._metas[number] = meta

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> Node:
        """Raises IndexError for a number that is no node's."""
        if not 0 <= number < len(self._names):
            raise IndexError(f"the trace has {len(self)} nodes; there is no node {number}")
        return Node(
            number,
            KINDS[self._kinds[number]],
            self._names[number],
            self._values[number],
            self.inputs(number),
            self._literals.get(number, ()),
            self._spans[number],
            self._times[2 * number],
            self._times[2 * number + 1],
            self._metas.get(number, _NOTHING),
        )

    def __iter__(self) -> Iterator[Node]:
        return (self[number] for number in range(len(self)))

    def kind(self, number: int) -> Kind:
        return KINDS[self._kinds[number]]

    def name(self, number: int) -> str:
        return self._names[number]

    def value(self, number: int) -> Any:
        return self._values[number]

    def span(self, number: int) -> int:
        return self._spans[number]

    def inputs(self, number: int) -> tuple[Edge, ...]:
        begin, end = self._ends[number], self._ends[number + 1]
        return tuple(Edge(self._sources[i], self._roles[i], HOWS[self._hows[i]]) for i in range(begin, end))

    def sources(self, number: int) -> Sequence[int]:
        """The nodes that ``number`` needed, in the order of its inputs."""
        return self._sources[self._ends[number] : self._ends[number + 1]]

    def subgraph(self, targets: Iterable[int]) -> list[int]:
        """The nodes that lie between trainable parameters and ``targets``, both included, in order; the parameters are those that
        some target depends on. Guessed edges count. O(V + E), without recursion.
        """
        reached = self._above(targets)
        ends, sources = self._ends, self._sources
        latest = array("q", [-1]) * len(self)
        """By node: the last edge that leads from a reached node to it; ``before`` and ``users`` are by edge."""
        before, users = array("q", [-1]) * len(sources), array("q", [-1]) * len(sources)
        for number in reached:
            for edge in range(ends[number], ends[number + 1]):
                source = sources[edge]
                before[edge], users[edge], latest[source] = latest[source], number, edge
        waiting = [number for number in reached if self._kinds[number] == _PARAM and self._is_trainable(self._names[number])]
        kept = bytearray(len(self))
        for number in waiting:
            kept[number] = 1
        for number in waiting:
            edge = latest[number]
            while edge >= 0:
                user = users[edge]
                if not kept[user]:
                    kept[user] = 1
                    waiting.append(user)
                edge = before[edge]
        return sorted(waiting)

    def _above(self, targets: Iterable[int]) -> list[int]:
        """The targets, and all that they needed."""
        seen = bytearray(len(self))
        waiting = list({target for target in targets if 0 <= target < len(self)})
        for number in waiting:
            seen[number] = 1
        ends, sources = self._ends, self._sources
        for number in waiting:
            for source in sources[ends[number] : ends[number + 1]]:
                if not seen[source]:
                    seen[source] = 1
                    waiting.append(source)
        return waiting

    def _is_trainable(self, name: str) -> bool:
        return name not in self.params or self.params[name].trainable

    def of_kind(self, kind: Kind) -> list[int]:
        """The numbers of all nodes of that kind."""
        code = KINDS.index(kind)
        return [number for number, found in enumerate(self._kinds) if found == code]
