"""Operators on the expressions of a module's functions. Each acts at a random place and says whether it found one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from random import Random

from agentopt.edits.draft import Draft
from agentopt.edits.numeric import peers
from agentopt.edits.scan import ARITHMETIC, ORDERINGS, Slot, is_number
from agentopt.edits.terms import call, call_any, copied, factor, name, number, rounded, term

__all__ = [
    "add",
    "boolean",
    "branch",
    "comparison",
    "copy",
    "function",
    "hoist",
    "operands",
    "operator",
    "perturb",
    "rename",
    "scale",
    "wrap",
]

_UNARY = ("sqrt", "log1p", "exp", "tanh", "square", "abs", "floor")
_SWAPS: Sequence[tuple[type[ast.operator], ...]] = ((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.FloorDiv, ast.Mod, ast.Div))
_COMPARISONS: Sequence[tuple[type[ast.cmpop], ...]] = (ORDERINGS, (ast.Eq, ast.NotEq), (ast.In, ast.NotIn))


# -- picking places


def _slots(draft: Draft, kind: Callable[[Slot], bool]) -> list[Slot]:
    return [slot for slot in draft.slots if kind(slot)]


def _numeric(slot: Slot) -> bool:
    return slot.numeric and not slot.structural and bool(slot.function.key)


def _replace(draft: Draft, slots: Sequence[Slot], rng: Random, make: Callable[[Slot], ast.expr | None]) -> bool:
    """Put what ``make`` gives into a slot picked at random."""
    if not slots:
        return False
    slot = rng.choice(slots)
    node = make(slot)
    if node is None:
        return False
    slot.put(node)
    draft.touch(slot.function)
    return True


# -- numbers


def perturb(draft: Draft, rng: Random) -> bool:
    """A float times a lognormal, its sign turned, or 0 or 1; an int one up or down, doubled or halved."""
    slots = _slots(draft, lambda slot: is_number(slot.node))
    return _replace(draft, slots, rng, lambda slot: number(_perturbed(ast.literal_eval(slot.node), slot.structural, rng)))


def _perturbed(value: float | int, structural: bool, rng: Random) -> float | int:
    if isinstance(value, int):
        if structural or rng.random() < 0.7:
            return rng.choice((value + 1, value - 1, value * 2, value // 2))
        return rounded(value * rng.lognormvariate(0.0, 0.5))
    roll = rng.random()
    if roll < 0.1:
        return -value
    if roll < 0.2:
        return rng.choice((0.0, 1.0))
    if value == 0.0:
        return rounded(rng.gauss(0.0, 1.0))
    return rounded(value * rng.lognormvariate(0.0, 0.5 if roll < 0.8 else 2.0))


def rename(draft: Draft, rng: Random) -> bool:
    """Use another number in scope instead of a name."""

    def other(slot: Slot) -> ast.expr | None:
        choices = [choice for choice in slot.numbers if choice != slot.node.id]
        return name(rng.choice(choices)) if choices else None

    return _replace(draft, _slots(draft, lambda slot: _numeric(slot) and isinstance(slot.node, ast.Name)), rng, other)


# -- operators


def operator(draft: Draft, rng: Random) -> bool:
    """Another arithmetic operator: mostly the opposite one."""

    def exchange(slot: Slot) -> ast.expr:
        node = slot.node
        kin = [other for group in _SWAPS if type(node.op) in group for other in group if other is not type(node.op)]
        choices = kin if kin and rng.random() < 0.6 else [other for other in ARITHMETIC[:4] if other is not type(node.op)]
        return ast.BinOp(node.left, rng.choice(choices)(), node.right)

    return _replace(draft, _slots(draft, lambda slot: _numeric(slot) and isinstance(slot.node, ast.BinOp)), rng, exchange)


def operands(draft: Draft, rng: Random) -> bool:
    """The two sides of an operation or comparison change places."""

    def turned(slot: Slot) -> ast.expr:
        node = slot.node
        if isinstance(node, ast.BinOp):
            return ast.BinOp(node.right, node.op, node.left)
        return ast.Compare(node.comparators[0], node.ops, [node.left])

    return _replace(draft, _slots(draft, lambda slot: _is_turnable(slot.node)), rng, turned)


def _is_turnable(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow)
    return _is_ordering(node)


def _is_ordering(node: ast.expr) -> bool:
    return isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ORDERINGS)


def comparison(draft: Draft, rng: Random) -> bool:
    """Another of < <= > >=, or == for != and back."""
    slots = _slots(draft, lambda slot: isinstance(slot.node, ast.Compare) and len(slot.node.ops) == 1)

    def exchange(slot: Slot) -> ast.expr | None:
        node: ast.Compare = slot.node
        old = type(node.ops[0])
        kin = next((group for group in _COMPARISONS if old in group), ())
        others = [other for other in kin if other is not old]
        return ast.Compare(node.left, [rng.choice(others)()], node.comparators) if others else None

    return _replace(draft, slots, rng, exchange)


def boolean(draft: Draft, rng: Random) -> bool:
    """``and`` for ``or`` and back; or the condition of an ``if`` turned round."""
    slots = _slots(draft, lambda slot: isinstance(slot.node, ast.BoolOp) or slot.field == "test")

    def exchange(slot: Slot) -> ast.expr:
        node = slot.node
        if isinstance(node, ast.BoolOp):
            return ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
        return node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) else ast.UnaryOp(ast.Not(), node)

    return _replace(draft, slots, rng, exchange)


# -- expressions


def function(draft: Draft, rng: Random) -> bool:
    """Another pure function that takes the same arguments: np.sum for np.max, min for max."""

    def exchange(slot: Slot) -> ast.expr:
        node: ast.Call = slot.node
        other = rng.choice(peers(node, draft.modules))
        target = ast.Attribute(node.func.value, other, ast.Load()) if isinstance(node.func, ast.Attribute) else name(other)
        return ast.Call(target, node.args, node.keywords)

    slots = _slots(draft, lambda slot: isinstance(slot.node, ast.Call) and bool(peers(slot.node, draft.modules)))
    return _replace(draft, slots, rng, exchange)


def wrap(draft: Draft, rng: Random) -> bool:
    """An expression inside a function of numpy or math, mostly one that takes any number."""

    def wrapped(slot: Slot) -> ast.expr | None:
        chosen = rng.choice(_UNARY)
        inner: ast.expr | None = slot.node
        if chosen in ("sqrt", "log1p") and rng.random() < 0.8:
            inner = call_any(draft, "abs", slot.node)
        elif chosen == "exp" and rng.random() < 0.8:
            size = call_any(draft, "abs", slot.node)
            inner = ast.UnaryOp(ast.USub(), size) if size else None
        if chosen == "square":
            return ast.BinOp(slot.node, ast.Pow(), number(2))
        return call_any(draft, chosen, inner) if inner else None

    return _replace(draft, _slots(draft, _numeric), rng, wrapped)


def hoist(draft: Draft, rng: Random) -> bool:
    """A part takes the place of the whole: ``a * b`` becomes ``a``."""

    def part(slot: Slot) -> ast.expr:
        return rng.choice(_parts(slot.node))

    return _replace(draft, _slots(draft, lambda slot: _numeric(slot) and bool(_parts(slot.node))), rng, part)


def _parts(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BinOp():
            return [node.left, node.right]
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.Call():
            return [argument for argument in node.args if not isinstance(argument, ast.Starred)]
        case _:
            return []


def add(draft: Draft, rng: Random) -> bool:
    """Plus or minus a new term."""

    def more(slot: Slot) -> ast.expr | None:
        made = term(draft, slot, rng)
        return made and ast.BinOp(slot.node, rng.choice((ast.Add, ast.Sub))(), made)

    return _replace(draft, _slots(draft, _numeric), rng, more)


def scale(draft: Draft, rng: Random) -> bool:
    """Times a number or a new term, or divided by one."""

    def scaled(slot: Slot) -> ast.expr | None:
        by = factor(rng) if rng.random() < 0.5 else term(draft, slot, rng)
        return by and ast.BinOp(slot.node, rng.choice((ast.Mult, ast.Mult, ast.Div))(), by)

    return _replace(draft, _slots(draft, _numeric), rng, scaled)


def copy(draft: Draft, rng: Random) -> bool:
    """An expression gives way to a copy of another one of its function."""

    def another(slot: Slot) -> ast.expr | None:
        others = [other for other in draft.slots if other.function is slot.function and _numeric(other) and other is not slot]
        node = rng.choice(others).node if others else None
        return copied(node) if node is not None and draft.is_pure(node) else None

    return _replace(draft, _slots(draft, _numeric), rng, another)


def branch(draft: Draft, rng: Random) -> bool:
    """One value where a new condition holds and the old one elsewhere; by ``np.where`` if numpy is there, else by ``if``."""

    def split(slot: Slot) -> ast.expr | None:
        numbers = slot.numbers
        made = term(draft, slot, rng)
        if not numbers or made is None:
            return None
        limit = ast.BinOp(factor(rng), ast.Mult(), name(rng.choice(numbers))) if rng.random() < 0.7 else factor(rng)
        test = ast.Compare(name(rng.choice(numbers)), [rng.choice((ast.Lt, ast.Gt))()], [limit])
        numpy = next((alias for alias, module in draft.modules.items() if module == "numpy"), None)
        return call(numpy, "where", test, made, slot.node) if numpy else ast.IfExp(test, made, slot.node)

    return _replace(draft, _slots(draft, _numeric), rng, split)
