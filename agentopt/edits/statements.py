"""Operators on the statements of a module's functions. Each acts at a random place and says whether it found one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from random import Random

from agentopt.edits.draft import Draft
from agentopt.edits.scan import Block

__all__ = ["drop", "duplicate", "swap"]

_FIXED = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Return, ast.Global, ast.Nonlocal, ast.Pass)


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
        places = [at for at in range(len(body) - 1) if not isinstance(body[at], _FIXED) and not isinstance(body[at + 1], _FIXED)]
        at = rng.choice(places) if places else 0
        body[at : at + 2] = body[at : at + 2][::-1]
        return bool(places)

    return _change_body(draft, rng, change)


def drop(draft: Draft, rng: Random) -> bool:
    """A statement less."""

    def change(block: Block) -> bool:
        places = [at for at, statement in enumerate(block.body) if not isinstance(statement, _FIXED)]
        if places:
            del block.body[rng.choice(places)]
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
