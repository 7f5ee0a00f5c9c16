"""The numbers of Python source: where they are, and how to put others in their place without touching the rest of the text."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentopt.core.regions import open_spans, within
from agentopt.edits.source import Spans, parse

__all__ = ["Constant", "find_constants", "mask_constants", "replace_constants"]

_WORD_BYTE = re.compile(rb"[\w.]")
# An int there counts or selects something: it is part of the structure.
_STRUCTURAL_CALLS = frozenset(
    ("range", "zeros", "ones", "full", "empty", "arange", "linspace", "reshape", "round", "islice", "argpartition")
)
_STRUCTURAL_KEYWORDS = frozenset(("axis", "ndim", "dtype", "maxlen", "maxsize", "shape", "size", "seed", "ndmin", "k", "n", "decimals"))


@dataclass(frozen=True)
class Constant:
    """A numeric literal, its sign included: bytes ``start:end`` of the source in UTF-8."""

    start: int
    end: int
    value: float | int
    structural: bool = False
    """An int used as an index, a size, an axis, a range bound, an exponent or a value to compare with."""
    bind_tightly: bool = False
    """A negative number needs parentheses here, as in ``2 ** x`` or ``2 .real``."""


def find_constants(source: str) -> list[Constant]:
    """All int and float literals outside f-strings, annotations and patterns, in the order of the text.

    In a program with EVOLVE-BLOCK markers only those between them.

    Raises SyntaxError or ValueError when the source cannot be parsed.
    """
    spans = Spans(source.encode())
    found = [
        Constant(*spans.of(node), value, structural and isinstance(value, int), tight)
        for node, value, structural, tight in _literals(parse(source))
    ]
    may_change = open_spans(source)
    return sorted((c for c in found if within((c.start, c.end), may_change)), key=lambda constant: constant.start)


def replace_constants(source: str, constants: Sequence[Constant], values: Sequence[float | int]) -> str:
    """``source`` with ``values`` in the places of ``constants`` (from ``find_constants`` of the same source, any subset in its order).

    An int literal stays an int (rounded), a float stays a float. Raises ValueError for a number that is not finite.
    """
    text = source.encode()
    pieces: list[bytes] = []
    done = 0
    for constant, value in zip(constants, values, strict=True):
        pieces += (text[done : constant.start], _spaced(text, constant, _literal(constant, value)))
        done = constant.end
    return b"".join((*pieces, text[done:])).decode()


def mask_constants(source: str) -> str:
    """``source`` with every number that is not structural replaced by 1 (or 1.0): equal for sources that differ in numbers only."""
    constants = [constant for constant in find_constants(source) if not constant.structural]
    return replace_constants(source, constants, [1] * len(constants))


def _literal(constant: Constant, value: float | int) -> bytes:
    if not math.isfinite(value):
        raise ValueError(f"{value!r} cannot be written as a Python literal")
    text = repr(round(value)) if isinstance(constant.value, int) else repr(float(value))
    return f"({text})".encode() if constant.bind_tightly and text.startswith("-") else text.encode()


def _spaced(text: bytes, constant: Constant, literal: bytes) -> bytes:
    """Keep ``return-1`` and ``1if`` apart from their neighbours."""
    before = text[constant.start - 1 : constant.start] if constant.start else b""
    after = text[constant.end : constant.end + 1]
    if _WORD_BYTE.match(before) and not literal.startswith((b"-", b"(")):
        literal = b" " + literal
    return literal + b" " if _WORD_BYTE.match(after) else literal


def _number(node: ast.AST) -> float | int | None:
    """The value of a literal with its sign; None for everything else."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and math.isfinite(value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(value, bool):
            return -value if math.isfinite(value) else None
        case _:
            return None


_Literal = tuple[ast.expr, float | int, bool, bool]


def _literals(tree: ast.AST) -> Iterator[_Literal]:
    stack: list[_Child] = [(tree, False, False)]
    while stack:
        node, structural, tight = stack.pop()
        value = _number(node)
        if value is not None:
            assert isinstance(node, ast.expr)
            yield node, value, structural, tight
            continue
        for child, child_structural, child_tight in _children(node):
            stack.append((child, structural or child_structural, child_tight))


_Child = tuple[ast.AST, bool, bool]


def _children(node: ast.AST) -> Iterator[_Child]:
    """Children that may hold tunable numbers, each with: is it structural, does it bind tightly."""
    match node:
        case ast.JoinedStr() | ast.pattern() | ast.arg():
            return  # in f-strings positions are only right from Python 3.12 on
        case ast.AnnAssign() | ast.FunctionDef() | ast.AsyncFunctionDef():
            annotation = node.annotation if isinstance(node, ast.AnnAssign) else node.returns
            yield from ((child, False, False) for child in ast.iter_child_nodes(node) if child is not annotation)
        case ast.Compare(ops=[ast.Eq() | ast.NotEq() | ast.In() | ast.NotIn()]):
            yield from ((child, True, False) for child in (node.left, *node.comparators))
        case ast.Call():
            yield from _call_children(node)
        case _:
            yield from _tight_children(node)


def _tight_children(node: ast.AST) -> Iterator[_Child]:
    match node:
        case ast.Subscript():
            yield from ((node.value, False, True), (node.slice, True, False))
        case ast.BinOp(op=ast.Pow()):
            yield from ((node.left, False, True), (node.right, isinstance(node.right, ast.Constant | ast.UnaryOp), False))
        case ast.Attribute():
            yield node.value, False, True
        case _:
            yield from ((child, False, False) for child in ast.iter_child_nodes(node))


def _call_children(node: ast.Call) -> Iterator[_Child]:
    yield node.func, False, True
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
    for argument in node.args:
        yield argument, name in _STRUCTURAL_CALLS, False
    for keyword in node.keywords:
        yield keyword.value, name in _STRUCTURAL_CALLS or keyword.arg in _STRUCTURAL_KEYWORDS, False
