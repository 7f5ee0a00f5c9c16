"""``node(value)``: proxies for graphs of single operations, like the tensors of autograd.

A node keeps its value, what made it, and of what. Nothing else knows of it: a graph lives as long as somebody holds one of its ends, and
any number of threads make any number of graphs. What each operation of Python gives on a node stands in ``operators``.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple, cast

from agentopt.trace.context import tick
from agentopt.trace.functions import Function
from agentopt.trace.graph import Edge, Feedback, FunctionInfo, Graph, ParamInfo
from agentopt.trace.graph import Node as Row
from agentopt.trace.operators import Keywords, Operators, described, make_dict, make_frozenset, make_list, make_set, make_slice, make_tuple
from agentopt.trace.params import Param

__all__ = ["Judgement", "Node", "graph_of", "node", "now", "operation_of", "params_of", "plain", "reached"]


def now() -> int:
    """A serial: those of all nodes so far are smaller, those of all that come are larger."""
    return tick()


class Judgement(NamedTuple):
    """What somebody said of the end of one graph. Kept by every parameter that it reached; keeps the graph alive in turn."""

    target: Node
    text: str
    scores: Mapping[str, float]

    def graph(self) -> Graph:
        """All that led to the target, with this judgement as its feedback."""
        graph = graph_of(self.target)
        graph.feedback.append(Feedback(graph.output, self.text, self.scores))
        return graph


class Node(Operators):
    """A value, and where it came from. Hashed by identity.

    ``op`` is the function that made the value, the ``Param`` that was read, or None for what was given. ``inputs`` are what the function
    was called with, nodes and plain values. ``label`` is for pictures and prompts. ``serial`` grows with each node of this process, so
    inputs have smaller ones.
    """

    __slots__ = ("__weakref__", "inputs", "label", "op", "serial", "value")

    def __init__(self, value: Any, op: Any = None, inputs: tuple[Any, ...] = (), label: str | None = None) -> None:
        self.value = value
        self.op = op
        self.inputs = inputs
        self.label = label
        self.serial = tick()

    def _apply(self, op: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        """The node of ``op(*inputs)``. What ``op`` raises is raised unchanged, and leaves no node."""
        values: list[Any] = []
        for given in inputs:
            if isinstance(given, Node):
                values.append(given.value)
            elif type(given) in _LOOKED_INTO:
                inputs = tuple(map(_linked, inputs))
                values = [given.value if isinstance(given, Node) else given for given in inputs]
                break
            else:
                values.append(given)
        return self._made(op(*values), op, inputs)

    def _made(self, value: Any, op: Any, inputs: tuple[Any, ...]) -> Any:
        return Node(value, op, inputs)

    def backward(self, feedback: str = "", score: float | Mapping[str, float] | None = None) -> None:
        """Say how good this is: ``feedback`` in words, ``score`` as a number or several by name (higher is better).

        Each trainable parameter that led here gets one ``Judgement`` in its ``feedback``, whichever and how many ways lead to it. May be
        called any number of times, on any number of nodes. O(V + E). Raises ValueError for a score that is not finite.
        """
        scores = {} if score is None else dict(score) if isinstance(score, Mapping) else {"score": float(score)}
        for name, value in scores.items():
            if not isfinite(value):
                raise ValueError(f"the score {name!r} is {value}; say with text alone what cannot be scored")
        judgement = Judgement(self, feedback, scores)
        for param in params_of(self):
            if param.trainable:
                param.feedback.append(judgement)

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        """The value alone, without what led to it."""
        return Node(copy.deepcopy(self.value, memo), label=self.label)

    def __copy__(self) -> Node:
        return Node(self.value, label=self.label)

    def __reduce__(self) -> tuple[Any, ...]:
        """The value alone; a whole graph is saved as ``graph_of(node)``."""
        return (Node, (self.value, None, (), self.label))


def node(value: Any, name: str | None = None) -> Node:
    """A proxy of ``value``, whose operations are recorded. A node stays what it is.

    A ``Param`` becomes a node of its current value. Lists, tuples, sets, dicts and slices with nodes inside become one node of plain data
    that came from those. ``name`` is its label.
    """
    made = _linked(value)
    if not isinstance(made, Node):
        return Node(value, None, (), name)
    if name is not None:
        made.label = name
    return made


def plain(value: Any) -> Any:
    """``value`` without nodes, at any depth of lists, tuples, sets, dicts and slices. Parameters become their values."""
    linked = _linked(value)
    return linked.value if isinstance(linked, Node) else linked


def params_of(*targets: Node) -> list[Param]:
    """The parameters that led to ``targets``, each once, in the order in which they were first used."""
    reads = [made for made in reached(targets) if isinstance(made.op, Param)]
    return list({id(read.op): read.op for read in sorted(reads, key=_serial)}.values())


def graph_of(*targets: Node) -> Graph:
    """All that led to ``targets``, in the order in which it was made; ``output`` is the last target.

    Reads of one parameter that gave the same object are one node. No recursion, so a chain may be as long as the memory.
    """
    graph = Graph()
    numbers: dict[int, int] = {}
    reads: dict[tuple[int, int], int] = {}
    functions: dict[int, tuple[str, Sequence[str]]] = {}
    for made in sorted(reached(targets), key=_serial):
        op = made.op
        if op is None:
            number = graph.add(Row(0, "input", made.label or "input", made.value))
        elif isinstance(op, Param):
            number = reads.get((id(op), id(made.value)), -1)
            if number < 0:
                graph.params[op.name] = ParamInfo(op.name, op.kind, op.description, op.constraint, op.trainable)
                number = reads[id(op), id(made.value)] = graph.add(Row(0, "param", op.name, made.value))
        else:
            number = graph.add(operation_of(graph, functions, made, numbers))
        numbers[id(made)] = number
    graph.output = numbers[id(targets[-1])] if targets else -1
    return graph


def operation_of(graph: Graph, functions: dict[int, tuple[str, Sequence[str]]], made: Node, numbers: Mapping[int, int]) -> Row:
    """A made node as a row of ``graph``. ``functions`` grows, one entry per function; ``numbers`` are those of its inputs, by their ids."""
    op, keywords = made.op, ()
    if isinstance(op, Keywords):
        op, keywords = op.function, op.names
    known = functions.get(id(op))
    if known is None:
        name, function = described(op)
        about = Function(function, name)
        info = about.info
        if name in graph.functions:  # another one of that name
            name = next(other for k in itertools.count(2) if (other := f"{name}_{k}") not in graph.functions)
        graph.functions[name] = FunctionInfo(name, info.signature, info.doc, info.source)
        known = functions[id(op)] = (name, about.positional)
    name, roles = known
    first = len(made.inputs) - len(keywords)
    edges: list[Edge] = []
    literals: list[tuple[str, Any]] = []
    for index, given in enumerate(made.inputs):
        role = keywords[index - first] if index >= first else roles[index] if index < len(roles) else f"arg{index}"
        if isinstance(given, Node):
            edges.append(Edge(numbers[id(given)], role))
        else:
            literals.append((role, given))
    meta = {"label": made.label} if made.label and made.label != name else {}
    return Row(0, "op", name, made.value, tuple(edges), tuple(literals), meta=meta)


def reached(targets: Iterable[Node]) -> list[Node]:
    """Each node that led to ``targets``, and they, once; in no order."""
    found = list({target.serial: target for target in targets}.values())
    seen = {made.serial for made in found}  # unlike ids, numbers in a row lie side by side in a set, and in the caches
    for made in found:
        for given in made.inputs:
            if isinstance(given, Node) and given.serial not in seen:
                seen.add(given.serial)
                found.append(given)
    return found


def _serial(made: Node) -> int:
    return made.serial


_MAKERS: dict[Any, Callable[..., Any]] = {
    list: make_list,
    tuple: make_tuple,
    set: make_set,
    frozenset: make_frozenset,
    dict: make_dict,
    slice: make_slice,
}
_LOOKED_INTO = frozenset(_MAKERS) | {Param}


def _linked(value: Any) -> Any:
    """A node if ``value`` is one, is a parameter or holds either, else ``value`` itself."""
    if isinstance(value, Param):
        return Node(value.value, value)
    make = _MAKERS.get(type(value))
    if make is None:
        return value
    make, parts = _taken_apart(make, value)
    parts = tuple(map(_linked, parts))
    if not any(isinstance(part, Node) for part in parts):
        return value
    return Node(make(*map(plain, parts)), make, parts)


def _taken_apart(make: Callable[..., Any], value: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function and its inputs, which together make ``value``."""
    if isinstance(value, dict):
        items = cast(dict[Any, Any], value)
        if all(type(key) is str for key in items):
            return Keywords(make, tuple(items)), tuple(items.values())
        return make, tuple(items.items())
    if make is make_slice:
        return make, (value.start, value.stop, value.step)
    return make, tuple(value)
