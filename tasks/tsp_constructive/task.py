"""Travelling salesman, built step by step: 50 uniform points in the unit square."""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from random import Random
from typing import Any

import numpy as np

from agentopt import Case, Limits, Objective, Reject, Score, Task

NODES = 50
SIZES = {"train": (8, 8), "validation": (8, 16), "test": (16, 16)}
"""Cases and instances per case."""


def cases(split: str, rng: Random) -> list[Case]:
    generator = np.random.default_rng(rng.getrandbits(64))
    count, instances = SIZES[split]
    return [Case(f"{split}-{k}", {"points": generator.random((instances, NODES, 2))}) for k in range(count)]


def construct(select: Callable[..., Any], points: np.ndarray) -> list[int]:
    """A tour over ``points`` (n, 2) that starts and ends at node 0."""
    gaps = points[:, None] - points[None]
    distances = np.sqrt((gaps**2).sum(axis=2))
    distances.flags.writeable = False
    unvisited = np.arange(1, len(points))
    tour = [0]
    while len(unvisited):
        node = index(select(tour[-1], 0, unvisited.copy(), distances))
        others = unvisited[unvisited != node]
        if len(others) == len(unvisited):
            raise ValueError(f"select_next_node returned {node}, which is not an unvisited node")
        tour.append(node)
        unvisited = others
    return tour


task = Task(
    name="tsp_constructive",
    goal="Build a tour node by node: from the current node, select the next one such that the closed tour through all nodes is short.",
    parameters={"select_next_node": "seed.py"},
    objectives=[Objective("length", "min", reference=5.68)],
    cases=cases,
    imports=("numpy",),
    limits=Limits(seconds=10),
    budget="75s",
)


@task.run
def run(program: Any, input: dict[str, Any]) -> np.ndarray:
    return np.array([construct(program.select_next_node, points) for points in input["points"]], dtype=np.int64)


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    points = case.input["points"]
    tours = _checked(output, points.shape[:2])
    stops = np.take_along_axis(points, tours[:, :, None], axis=1)
    legs = np.sqrt(((np.roll(stops, -1, axis=1) - stops) ** 2).sum(axis=2))
    lengths = legs.sum(axis=1)
    late = legs[:, -NODES // 5 :].sum() / lengths.sum()
    feedback = (
        f"tours from {lengths.min():.3f} to {lengths.max():.3f}; longest leg {legs.max(axis=1).mean():.3f}, "
        f"way home {legs[:, -1].mean():.3f} on average; the last fifth of the legs is {late:.0%} of the length"
    )
    return Score(length=float(lengths.mean()), feedback=feedback)


def _checked(output: Any, shape: tuple[int, int]) -> np.ndarray:
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "iu":
        raise Reject("the tours must be an array of whole numbers")
    if output.shape != shape:
        raise Reject(f"the tours have the shape {output.shape}; it must be {shape}")
    astray = (np.sort(output, axis=1) != np.arange(shape[1])).any(axis=1)
    if astray.any():
        raise Reject(f"tour {int(astray.argmax())} does not visit every node exactly once")
    return output.astype(np.int64)
