import numpy as np


def priority(item: float, bins: np.ndarray) -> np.ndarray:
    """The priority of each bin for this item. `bins` holds the room left in each bin that can take it; the last one is empty."""
    capacity = bins[-1]
    leftover = (bins - item) / capacity
    score = -0.1 * leftover
    score = score + 0.0 * leftover**2
    score = score + 0.0 * (leftover < 0.05)
    score = score + 0.0 * (leftover < 0.2)
    score = score + 0.0 * (bins < 2.0 * item)
    return score
