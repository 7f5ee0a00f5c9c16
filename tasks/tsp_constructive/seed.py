import numpy as np


def select_next_node(current: int, destination: int, unvisited: np.ndarray, distances: np.ndarray) -> int:
    """The node to go to from `current`, one of `unvisited`; the tour ends at `destination`."""
    near = distances[current, unvisited]
    home = distances[destination, unvisited]
    among = distances[unvisited][:, unvisited].mean(axis=1)
    left = len(unvisited) / len(distances)
    score = -1.0 * near
    score = score + 0.0 * home
    score = score + 0.0 * home * left
    score = score + 0.0 * near * left
    score = score + 0.0 * among
    return unvisited[np.argmax(score)]
