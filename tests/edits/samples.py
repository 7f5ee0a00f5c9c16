"""Programs to edit: between them they hold every kind of statement and expression that the edits look at."""

from __future__ import annotations

PRIORITY = '''import numpy as np

WEIGHT = 0.5  # kept: only functions are rewritten


def priority(item, bins):
    """Best fit and more."""
    remaining = bins - item
    score = -1.0 * remaining + WEIGHT * np.sqrt(np.abs(remaining))
    for i in range(3):
        score = score + 0.1 * np.maximum(remaining, i) / 2
    if item > 50 and score.size > 1 or not item:
        score += 0.25 * bins
    return score
'''
SCALAR = """import math


def helper(x, *, scale=2.0):
    return scale * math.exp(-x) if x > 0 else abs(x)


def solve(points, limit):
    best = None
    total = 0
    values = [helper(p) * 2.0 for p in points if p != limit]
    with open("/dev/null") as sink:
        print(total, file=sink)
    while total < limit:
        total = total + max(values[0], 1.5)
        total -= 0.5
    try:
        best = sorted(points, key=lambda p: p - limit)[-1]
    except (IndexError, TypeError) as error:
        best = len(str(error))
    match best:
        case [first, *rest]:
            best = first + 1
        case {"a": other, **more}:
            best = other
    return f"{best:.2f}", (total, best), {"total": total if total > 0 else -total}
"""
CLASS = '''from math import sqrt


class Solver:
    """Steps."""

    factor: float = 1.5

    def step(self, x: float, y: float) -> float:
        def inner(z):
            nonlocal x
            x = x * z
            return (w := x + y) * w
        return inner(x) - self.factor * x ** 2


async def drive(x):
    async with x as y:
        await y
    global count
    count = 1
    assert x, "x"
    del y
    rate: float = (x + y).sum(axis=1) / 2
    try:
        from os import path
    except* OSError as problem:
        rate = x[2:] * rate
    return {k: v * 2 for k, v in x.items()}, {*x}, sum(v / 3 for v in x)
'''
SAMPLES = [PRIORITY, SCALAR, CLASS]
