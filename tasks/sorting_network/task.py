"""Sorting networks: few comparators that sort any n numbers, for n the search has not seen too."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from agentopt import Case, Limits, Objective, Reject, Score, Task

# fmt: off
BEST_SIZE = {
    4: 5, 5: 9, 6: 12, 7: 16, 8: 19, 9: 25, 10: 29, 11: 35, 12: 39, 13: 45, 14: 51, 15: 56, 16: 60, 17: 71, 18: 77, 19: 85, 20: 91,
}
"""Fewest comparators known by n; proven to be the fewest up to 12."""
BEST_DEPTH = {
    4: 3, 5: 5, 6: 5, 7: 6, 8: 6, 9: 7, 10: 7, 11: 8, 12: 8, 13: 9, 14: 9, 15: 9, 16: 9, 17: 10, 18: 11, 19: 11, 20: 11,
}
"""Fewest layers known by n; proven to be the fewest up to 17. Not always of the same network."""
# fmt: on
SPLITS = {"train": (4, 6, 7, 8, 10), "validation": (9, 14), "test": (5, 11, 12, 13, *range(15, 21))}

task = Task(
    name="sorting_network",
    goal=(
        "network(n) returns a sorting network for n inputs: a list of comparators (i, j), i < j, that put the smaller value on wire i and "
        "the larger on wire j. It must sort every input. Few comparators matter most, then few layers. It is tried with many n, "
        "also with n that are not shown, up to 20, and has 10 seconds for each; you may import numpy and the standard library."
    ),
    parameters={"network": "seed.py"},
    objectives=[Objective("size", "min", reference=1.0), Objective("depth", "min", reference=1.0)],
    cases={split: [Case(f"n-{n}", {"n": n}) for n in members] for split, members in SPLITS.items()},
    imports=("numpy",),
    limits=Limits(seconds=10),
    budget="75s",
)


@task.run
def run(program: Any, input: dict[str, Any]) -> np.ndarray:
    comparators = [(index(low), index(high)) for low, high in program.network(input["n"])]
    return np.array(comparators, dtype=np.int64).reshape(-1, 2)


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    """By the 0-1 principle (Knuth, TAOCP 3, 5.3.4): a network that sorts all 2^n inputs of zeros and ones sorts everything."""
    n = case.input["n"]
    comparators = _checked(output, n)
    wires, idle = columns(n), 0
    for low, high in comparators:
        a, b = wires[low], wires[high]
        wires[low], wires[high] = a & b, a | b
        idle += wires[low] == a
    for wire in range(n - 1):
        if wrong := wires[wire] & ~wires[wire + 1]:
            raise Reject(_unsorted(n, wire, (wrong & -wrong).bit_length() - 1, wires))
    size, depth = len(comparators), layers(comparators, n)
    return Score(
        size=size / BEST_SIZE[n],
        depth=depth / BEST_DEPTH[n],
        feedback=(
            f"n={n}: {size} comparators (best known {BEST_SIZE[n]}) in {depth} layers (best known {BEST_DEPTH[n]}); "
            f"{idle} of them never exchange anything and can go"
        ),
    )


def columns(n: int) -> list[int]:
    """What each wire holds at first over all 2^n inputs at once: bit k of wire i is bit i of k."""
    found: list[int] = []
    for wire in range(n):
        width = 2 << wire
        column = ((1 << (1 << wire)) - 1) << (1 << wire)
        while width < 1 << n:
            column |= column << width
            width *= 2
        found.append(column)
    return found


def layers(comparators: list[tuple[int, int]], n: int) -> int:
    """The number of layers, each comparator as early as its wires allow."""
    ready = [0] * n
    for low, high in comparators:
        ready[low] = ready[high] = max(ready[low], ready[high]) + 1
    return max(ready)


def _unsorted(n: int, wire: int, number: int, wires: list[int]) -> str:
    """What one of the inputs that are not sorted comes to."""
    given = " ".join(str(number >> k & 1) for k in range(n))
    found = " ".join(str(column >> number & 1) for column in wires)
    return f"the network for n={n} does not sort: {given} becomes {found}, where wire {wire} is above wire {wire + 1}"


def _checked(output: Any, n: int) -> list[tuple[int, int]]:
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "iu":
        raise Reject("the network must be an array of whole numbers, the two wires of each comparator")
    if output.ndim != 2 or output.shape[1] != 2:
        raise Reject(f"the network has the shape {output.shape}; it must be (comparators, 2)")
    if len(output) > n * n:
        raise Reject(f"the network has {len(output)} comparators; more than {n * n} are never needed for n={n}")
    outside = ((output < 0) | (output >= n)).any(axis=1)
    if outside.any():
        k = int(outside.argmax())
        raise Reject(f"comparator {k} is {tuple(output[k].tolist())}; wires are numbered 0 to {n - 1}")
    if (output[:, 0] >= output[:, 1]).any():
        k = int((output[:, 0] >= output[:, 1]).argmax())
        raise Reject(f"comparator {k} is {tuple(output[k].tolist())}; its first wire must be below its second")
    return [(low, high) for low, high in output.tolist()]
