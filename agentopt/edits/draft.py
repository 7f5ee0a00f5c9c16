"""A module on its way from one text to the next: what may be done to it, and the checks the result must pass."""

from __future__ import annotations

import ast

from agentopt.core.normalise import normalise_python
from agentopt.core.regions import open_spans, within
from agentopt.edits.numeric import BUILTIN_NAMES, imported_modules, is_pure_call
from agentopt.edits.scan import Block, Function, Slot, scan
from agentopt.edits.source import Spans, compiles, parse, survey, walk

__all__ = ["UNREADABLE", "Draft"]

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What parsing or rewriting unusable source can raise."""
_IMPURE = (
    *(ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.With, ast.AsyncWith, ast.AsyncFor, ast.Delete),
)


class Draft:
    """The tree of ``source`` with its slots and blocks. Operators change the tree and say so with ``touch``; ``finish`` gives the text.

    Raises one of ``UNREADABLE`` for a source that cannot be parsed.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.tree = parse(source)
        self._before = survey(self.tree)
        self.modules = imported_modules(self._before.imports)
        self._spans = [Spans(source.encode()).of(statement) for statement in self.tree.body]
        self._open = {k for k, span in enumerate(self._spans) if within(span, open_spans(source))}
        self._touched: set[int] = set()
        self._scanned: tuple[list[Slot], list[Block]] | None = None

    @property
    def size(self) -> int:
        """Nodes of the tree before any change."""
        return self._before.size

    @property
    def slots(self) -> list[Slot]:
        """Where expressions of the functions can be changed, as the tree is now."""
        return self._scan()[0]

    @property
    def blocks(self) -> list[Block]:
        """The lists of statements of the functions, as the tree is now."""
        return self._scan()[1]

    @property
    def open_statements(self) -> list[ast.stmt]:
        """The module's statements that may change: where the source has EVOLVE-BLOCK markers, those between them."""
        return [statement for k, statement in enumerate(self.tree.body) if k in self._open]

    def _scan(self) -> tuple[list[Slot], list[Block]]:
        if self._scanned is None:
            slots, blocks = scan(self.tree, self.modules)
            self._scanned = (
                [slot for slot in slots if slot.function.top in self._open],
                [block for block in blocks if block.function.top in self._open],
            )
        return self._scanned

    def touch(self, function: Function) -> None:
        self._touched.add(function.top)
        self._scanned = None

    def touch_statement(self, statement: ast.stmt) -> None:
        self._touched.add(self.tree.body.index(statement))

    def is_pure(self, node: ast.AST) -> bool:
        """May ``node`` be copied: it calls nothing but arithmetic and binds, awaits or yields nothing."""
        return all(is_pure_call(part, self.modules) if isinstance(part, ast.Call) else not isinstance(part, _IMPURE) for part in walk(node))

    def fits(self, node: ast.expr, slot: Slot) -> bool:
        """May a copy of ``node`` stand at ``slot``: it is pure, and the names it uses are bound there."""
        used = {part.id for part in walk(node) if isinstance(part, ast.Name)}
        return self.is_pure(node) and used <= {*slot.names, *self.modules, *BUILTIN_NAMES}

    def finish(self, max_nodes: int) -> str | None:
        """The new text; None unless it compiles, is another program, uses no name that nothing binds and has at most ``max_nodes`` nodes.

        A program that was larger than ``max_nodes`` before must not have grown. Only the top-level statements that were touched are
        written anew (their comments are lost); the rest of the text stays as it was. May raise one of ``UNREADABLE``.
        """
        if not self._touched:
            return None
        after = survey(self.tree)
        if after.size > max(max_nodes, self._before.size) or not after.unbound <= self._before.unbound:
            return None
        text = self._render()
        return text if compiles(text) and normalise_python(text) != normalise_python(self.source) else None

    def _render(self) -> str:
        text = self.source.encode()
        for top in sorted(self._touched, reverse=True):
            start, end = self._spans[top]
            text = text[:start] + ast.unparse(self.tree.body[top]).encode() + text[end:]
        return text.decode()
