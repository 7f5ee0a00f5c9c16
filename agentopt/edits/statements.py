"""Operators on the statements of a module's functions. Each acts at a random place and says whether it found one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from random import Random

from agentopt.edits.draft import Draft
from agentopt.edits.scan import Block
from agentopt.edits.source import walk

__all__ = ["drop", "duplicate", "swap"]

_FIXED = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Return, ast.Global, ast.Nonlocal, ast.Pass)


def _stored(statement: ast.AST) -> set[str]:
    return {node.id for node in walk(statement) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}


def _loaded(statement: ast.AST) -> set[str]:
    """An augmented assignment reads its target too."""
    names = {node.id for node in walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    updated = {node.target for node in walk(statement) if isinstance(node, ast.AugAssign)}
    return names | {target.id for target in updated if isinstance(target, ast.Name)}


def _swappable(first: ast.stmt, second: ast.stmt) -> bool:
    """Neither stays where it must be, and the second does not read what the first one defines."""
    if isinstance(first, _FIXED) or isinstance(second, _FIXED):
        return False
    return not (_stored(first) - _loaded(first)) & _loaded(second)


def _is_needed(body: list[ast.stmt], at: int) -> bool:
    """Is a name defined here and not before, and read after."""
    defined = _stored(body[at]) - _loaded(body[at])
    before = set[str]().union(*(_stored(statement) for statement in body[:at]))
    after = set[str]().union(*(_loaded(statement) for statement in body[at + 1 :]))
    return bool((defined - before) & after)


def _change_body(draft: Draft, rng: Random, change: Callable[[Block], bool]) -> bool:
    blocks = [block for block in draft.blocks if len(block.body) > 1]
    if not blocks:
        return False
    block = rng.choices(blocks, [len(block.body) for block in blocks])[0]
    if not change(block):
        return False
    draft.touch(block.function)
    return True


def swap(draft: Draft, rng: Random) -> bool:
    """Two neighbouring statements change places."""

    def change(block: Block) -> bool:
        body = block.body
        places = [at for at in range(len(body) - 1) if _swappable(body[at], body[at + 1])]
        at = rng.choice(places) if places else 0
        body[at : at + 2] = body[at : at + 2][::-1]
        return bool(places)

    return _change_body(draft, rng, change)


def drop(draft: Draft, rng: Random) -> bool:
    """A statement less."""

    def change(block: Block) -> bool:
        body = block.body
        places = [at for at in range(len(body)) if not isinstance(body[at], _FIXED) and not _is_needed(body, at)]
        if places:
            del body[rng.choice(places)]
        return bool(places)

    return _change_body(draft, rng, change)


def duplicate(draft: Draft, rng: Random) -> bool:
    """A statement once more, at the end of its block at the latest."""

    def change(block: Block) -> bool:
        places = [at for at, statement in enumerate(block.body) if not isinstance(statement, _FIXED) and draft.is_pure(statement)]
        if not places:
            return False
        at = rng.choice(places)
        last = len(block.body) - isinstance(block.body[-1], ast.Return)
        block.body.insert(rng.randint(at + 1, max(at + 1, last)), ast.parse(ast.unparse(block.body[at])).body[0])
        return True

    return _change_body(draft, rng, change)
