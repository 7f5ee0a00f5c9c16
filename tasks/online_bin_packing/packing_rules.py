"""The rules that the bin packing tasks share: how items are packed with a priority, and how a packing is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agentopt import Case, Reject, Score

__all__ = ["pack", "run", "score"]

Priority = Callable[[float, np.ndarray], Any]


def pack(priority: Priority, items: np.ndarray, capacity: float) -> np.ndarray:
    """The bin of each item, int64 of shape (n,); bins are numbered in the order in which they were opened.

    Items come one by one. ``priority`` sees the item and what is left in each open bin that can take it, oldest bin first, with one
    empty bin at the end. The highest priority wins, the first among equals.
    """
    smallest = float(items.min())
    left = np.empty(len(items) + 1)
    names = np.empty(len(items) + 1, dtype=np.int64)
    left[0], names[0] = capacity, 0
    live, opened, full = 1, 1, 0
    chosen = np.empty(len(items), dtype=np.int64)
    for index, item in enumerate(items.tolist()):
        fitting = (left[:live] >= item).nonzero()[0]
        ranks = priority(item, left.take(fitting))
        if np.shape(ranks) != fitting.shape:
            raise ValueError(f"priority returned the shape {np.shape(ranks)} for {len(fitting)} bins; return one number per bin")
        slot = fitting[np.argmax(ranks)]
        chosen[index] = names[slot]
        left[slot] -= item
        full += left[slot] < smallest
        if slot == live - 1:
            left[live], names[live] = capacity, opened
            live, opened = live + 1, opened + 1
        if full >= 32:
            # a bin that fits no item of this instance is never shown to the priority, so dropping it changes no decision
            kept = (left[:live] >= smallest).nonzero()[0]
            live, full = len(kept), 0
            left[:live], names[:live] = left[kept], names[kept]
    return chosen


def run(program: Any, input: dict[str, Any]) -> np.ndarray:
    """In the box."""
    return pack(program.priority, input["items"].astype(np.float64), float(input["capacity"]))


def score(case: Case, output: Any, measured: Any) -> Score:
    """Outside. The bins used, counted from the packing alone, over the L1 bound, the least number that could hold the total size."""
    items, capacity = case.input["items"], case.input["capacity"]
    bins = _checked(output, len(items))
    loads = np.zeros(len(items), dtype=np.int64)
    np.add.at(loads, bins, items)
    if (loads > capacity).any():
        worst = int(loads.argmax())
        raise Reject(f"bin {worst} holds {loads[worst]} of {capacity}")
    least = -(-int(items.sum()) // capacity)
    spare = capacity - loads[loads > 0]
    used = len(spare)
    nearly, partly = (int((spare * share < capacity).sum()) for share in (20, 4))
    feedback = (
        f"{used} bins, {used - least} above the bound of {least}; empty by less than 5 %: {nearly}, by 5 to 25 %: {partly - nearly}, "
        f"by more: {used - partly}"
    )
    return Score(excess=used / least - 1.0, feedback=feedback)


def _checked(output: Any, n: int) -> np.ndarray:
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "iu":
        raise Reject("the packing must be an array of whole numbers, the bin of each item")
    if output.shape != (n,):
        raise Reject(f"the packing has the shape {output.shape}; {n} items need ({n},)")
    if (output < 0).any() or (output >= n).any():
        raise Reject(f"the packing names a bin outside 0..{n - 1}")
    return output.astype(np.int64)
