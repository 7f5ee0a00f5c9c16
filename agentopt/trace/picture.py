"""What a picture of a trace shows: some forty boxes, the arrows between them, and how many steps are left out where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agentopt.core.quoting import defused
from agentopt.trace.graph import KINDS, Graph, How, Kind, Node
from agentopt.trace.listing import counted
from agentopt.trace.merge import Group
from agentopt.trace.outline import STEPS, Outline, outline, span_of, sure
from agentopt.trace.written import cut, raised, written

__all__ = ["Arrow", "Box", "Picture", "draw", "seconds_text", "summary", "tokens_text"]

_MOST = 40
_GIVEN = 12
"""So many parameters, and so many inputs, have boxes."""
_TITLE = 48
_DETAIL = 160


@dataclass(frozen=True)
class Box:
    """``nodes`` are those it stands for: one, all reads of a parameter, or a stretch of steps that are left out."""

    kind: Kind | Literal["gap"]
    title: str
    detail: str
    """A value, an error, or nothing."""
    nodes: Sequence[int]
    depth: int = 0
    around: int = -1
    """The box inside of which it is; -1 at the top."""
    failing: bool = False
    started: float = 0.0
    seconds: float = 0.0
    tokens: tuple[int, int] | None = None
    """Of a call of a model, in and out."""
    cost: float | None = None


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by their numbers. Of several between the same two the surest."""

    source: int
    target: int
    how: How


@dataclass(frozen=True)
class Picture:
    """Parameters first, then inputs, then steps as in a listing; a step is after the one it is inside of."""

    boxes: tuple[Box, ...]
    given: int
    """How many of the boxes are parameters and inputs."""
    arrows: tuple[Arrow, ...]
    remarks: tuple[tuple[int, str], ...]
    """(box, or -1 for the whole; what was said of it)"""


def draw(graph: Graph, most: int = _MOST, depth: int | None = None) -> Picture:
    """At most about ``most`` boxes of steps; ``depth`` is how many levels of spans are opened, all if None."""
    view = outline(Group((0,), (graph,)))
    shown: set[int] = set()
    for number in view.ranked:
        if len(shown) >= most:
            break
        if depth is None or view.depths[number] < depth:
            shown.add(number)
    boxes = _given(graph)
    given = len(boxes)
    boxes += _steps(graph, view, shown, len(boxes))
    of = {number: place for place, box in enumerate(boxes) for number in box.nodes}
    remarks = [(of.get(each.target, -1), _remark(each.text, each.scores)) for each in graph.feedback]
    return Picture(tuple(boxes), given, _arrows(graph, of, boxes), tuple(remarks))


def _remark(text: str, scores: Mapping[str, float]) -> str:
    said = ", ".join(f"{name} {value:.6g}" for name, value in scores.items())
    return f"[{said}] {defused(text)}".strip() if said else defused(text)


def _given(graph: Graph) -> list[Box]:
    """Parameters, one box for all reads of each, and inputs; what is more than there is room for is one box."""
    boxes: list[Box] = []
    reads: dict[str, list[int]] = {}
    for number in graph.of_kind("param"):
        reads.setdefault(graph.name(number), []).append(number)
    given: list[tuple[Kind, str, list[int]]] = [("param", name, numbers) for name, numbers in reads.items()]
    inputs: list[tuple[Kind, str, list[int]]] = [("input", graph.name(number), [number]) for number in graph.of_kind("input")]
    for all_of_kind, what in ((given, "parameters"), (inputs, "inputs")):
        for kind, name, numbers in all_of_kind[:_GIVEN]:
            boxes.append(Box(kind, _title(name), written(graph.value(numbers[-1]), _DETAIL), numbers))
        if rest := all_of_kind[_GIVEN:]:
            boxes.append(Box("gap", f"{len(rest):,} more {what}", "", [number for _, _, numbers in rest for number in numbers]))
    return boxes


