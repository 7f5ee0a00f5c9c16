"""Which member of a front is called the best, and when scores reach a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from agentopt.core.errors import ConfigError
from agentopt.core.task import Objective

__all__ = ["ordered_objectives", "rank_key", "select_best"]

_Member = TypeVar("_Member")


def ordered_objectives(objectives: Sequence[Objective], select: str | None) -> list[Objective]:
    """The objectives, those named in ``select`` ("seconds" or "seconds,excess") first. Raises ConfigError."""
    if not select:
        return list(objectives)
    by_name = {objective.name: objective for objective in objectives}
    wanted = [name.strip() for name in select.split(",")]
    for name in wanted:
        if name not in by_name:
            raise ConfigError(f"select: there is no objective {name!r}; use {', '.join(by_name)}")
    return [by_name[name] for name in wanted] + [objective for objective in objectives if objective.name not in wanted]


def rank_key(scores: Mapping[str, float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Sorts better scores first."""
    return tuple(scores[o.name] if o.direction == "min" else -scores[o.name] for o in objectives)


def select_best(members: Sequence[tuple[_Member, Mapping[str, float]]], objectives: Sequence[Objective]) -> _Member | None:
    """The member with the best first objective, ties by the next, then the earlier in ``members`` (oldest first)."""
    if not members:
        return None
    return min(members, key=lambda member: rank_key(member[1], objectives))[0]
