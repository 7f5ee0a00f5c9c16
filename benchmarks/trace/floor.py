"""The least that a recorder of graphs can do: what the costs of a real one are measured against, in the same process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

__all__ = ["Item", "above", "recorded"]

_NEXT = itertools.count().__next__


class Item:
    """A value, what made it and of what."""

    __slots__ = ("number", "op", "parents", "value")

    def __init__(self, value: Any, parents: tuple[Any, ...] = (), op: str = "") -> None:
        self.value, self.parents, self.op, self.number = value, parents, op, _NEXT()

    def __add__(self, other: Any) -> Item:
        if type(other) is not Item:
            other = Item(other)
        return Item(self.value + other.value, (self, other), "add")


def recorded(function: Callable[..., Any]) -> Callable[..., Item]:
    """``function`` on items."""
    name = function.__name__

    def call(*args: Any) -> Item:
        items = tuple(item if type(item) is Item else Item(item) for item in args)
        return Item(function(*[item.value for item in items]), items, name)

    return call


def above(target: Item) -> list[Item]:
    """All that led to ``target``, in order."""
    seen, waiting = {target.number: target}, [target]
    while waiting:
        for parent in waiting.pop().parents:
            if parent.number not in seen:
                seen[parent.number] = parent
                waiting.append(parent)
    return [seen[number] for number in sorted(seen)]
