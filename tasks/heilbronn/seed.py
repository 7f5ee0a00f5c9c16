import numpy as np


def construct(n):
    """n points (n, 2) in the unit square, among them no small triangle."""
    return np.clip(climb(parabola(n), 60, 0.0), 0.0, 1.0)


def parabola(n):
    """Erdos: the points (i, i^2 mod p) with a prime p; no three of them lie on a line."""
    prime = next(p for p in range(n, 2 * n) if all(p % d for d in range(2, p)))
    i = np.arange(n)
    return np.column_stack([i, i**2 % prime]) / (prime - 1)


def climb(points, rounds, step):
    """Move one point at a time; keep the move if the smallest triangle does not shrink."""
    rng = np.random.default_rng(0)
    best = smallest(points)
    for _ in range(rounds):
        moved = points.copy()
        moved[rng.integers(len(points))] += step * rng.normal(size=2)
        moved = np.clip(moved, 0.0, 1.0)
        area = smallest(moved)
        if area >= best:
            points, best = moved, area
    return points


def smallest(points):
    """The area of the smallest triangle."""
    n = len(points)
    x, y = points.T
    cross = x[:, None] * y[None] - x[None] * y[:, None]
    i, j, k = np.triu_indices(n, 1)[0], np.triu_indices(n, 1)[1], np.arange(n)
    area = np.abs(cross[i, j][:, None] + cross[j][:, k] + cross[k][:, i].T) / 2
    return area[k[None] > j[:, None]].min()
