"""New arithmetic, made of what is in scope: numbers, names, ratios, powers and pure functions."""

from __future__ import annotations

import ast
from random import Random

from agentopt.edits.draft import Draft
from agentopt.edits.scan import Slot

__all__ = ["call", "call_any", "copied", "factor", "name", "number", "rounded", "term", "weight"]

_MODULES = ("numpy", "math")


def rounded(value: float) -> float:
    """Four significant digits: what a person would write."""
    return float(f"{value:.4g}")


def number(value: float | int) -> ast.expr:
    """A literal; a negative one is an operation on a positive, as the parser makes it."""
    literal = ast.Constant(abs(value))
    return ast.UnaryOp(ast.USub(), literal) if str(value).startswith("-") else literal


def name(identifier: str) -> ast.Name:
    return ast.Name(identifier, ast.Load())


def copied(node: ast.expr) -> ast.expr:
    """An independent copy, so that a later edit of one place leaves the other alone."""
    return ast.parse(ast.unparse(node), mode="eval").body


def call(module: str, function: str, *arguments: ast.expr) -> ast.Call:
    """``module.function(...)``; a built-in when ``module`` is empty."""
    target: ast.expr = ast.Attribute(name(module), function, ast.Load()) if module else name(function)
    return ast.Call(target, list(arguments), [])


def call_any(draft: Draft, function: str, *arguments: ast.expr) -> ast.expr | None:
    """The function from numpy or else from math, by the name it is imported under; None when neither module is imported."""
    for wanted in _MODULES:
        for alias, module in draft.modules.items():
            if module == wanted and "." not in alias:
                return call(alias, "fabs" if (module, function) == ("math", "abs") else function, *arguments)
    return None


def factor(rng: Random) -> ast.expr:
    """A positive number around 1, mostly within a factor of ten."""
    return number(rounded(rng.lognormvariate(0.0, 1.0)))


def weight(rng: Random) -> ast.expr:
    """A positive number from 0.003 to 3: what is added to a good program had better be small, to be tuned later."""
    return number(rounded(10.0 ** rng.uniform(-2.5, 0.5)))


def term(draft: Draft, slot: Slot, rng: Random) -> ast.expr | None:
    """Something to add at ``slot``: a name, a product, ratio, power or difference of names, or a part of the function; mostly weighted."""
    made = rng.choice((_single, _single, _product, _ratio, _power, _difference, _existing))(draft, slot, rng)
    if made is None or rng.random() < 0.2:
        return made
    return ast.BinOp(weight(rng), ast.Mult(), made)


def _single(draft: Draft, slot: Slot, rng: Random) -> ast.expr:
    numbers = slot.numbers
    return name(rng.choice(numbers)) if numbers else factor(rng)


def _product(draft: Draft, slot: Slot, rng: Random) -> ast.expr | None:
    return _two(ast.Mult(), slot, rng)


def _difference(draft: Draft, slot: Slot, rng: Random) -> ast.expr | None:
    return _two(ast.Sub(), slot, rng)


def _ratio(draft: Draft, slot: Slot, rng: Random) -> ast.expr:
    below = _single(draft, slot, rng)
    if rng.random() < 0.5:
        below = ast.BinOp(below, ast.Add(), factor(rng))
    above = factor(rng) if rng.random() < 0.5 else _single(draft, slot, rng)
    return ast.BinOp(above, ast.Div(), below)


def _power(draft: Draft, slot: Slot, rng: Random) -> ast.expr | None:
    base = _single(draft, slot, rng)
    if rng.random() < 0.7:
        return ast.BinOp(base, ast.Pow(), number(rng.choice((2, 3, -1))))
    size = call_any(draft, "abs", base)
    return size and call_any(draft, "sqrt", size)


def _existing(draft: Draft, slot: Slot, rng: Random) -> ast.expr | None:
    """A copy of another numeric part of the same function."""
    parts = [
        other.node
        for other in draft.slots
        if other.numeric and not other.structural and other.function is slot.function and isinstance(other.node, ast.BinOp | ast.Call)
    ]
    parts = [part for part in parts if draft.fits(part, slot)]
    return copied(rng.choice(parts)) if parts else None


def _two(operator: ast.operator, slot: Slot, rng: Random) -> ast.expr | None:
    numbers = slot.numbers
    return ast.BinOp(name(rng.choice(numbers)), operator, name(rng.choice(numbers))) if numbers else None
