"""How sure a mean of paired differences is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

__all__ = ["paired_interval", "student_quantile", "student_tail"]

_EXACT_UP_TO = 30


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float] | None:
    """``(mean, low, high)``: Student's two-sided interval for the mean of ``differences``; None for fewer than two."""
    n = len(differences)
    if n < 2:
        return None
    mean = fmean(differences)
    reach = student_quantile(confidence, n - 1) * stdev(differences) / math.sqrt(n)
    return mean, mean - reach, mean + reach


def student_quantile(confidence: float, freedom: int) -> float:
    """The t below which ``|T|`` stays with probability ``confidence``, for ``freedom`` >= 1 degrees; right to 1e-3 and better.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3-5: the finite series for few degrees, inverted by
    bisection, and the expansion around the normal quantile for many.
    """
    if freedom > _EXACT_UP_TO:
        return _expansion(NormalDist().inv_cdf((1 + confidence) / 2), freedom)
    low, high = 0.0, math.pi / 2
    while (middle := (low + high) / 2) not in (low, high):
        if _coverage(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def student_tail(t: float, freedom: int) -> float:
    """P(T > t) for ``freedom`` >= 1 degrees, by the finite series of 26.7.3-4, which is exact for any of them."""
    tail = (1 - _coverage(math.atan(abs(t) / math.sqrt(freedom)), freedom)) / 2
    return tail if t >= 0 else 1 - tail


def _coverage(angle: float, freedom: int) -> float:
    """P(|T| < t) for t = tan(angle) * sqrt(freedom)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    total, term = 0.0, cosine if odd else 1.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def _expansion(z: float, freedom: int) -> float:
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
