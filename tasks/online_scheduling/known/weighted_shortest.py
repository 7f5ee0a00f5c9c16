"""Weighted shortest expected processing time (Smith 1956), best machine first; a job waits for a machine that would be done much sooner."""

import numpy as np


def priority(waited: np.ndarray, weight: np.ndarray, times: np.ndarray, free: np.ndarray) -> np.ndarray:
    fastest = times.min(axis=1, keepdims=True)
    rank = weight[:, None] / fastest * (fastest / times) ** 2.0
    soonest = (free + times).min(axis=1, keepdims=True)
    return np.where(times > 1.2 * soonest, -np.inf, rank)
