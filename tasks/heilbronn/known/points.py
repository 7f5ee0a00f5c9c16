"""Best points known for n = 6, 7, 8 and 12, and for no other n; found anew by an optimizer, and for n = 12 from its formula.

n = 6: Goldberg, Mathematics Magazine 45, 1972; n = 7, 8, 12: Comellas and Yebra, "New lower bounds for Heilbronn numbers", Electronic
Journal of Combinatorics 9, 2002.
"""

import math

import numpy as np


def construct(n: int) -> np.ndarray:
    return np.array({6: SIX, 7: SEVEN, 8: eight(), 12: twelve()}[n])


SIX = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.25, 0.5), (0.75, 0.5)]
SEVEN = [
    (0.0, 1.0),
    (1.0, 1.0),
    (0.28725773761738516, 0.0),
    (0.28725773761738516, 0.5838590090075133),
    (0.8060634335253696, 0.4925871474483808),
    (0.0, 0.18082729224482852),
    (1.0, 0.13519136146526245),
]


def eight() -> list[tuple[float, float]]:
    """Unchanged by half a turn."""
    half = [(0.0, 0.0), (0.2324081207560017, 0.3771609693928897), (0.2324081207560017, 1.0), (0.0, 0.8114195153035551)]
    return half + [(1.0 - x, 1.0 - y) for x, y in half]


def twelve() -> list[tuple[float, float]]:
    """Unchanged by all symmetries of the square."""
    cube = (27.0 + 3.0 * math.sqrt(57.0)) ** (1.0 / 3.0)
    x = 1.0 - (cube**2 + 6.0) / (6.0 * cube)
    y = 2.0 * x**2 - 3.0 * x + 0.5
    quarter = [(0.0, x), (0.0, 1.0 - x), (y, 0.5)]
    turned = [(1.0 - b, a) for a, b in quarter]
    return [point for part in (quarter, turned) for a, b in part for point in ((a, b), (1.0 - a, 1.0 - b))]
