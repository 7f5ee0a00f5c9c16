"""Operators that change Python source a little: each takes a draft and a generator, and says whether it found a place to act.

Genetic programming (Koza 1992) on statements and expressions that are already there, with the types that can be read off the text.
Functions that an edit touches are written anew by ``ast.unparse``, which keeps their docstrings and loses their comments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from agentopt.edits import expressions, statements
from agentopt.edits.draft import UNREADABLE, Draft

__all__ = ["OPERATORS", "SHRINKING", "Mutated", "Operator", "mutate"]

Operator = Callable[[Draft, Random], bool]
OPERATORS: Mapping[str, Operator] = {name: getattr(module, name) for module in (expressions, statements) for name in module.__all__}
SHRINKING = frozenset(("hoist", "drop"))
"""Operators that make a program smaller: to be preferred when it has grown large."""


@dataclass(frozen=True)
class Mutated:
    """The new source and the operators that made it, in order."""

    source: str
    operators: tuple[str, ...]


def mutate(source: str, weights: Mapping[str, float], rng: Random, count: int = 1, max_nodes: int = 400) -> Mutated | None:
    """Apply ``count`` operators, drawn by ``weights`` (name: weight), one after another; an operator that finds no place is passed over.

    None when none finds one, or when the result does not compile, is the same program, uses a name that nothing binds, or has
    more than ``max_nodes`` nodes and more than before. Signatures, imports and definitions stay as they are. The nearer a program is
    to ``max_nodes``, the likelier are operators that make it smaller.
    """
    try:
        draft = Draft(source)
        crowded = 1.0 + 4.0 * min(1.0, draft.size / max_nodes) ** 2
        left = {name: weight * (crowded if name in SHRINKING else 1.0) for name, weight in weights.items()}
        applied: list[str] = []
        while left and len(applied) < count:
            name = rng.choices(list(left), list(left.values()))[0]
            if OPERATORS[name](draft, rng):
                applied.append(name)
            else:
                del left[name]
        text = draft.finish(max_nodes)
    except UNREADABLE:
        return None
    return None if text is None else Mutated(text, tuple(applied))
