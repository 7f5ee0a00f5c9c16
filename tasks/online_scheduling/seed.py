import numpy as np


def priority(waited: np.ndarray, weight: np.ndarray, times: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The rank (jobs, machines) of starting each waiting job on each machine; the highest on an idle machine starts, -inf is not now.

    `waited` and `weight` (jobs,), the time a job is said to take on each machine `times` (jobs, machines), and how long each
    machine is still busy `free` (machines,), 0 for an idle one.
    """
    fastest = times.min(axis=1, keepdims=True)
    rank = 1.0 * waited[:, None] - 0.01 * times
    rank = rank + 0.0 * weight[:, None]
    rank = rank - 0.0 * fastest
    rank = rank - 0.0 * times / fastest
    rank = rank + 0.0 * weight[:, None] / times
    soonest = (free + times).min(axis=1, keepdims=True)
    return np.where(times > 99.0 * soonest, -np.inf, rank)
