"""A child of two modules that define the same functions: the first one with a piece of the second."""

from __future__ import annotations

import ast
from random import Random

from agentopt.edits.draft import UNREADABLE, Draft
from agentopt.edits.scan import Block, Slot
from agentopt.edits.terms import copied

__all__ = ["crossover"]

_UNMOVABLE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Global, ast.Nonlocal, ast.Pass)


def crossover(first: str, second: str, rng: Random, max_nodes: int = 400) -> str | None:
    """``first`` with an expression, a statement or a whole function body of ``second``, taken from the function of the same name.

    Only code that calls nothing but arithmetic moves, except with a whole body. None when nothing fits, or when the result fails the
    checks of ``Draft.finish`` (it compiles, is another program than ``first``, uses no name that nothing binds, is not too large).
    """
    try:
        child, donor = Draft(first), Draft(second)
        moves = [_take_expression, _take_statement, _take_body]
        rng.shuffle(moves)
        return child.finish(max_nodes) if any(move(child, donor, rng) for move in moves) else None
    except UNREADABLE:
        return None


def _take_expression(child: Draft, donor: Draft, rng: Random) -> bool:
    places = [slot for slot in child.slots if _movable(slot)]
    if not places:
        return False
    place = rng.choice(places)
    pieces = [slot.node for slot in donor.slots if _movable(slot) and slot.function.key == place.function.key]
    pieces = [node for node in pieces if child.fits(node, place)]
    if not pieces:
        return False
    place.put(copied(rng.choice(pieces)))
    child.touch(place.function)
    return True


def _take_statement(child: Draft, donor: Draft, rng: Random) -> bool:
    pairs = _blocks_of_one_function(child, donor)
    if not pairs:
        return False
    mine, theirs = rng.choice(pairs)
    movable = [statement for statement in theirs.body if not isinstance(statement, _UNMOVABLE) and donor.is_pure(statement)]
    if not movable:
        return False
    at = rng.randrange(len(mine.body))
    instead = rng.random() < 0.5 and not isinstance(mine.body[at], _UNMOVABLE)
    mine.body[at : at + instead] = _copied(rng.choice(movable))
    child.touch(mine.function)
    return True


def _take_body(child: Draft, donor: Draft, rng: Random) -> bool:
    """A whole function: worth it only in modules that have several, and where both take the same arguments."""
    pairs = [
        (mine, theirs)
        for mine in child.open_statements
        for theirs in donor.tree.body
        if isinstance(mine, ast.FunctionDef) and isinstance(theirs, ast.FunctionDef) and mine.name == theirs.name
    ]
    differing = [(mine, theirs) for mine, theirs in pairs if ast.dump(mine) != ast.dump(theirs)]
    differing = [(mine, theirs) for mine, theirs in differing if ast.dump(mine.args) == ast.dump(theirs.args)]
    if len(pairs) < 2 or not differing:
        return False
    mine, theirs = rng.choice(differing)
    mine.body = theirs.body
    child.touch_statement(mine)
    return True


def _movable(slot: Slot) -> bool:
    return slot.numeric and not slot.structural


def _blocks_of_one_function(child: Draft, donor: Draft) -> list[tuple[Block, Block]]:
    return [(mine, theirs) for mine in child.blocks for theirs in donor.blocks if mine.function.key == theirs.function.key]


def _copied(statement: ast.stmt) -> list[ast.stmt]:
    if isinstance(statement, ast.Return):  # cannot stand alone in a module
        return [ast.Return(copied(statement.value) if statement.value else None)]
    return ast.parse(ast.unparse(statement)).body
