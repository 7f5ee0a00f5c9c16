"""Operators that change Python source a little: each takes a draft and a generator, and says whether it found a place to act.

Genetic programming (Koza 1992) on statements and expressions that are already there, with the types that can be read off the text.
Functions that an edit touches are written anew by ``ast.unparse``, which keeps their docstrings and loses their comments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from agentopt.edits import expressions, statements
from agentopt.edits.draft import UNREADABLE, Draft

__all__ = ["OPERATORS", "SHRINKING", "Operator", "mutate"]

Operator = Callable[[Draft, Random], bool]
OPERATORS: Mapping[str, Operator] = {name: getattr(module, name) for module in (expressions, statements) for name in module.__all__}
SHRINKING = frozenset(("hoist", "drop"))
"""Operators that make a program smaller: to be preferred when it has grown large."""


def mutate(source: str, operators: Sequence[str], rng: Random, max_nodes: int = 400) -> tuple[str, tuple[str, ...]] | None:
    """Apply the named operators one after another; ``(source, names of those that found a place)``.

    None when none did, or when the result is no better than nothing: it does not compile, is the same program, uses a name that nothing
    binds, or has more than ``max_nodes`` nodes and more than before. Signatures, imports and definitions stay as they are.
    """
    try:
        draft = Draft(source)
        applied: list[str] = []
        for operator in operators:
            if applied:
                draft.scan()
            if OPERATORS[operator](draft, rng):
                applied.append(operator)
        text = draft.finish(max_nodes)
    except UNREADABLE:
        return None
    return None if text is None else (text, tuple(applied))