def _steps(graph: Graph, view: Outline, shown: set[int], begin: int) -> list[Box]:
    boxes: list[Box] = []
    of: dict[int, int] = {-1: -1}
    """By span: the box of the nearest one around that is shown."""
    gap: list[int] = []

    def around(number: int) -> int:
        outer = span_of(graph, number)
        return of[outer] if outer in of else of.setdefault(outer, around(outer))

    def close() -> None:
        if gap:
            place = of[gap[0]]
            boxes.append(Box("gap", counted(Counter(map(graph.name, gap))), "", tuple(gap), _depth(boxes, place, begin), place))
            gap.clear()

    for number in view.order:
        place = around(number)
        if number in shown:
            close()
            of[number] = begin + len(boxes)
            boxes.append(_step(graph[number], number in view.failing, _depth(boxes, place, begin), place))
        else:
            if gap and of[gap[0]] != place:
                close()
            of[number] = place
            gap.append(number)
    close()
    return boxes


def _depth(boxes: Sequence[Box], place: int, begin: int) -> int:
    return boxes[place - begin].depth + 1 if place >= 0 else 0


def _step(node: Node, failing: bool, depth: int, around: int) -> Box:
    detail = cut(raised(node), _DETAIL).replace("\n", " ") if node.kind == "exception" else written(node.value, _DETAIL)
    return Box(
        node.kind,
        _title(node.name),
        detail,
        (node.id,),
        depth,
        around,
        failing,
        node.started,
        node.seconds,
        _tokens(node),
        _cost(node),
    )


def _tokens(node: Node) -> tuple[int, int] | None:
    given, made = node.meta.get("tokens_in"), node.meta.get("tokens_out")
    return (given, made) if isinstance(given, int) and isinstance(made, int) else None


def _cost(node: Node) -> float | None:
    cost = node.meta.get("cost_usd")
    return cost if isinstance(cost, int | float) else None


def _title(name: str) -> str:
    return cut(defused(name).replace("\n", " "), _TITLE) or "?"


def _arrows(graph: Graph, of: Mapping[int, int], boxes: Sequence[Box]) -> tuple[Arrow, ...]:
    """What is inside is seen by where it is, so ``contains`` has no arrow."""
    sureness = {"inferred": 0, "reads": 1, "arg": 2}
    best: dict[tuple[int, int], How] = {}
    for target, box in enumerate(boxes):
        if box.kind in ("param", "input"):
            continue
        for number in box.nodes:
            for edge in sure(graph, number):
                source = of.get(edge.source, target)
                if source == target or edge.how == "contains":
                    continue
                if sureness[edge.how] >= sureness[best.get((source, target), "inferred")]:
                    best[source, target] = edge.how
    return tuple(Arrow(source, target, how) for (source, target), how in best.items())


def summary(graph: Graph) -> str:
    """``47 steps · 1.51 s · 16 calls of models · 14,212 → 1,788 tokens · $0.0021``; what is not known is left out."""
    steps = sum(len(graph.of_kind(kind)) for kind in KINDS if kind in STEPS)
    ends = max((node.started + node.seconds for node in graph), default=0.0)
    calls = [graph[number] for number in graph.of_kind("llm")]
    known = [tokens for node in calls if (tokens := _tokens(node))]
    costs = [cost for node in calls if (cost := _cost(node)) is not None]
    facts = [f"{steps:,} {'step' if steps == 1 else 'steps'}", *([seconds_text(ends)] if ends > 0 else [])]
    facts += [f"{len(calls):,} {'call' if len(calls) == 1 else 'calls'} of models"] if calls else []
    facts += [tokens_text((sum(one for one, _ in known), sum(two for _, two in known)))] if known else []
    return " · ".join([*facts, *([f"${sum(costs):.3g}"] if costs else [])])


def seconds_text(seconds: float) -> str:
    """``12 ms``, ``1.25 s``, ``3 min 20 s``"""
    if seconds < 1e-4:
        return "<0.1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def tokens_text(tokens: tuple[int, int]) -> str:
    return f"{tokens[0]:,} → {tokens[1]:,} tokens"
