"""What of a trace is worth showing when there is no room for all of it: for listings and for pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from agentopt.trace.graph import Edge, Graph, Node
from agentopt.trace.merge import Group
from agentopt.trace.written import raised

__all__ = ["STEPS", "Outline", "failing", "outline", "span_of", "sure"]

STEPS = frozenset({"op", "call", "llm", "tool", "exception"})
"""Kinds of nodes that did something; the others were given."""
_FEW = 8
"""So many of one shape are all shown; of more, the first two and the last two."""
_ENDS = 2
_NEAR = 2


@dataclass(frozen=True)
class Outline:
    """The steps of a trace, as a tree of spans and by importance."""

    order: tuple[int, ...]
    """All steps: each span before what happened inside it, and otherwise as they began."""
    places: Mapping[int, int]
    """Where in ``order`` each step is."""
    depths: tuple[int, ...]
    """How many spans are around each node, by its number."""
    ranked: tuple[int, ...]
    """The steps worth showing, the most important first; repetitions are not among them."""
    failing: frozenset[int]
    """The steps through which the exception went that ended the run."""


def outline(group: Group) -> Outline:
    """O(nodes + edges). What was judged and what failed come first, then what uses parameters, then what lies near to those."""
    graph = group.graph
    order, depths = _tree(graph)
    places = {number: place for place, number in enumerate(order)}
    failed = failing(graph)
    targets = sorted({feedback.target for each in group.graphs for feedback in each.feedback} | failed | {graph.output})
    first = _with_spans(graph, (target for target in targets if 0 <= target < len(graph)))
    distances = _distances(graph, first)
    repeated = _repeated(graph, order)
    ranked: list[tuple[int, int, int]] = []
    for place, number in enumerate(order):
        distance = distances.get(number, len(graph))
        if number in first:
            ranked.append((0, distance, place))
        elif number not in repeated or distance <= _NEAR:
            ranked.append((1 if _uses_params(graph, number) else 2, distance, place))
    return Outline(order, places, depths, tuple(order[place] for _, _, place in sorted(ranked)), frozenset(failed))


def failing(graph: Graph) -> set[int]:
    """The exceptions that ended the run, each inside the next; empty if it came to its end."""
    raised = graph.of_kind("exception")
    inside: dict[int, list[int]] = {}
    for number in raised:
        inside.setdefault(span_of(graph, number), []).append(number)
    left = inside.get(-1, []) if graph.output < 0 else [graph.output] if graph.output in raised else []
    found: set[int] = set()
    while left:
        found.update(left)
        came = [[n for n in inside.get(outer, ()) if n not in found and _came_of(graph[outer], graph[n])] for outer in left]
        left = [max(numbers) for numbers in came if numbers]
    return found


def _came_of(outer: Node, inner: Node) -> bool:
    """Whether what left ``outer`` is what left ``inner``, or was raised because of it; loaded traces only know the texts."""
    error = outer.value
    if isinstance(error, BaseException) and inner.value in (error.__cause__, error.__context__):
        return True
    return error is inner.value or raised(outer) == raised(inner)


def span_of(graph: Graph, number: int) -> int:
    """The step around a node, -1 at the top; a file may name one that began later, which is around nothing."""
    span = graph.span(number)
    return span if span < number else -1


def sure(graph: Graph, number: int) -> tuple[Edge, ...]:
    """The inputs of a node without guesses that say nothing new.

    A text that went through several hands is found in each. Of those only the last hand before this node is kept: not what is inside
    of another source, not what another source was given, and not what the call around this node was given.
    """
    edges = graph.inputs(number)
    if not any(edge.how == "inferred" for edge in edges):
        return edges
    sources = {edge.source for edge in edges if edge.how != "contains"}
    outer = span_of(graph, number)
    passed = {edge.source for edge in graph.inputs(outer) if edge.how in ("arg", "inferred")} if outer >= 0 else set[int]()
    for source in sources:
        passed.update(each for each in graph.sources(source) if each != number)
    kept = [
        edge for edge in edges if edge.how != "inferred" or (edge.source not in passed and not _inside_any(graph, edge.source, sources))
    ]
    return tuple(kept)


def _inside_any(graph: Graph, number: int, spans: Set[int]) -> bool:
    while (outer := span_of(graph, number)) >= 0:
        if outer in spans:
            return True
        number = outer
    return False


def _tree(graph: Graph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    inside: dict[int, list[int]] = {}
    for number in range(len(graph)):
        inside.setdefault(span_of(graph, number), []).append(number)
    depths = [0] * len(graph)
    order: list[int] = []
    left = inside.get(-1, [])[::-1]
    while left:
        number = left.pop()
        order.append(number)
        children = inside.get(number, ())
        for child in children:
            depths[child] = depths[number] + 1
        left.extend(reversed(children))
    return tuple(number for number in order if graph.kind(number) in STEPS), tuple(depths)


def _with_spans(graph: Graph, numbers: Iterable[int]) -> dict[int, None]:
    found: dict[int, None] = {}
    for number in numbers:
        while number >= 0 and number not in found:
            found[number] = None
            number = span_of(graph, number)
    return found


def _distances(graph: Graph, begin: Iterable[int]) -> dict[int, int]:
    """Steps back from ``begin``, along all edges."""
    distances = dict.fromkeys(begin, 0)
    left = deque(distances)
    while left:
        number = left.popleft()
        for source in graph.sources(number):
            if source not in distances:
                distances[source] = distances[number] + 1
                left.append(source)
    return distances


def _uses_params(graph: Graph, number: int) -> bool:
    return any(graph.kind(source) == "param" for source in graph.sources(number))


def _repeated(graph: Graph, order: Sequence[int]) -> set[int]:
    """Steps of which there are many alike, but the first and the last of them."""
    params = {number: graph.name(number) for number in graph.of_kind("param")}
    alike: dict[object, list[int]] = {}
    for number in order:
        sources = graph.sources(number)
        used = tuple(params[source] for source in sources if source in params)
        alike.setdefault((graph.kind(number), graph.name(number), len(sources), used), []).append(number)
    found: set[int] = set()
    for numbers in alike.values():
        if len(numbers) > _FEW:
            found.update(numbers[_ENDS:-_ENDS])
    return found
