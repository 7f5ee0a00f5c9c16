"""What was said of an outcome, as a parameter that led to it sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agentopt.trace import node as ours
from agentopt.trace.graph import Graph

__all__ = ["TraceGraph", "levels", "views"]


@dataclass(frozen=True)
class TraceGraph:
    """One piece of feedback: what was said, and the part of the graph between the parameter and what it was said of."""

    origin: Any
    judgement: ours.Judgement

    @property
    def user_feedback(self) -> str:
        return self.judgement.text

    @property
    def scores(self) -> Mapping[str, float]:
        return self.judgement.scores

    @cached_property
    def graph(self) -> list[tuple[int, Any]]:
        """``(level, node)`` of what the parameter had a part in and of what that was made of directly, in the order of making. O(V + E)."""
        every = _in_order(self.judgement.target)
        depth = levels(self.judgement.target)
        after = {id(self.origin)}
        shown = {id(self.origin)}
        for made in every:
            given = [id(one) for one in made.inputs]
            if not after.isdisjoint(given):
                after.add(id(made))
                shown.update(given)
        return [(depth[id(made)], made) for made in every if id(made) in after | shown]

    def whole(self) -> Graph:
        """All that led to what was judged, as a finished trace."""
        return self.judgement.graph()

    def __len__(self) -> int:
        return len(self.graph)


def levels(target: Any) -> dict[int, int]:
    """The length of the longest way from a root to each node that led to ``target``, by id."""
    found: dict[int, int] = {}
    for made in _in_order(target):
        found[id(made)] = max((found[id(given)] + 1 for given in made.inputs if isinstance(given, ours.Node)), default=0)
    return found


def views(origin: Any) -> dict[Any, list[TraceGraph]]:
    """What was said to a parameter: target -> each piece of feedback, in order."""
    found: dict[Any, list[TraceGraph]] = {}
    for judgement in origin.param.feedback:
        found.setdefault(judgement.target, []).append(TraceGraph(origin, judgement))
    return found


def _in_order(target: Any) -> list[Any]:
    return sorted(ours.reached((target,)), key=lambda made: made.serial)
