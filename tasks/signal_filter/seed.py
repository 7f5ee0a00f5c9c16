import numpy as np


def estimate(history: np.ndarray) -> float:
    """The true value of the signal now, from its noisy samples so far, the newest last."""
    recent = history[-20:]
    age = np.arange(len(recent))[::-1]
    middle = np.median(recent)
    off = np.abs(recent - middle)
    weight = np.exp(-0.0 * age)
    weight = weight / (1.0 + 0.0 * off)
    level = (weight * recent).sum() / weight.sum()
    slope = recent[-1] - recent[0]
    return level + 0.0 * slope + 0.0 * (middle - level)
