"""Plans: several short directions that one call brought, and that the next proposals follow one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Plan", "items_of", "plan_in"]

_ITEM = re.compile(r"^\s*(?:[*#_]*\s*)?(?:\d{1,2}[.):]|[-*•])\s+(\S.*)$")
_LONGEST = 600
"""Characters of one item."""


@dataclass(frozen=True)
class Plan:
    """``kind`` is ``directions`` or ``paradigms``; ``round`` counts all plans from 1; ``at`` is how many proposals there were before it."""

    kind: str = ""
    round: int = 0
    at: int = 0
    items: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "items": list(self.items)}


def plan_in(memo: Mapping[str, Any]) -> Plan | None:
    """The plan that was made for the proposal with that memo, if it was."""
    data = memo.get("plan")
    return Plan(data["kind"], data["round"], data["at"], tuple(data["items"])) if data else None


def items_of(text: str, most: int) -> tuple[str, ...]:
    """The items of a numbered or bulleted list; lines without a mark go on with the item before them.

    A text without any list is one item; blank text none.
    """
    items: list[str] = []
    for line in text.splitlines():
        match = _ITEM.match(line)
        if match and not line.startswith(("   ", "\t")):
            items.append(match[1])
        elif items and line.strip():
            items[-1] += f" {line.strip()}"
    items = items or [" ".join(text.split())]
    cleaned = (item.strip(" *_").replace("**", "")[:_LONGEST] for item in items)
    return tuple(filter(None, cleaned))[:most]
