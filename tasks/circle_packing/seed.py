import math

import numpy as np

LOW, HIGH = range(2)  # where the sides of the square lie


def construct(n):
    """Centres (n, 2) and radii (n,) of n circles in the unit square that do not overlap."""
    centers = spread(place(n), 0.1, 0.0)
    return centers, fit(centers, 0.5)


def place(n):
    """One in the middle, a ring of 8 and a ring of 16 around it, the rest in a corner."""
    middle = np.full((1, 2), np.mean([LOW, HIGH]))
    rings = [middle, middle + ring(range(8), 0.3, 0.0, 0.0), middle + ring(range(16), 0.7, 0.0, 0.0)]
    centers = np.concatenate(rings)[:n]
    centers = inside(np.concatenate([centers, np.zeros((n - len(centers), 2))]))
    return middle + 1.0 * (centers - middle)


def ring(members, radius, phase, squareness):
    """A circle around the origin; with `squareness` 1 it is a square."""
    angle = math.tau * np.array(members) / len(members) + phase
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    return radius * direction / np.abs(direction).max(axis=1, keepdims=True) ** squareness


def spread(centers, distance, strength):
    """Push apart centres that are nearer to each other than `distance`."""
    for _ in range(30):
        gap = centers[:, None] - centers[None]
        length = np.hypot(gap[:, :, 0], gap[:, :, 1])
        push = np.clip(distance - length, LOW, None) / np.where(length > LOW, length, HIGH)
        centers = inside(centers + strength * (push[:, :, None] * gap).sum(axis=1))
    return centers


def inside(centers):
    margin = 0.01
    return np.clip(centers, LOW + margin, HIGH - margin)


def fit(centers, largest):
    """As large as the sides allow; then two circles that overlap shrink in proportion, pair by pair."""
    radii = np.minimum(centers - LOW, HIGH - centers).min(axis=1)
    radii = np.minimum(radii, largest)
    points, sizes = centers.tolist(), radii.tolist()
    for i, point in enumerate(points):
        for j in range(i):
            distance = math.dist(point, points[j])
            if sizes[i] + sizes[j] > distance:
                shrink = distance / (sizes[i] + sizes[j])
                sizes[i] *= shrink
                sizes[j] *= shrink
    # a hair smaller, so that rounding cannot make two circles overlap
    return np.array(sizes) * (HIGH - np.finfo(float).resolution)
