"""A line through the recent samples, weighted by age and by how far each lies from the line before: robust local regression, one-sided
(Cleveland, "Robust locally weighted regression and smoothing scatterplots", 1979).
"""

import numpy as np


def estimate(history: np.ndarray) -> float:
    recent = history[-30:]
    if len(recent) < 4:
        return float(np.median(recent))
    age = np.arange(len(recent))[::-1].astype(float)
    weight = base = np.exp(-age / 5.0)
    level = 0.0
    for _ in range(3):
        total = weight.sum()
        mean_age, mean = (weight * age).sum() / total, (weight * recent).sum() / total
        slope = (weight * (age - mean_age) * (recent - mean)).sum() / ((weight * (age - mean_age) ** 2).sum() + 6.0)
        level = mean - slope * mean_age
        off = np.abs(recent - level - slope * age)
        scale = 2.0 * np.median(off[-12:]) + 0.05
        weight = base / (1.0 + (off / scale) ** 2)
    return float(level)
