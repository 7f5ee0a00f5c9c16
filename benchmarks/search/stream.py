"""The proposal stream: a random typed edit of a program, drawn from a fixed distribution by (seed, number of the request).

It reads no score and knows no task. Whoever asks gets draws from the same distribution; what a search can do better is to choose
what is edited, and with what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from random import Random

from agentopt.core.normalise import normalise_python
from agentopt.edits import expressions, statements
from agentopt.edits.constants import Constant, find_constants, replace_constants
from agentopt.edits.crossover import crossover
from agentopt.edits.mutations import mutate

__all__ = ["UNUSABLE", "Stream", "same"]

KINDS = {"constants": 0.40, "expressions": 0.35, "statements": 0.10, "crossover": 0.15}
"""How often each kind is tried; one that finds no place (a crossover without another program) is drawn again."""
UNUSABLE = 0.05
"""Share of the requests that are answered without a program."""
AGAIN = 0.35
"""Chance of one edit more on top, up to three."""
_TRIES = 60
_MAX_NODES = 1200
_EXPRESSIONS = {name: 1.0 for name in expressions.__all__ if name != "perturb"}
_STATEMENTS = {name: 1.0 for name in statements.__all__}


class Stream:
    """Draws of one seed. ``draw(k, ...)`` depends on nothing but its arguments and the seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def draw(self, number: int, parent: str, others: Sequence[str] = ()) -> str | None:
        """A program that is neither ``parent`` nor one of ``others``; None for an answer that is of no use."""
        digest = hashlib.sha256(f"{self._seed}:{number}".encode()).digest()
        rng = Random(int.from_bytes(digest[:8], "big"))
        if rng.random() < UNUSABLE:
            return None
        taken = {same(text) for text in (parent, *others)}
        return _edited(parent, others, taken, rng)


def same(program: str) -> str:
    """Equal for programs that differ in layout, comments and names of local variables only."""
    try:
        return normalise_python(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program


def _edited(parent: str, others: Sequence[str], taken: Collection[str], rng: Random) -> str | None:
    for _ in range(_TRIES):
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        child = _EDITS[kind](parent, others, rng)
        if child is not None and same(child) not in taken:
            return child
    return None


def _count(rng: Random) -> int:
    return 1 + (rng.random() < AGAIN) + (rng.random() < AGAIN)


def _constants(parent: str, others: Sequence[str], rng: Random) -> str | None:
    """One to three numbers moved; the rest of the text stays to the letter."""
    try:
        found = find_constants(parent)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    chosen = sorted(rng.sample(found, min(len(found), _count(rng))), key=lambda constant: constant.start)
    return replace_constants(parent, chosen, [_moved(constant, rng) for constant in chosen]) if chosen else None


def _moved(constant: Constant, rng: Random) -> float | int:
    value = constant.value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, value * 2, value // 2))
    roll = rng.random()
    if value == 0.0:
        moved = rng.gauss(0.0, 1.0)
    elif roll < 0.1:
        moved = -value
    else:
        moved = value * rng.lognormvariate(0.0, 0.4 if roll < 0.8 else 1.5)
    return float(f"{moved:.6g}")


def _expressions(parent: str, others: Sequence[str], rng: Random) -> str | None:
    made = mutate(parent, _EXPRESSIONS, rng, _count(rng), _MAX_NODES)
    return made.source if made else None


def _statements(parent: str, others: Sequence[str], rng: Random) -> str | None:
    made = mutate(parent, _STATEMENTS, rng, 1, _MAX_NODES)
    return made.source if made else None


def _crossover(parent: str, others: Sequence[str], rng: Random) -> str | None:
    return crossover(parent, rng.choice(others), rng, _MAX_NODES) if others else None


_EDITS: dict[str, Callable[[str, Sequence[str], Random], str | None]] = {
    "constants": _constants,
    "expressions": _expressions,
    "statements": _statements,
    "crossover": _crossover,
}
