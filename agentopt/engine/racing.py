"""The statistics of stopping early and of keeping an improvement: pure functions of paired differences.

A difference is candidate - reference on the same (case, repeat, rng_seed), turned so that above 0 is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from agentopt.scoring.interval import student_quantile, student_tail

__all__ = ["chance_of_no_lead", "discovery_level", "least_lead", "limit_at_end", "spend"]

_ZETA = 2.285765653
"""Riemann's zeta at 1.6: the sequence ``n ** -1.6 / _ZETA`` sums to 1."""


def spend(looks: Sequence[int], total: int, level: float) -> list[float]:
    """What each look, after so many of ``total`` pairs, may spend of ``level``.

    Lan & DeMets 1983 (Discrete sequential boundaries for clinical trials), their use function near Pocock's boundary. Each look is
    tested at its own share, so by the union bound the shares hold under any dependence between looks.
    """
    used = [level * math.log(1 + (math.e - 1) * look / total) for look in looks]
    return [after - before for before, after in pairwise([0.0, *used])]


def limit_at_end(differences: Sequence[float], total: int, level: float) -> float:
    """The mean of all ``total`` differences stays below this with probability 1 - ``level``, judged by the first n >= 2 of them.

    Student's prediction limit (Hahn 1970, Additional factors for calculating prediction intervals) for the mean of a finite whole:
    (mean of n - mean of all) / (s sqrt(1/n - 1/total)) has n - 1 degrees of freedom. After all of them it is their mean.
    """
    mean, deviation, n = _moments(differences)
    if n >= total:
        return mean
    return mean + student_quantile(1 - 2 * level, n - 1) * deviation * math.sqrt(1 / n - 1 / total)


def least_lead(differences: Sequence[float], total: int, level: float) -> float:
    """What the mean of ``total`` differences that scatter like these must reach to lie above 0 at the one-sided ``level``."""
    return student_quantile(1 - 2 * level, total - 1) * _moments(differences)[1] / math.sqrt(total)


def chance_of_no_lead(differences: Sequence[float]) -> float:
    """p of Student's one-sided paired test of "the mean difference is not above 0"; 1 for fewer than two.

    Never less than 2 ** -n, the least that n signs can say: differences that happen to be equal have no spread to be judged by.
    """
    if len(differences) < 2:
        return 1.0
    mean, deviation, n = _moments(differences)
    if not mean > 0:
        return 1.0
    tail = student_tail(mean * math.sqrt(n) / deviation, n - 1) if deviation else 0.0
    return max(tail, 2.0**-n)


def discovery_level(place: int, wins: Sequence[int], level: float) -> float:
    """The level of test number ``place`` (from 1) after discoveries at ``wins`` such that at most ``level`` of all discoveries are false.

    LORD++ (Javanmard & Montanari 2018, Online rules for control of false discovery rate; Ramdas et al. 2017): half of ``level`` is
    there at the start and each discovery earns more. While there is none, the levels sum to less than half of ``level``, so where
    nothing can be discovered the chance of any false discovery is below that, under any dependence between the tests.
    """
    start = level / 2
    earned = [level - start if rank == 0 else level for rank in range(len(wins))]
    return start * _share(place) + sum(amount * _share(place - win) for amount, win in zip(earned, wins, strict=True))


def _share(n: int) -> float:
    return n**-1.6 / _ZETA


def _moments(differences: Sequence[float]) -> tuple[float, float, int]:
    """Mean, standard deviation, number. What is not finite gives nan, which no comparison takes for an answer."""
    n = len(differences)
    mean = sum(differences) / n
    squares = sum((difference - mean) * (difference - mean) for difference in differences)
    return mean, math.sqrt(squares / (n - 1)), n
