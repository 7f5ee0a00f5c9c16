"""Texts of a bounded number of tokens: what is shared among them, and lists of which some items are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from agentopt.core.quoting import tokens_of

__all__ = ["LEAST", "Item", "Part", "fit", "most_that_fit", "share"]

LEAST = 25
"""So many tokens are enough for the words that say how much is left out of one part."""
_LENGTHS = (4000, 1200, 400, 120, 40)

Part = Callable[[int], str]
"""The text of a part, of at most so many tokens; a part gets no fewer than LEAST."""


class Item(NamedTuple):
    """One entry of a list. ``amount`` is how many things it stands for when it is left out."""

    write: Callable[[int], str]
    """With each value cut to so many characters."""
    amount: int = 1


def share(demands: Mapping[str, int], weights: Mapping[str, int], budget: int) -> dict[str, int]:
    """Tokens for each part: LEAST for all, and of the rest to each by its weight, but never more than it can use."""
    given = {name: min(demand, LEAST) for name, demand in demands.items()}
    hungry = {name for name, demand in demands.items() if demand > given[name]}
    while hungry:
        room, total = budget - sum(given.values()), sum(weights[name] for name in hungry)
        fair = {name: given[name] + room * weights[name] // total for name in hungry}
        sated = {name for name in hungry if demands[name] <= fair[name]}
        given |= {name: demands[name] for name in sated} if sated else fair
        hungry = hungry - sated if sated else set[str]()
    return given


def most_that_fit(write: Callable[[int], str], most: int, tokens: int) -> str:
    """``write(n)`` with the largest n up to ``most`` that keeps to ``tokens``, if longer n give longer texts; ``write(0)`` if none does."""
    best, low, high = write(0), 1, most
    while low <= high:
        middle = (low + high) // 2
        text = write(middle)
        if tokens_of(text) <= tokens:
            best, low = text, middle + 1
        else:
            high = middle - 1
    return best


def fit(items: Sequence[Item], what: str, tokens: int, lengths: Sequence[int] = _LENGTHS, more: int = 0) -> str:
    """The items in at most ``tokens``: values are cut first, then items left out from the end, counted as ``what``.

    ``more`` things have no item, and are counted too.
    """
    total = more + sum(item.amount for item in items)
    considered = items[: tokens + 1]
    texts: list[str] = []

    def first(n: int) -> str:
        left = total - sum(item.amount for item in considered[:n])
        return "\n".join([*texts[:n], *([f"... {left:,} more {what}"] if left else [])])

    for length in lengths:
        texts.clear()
        used = 0
        for item in considered:
            texts.append(item.write(length))
            used += tokens_of(texts[-1])
            if used > 2 * tokens + LEAST:
                break
        if len(texts) == len(items) and tokens_of(first(len(texts))) <= tokens:
            break

    return most_that_fit(first, len(texts), tokens)
