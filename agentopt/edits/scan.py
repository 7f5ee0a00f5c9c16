"""Where a module can be changed: the expressions and the lists of statements of its functions, with what is known about them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from agentopt.edits.numeric import is_pure_call
from agentopt.edits.source import walk

__all__ = ["ARITHMETIC", "ORDERINGS", "Block", "Function", "Slot", "is_number", "scan"]

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
ORDERINGS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_COUNTING = frozenset(("range", "zeros", "ones", "full", "empty", "arange", "linspace", "reshape", "islice", "len"))
_SLOTTED = (ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.IfExp, ast.Subscript, ast.Attribute)
_EVALUATED_FIRST = frozenset(("value", "iter", "test", "subject", "items", "generators"))


@dataclass(eq=False)
class Function:
    """A function of the module (``key``: its dotted name, ``""`` for the module itself); ``numbers`` are names it uses as numbers."""

    key: str
    top: int
    """Which of the module's statements it is in."""
    numbers: set[str]


@dataclass(eq=False, slots=True)
class Slot:
    """A place that holds an expression: ``owner.field``, or ``owner.field[index]`` unless ``index`` is -1."""

    owner: ast.AST
    field: str
    index: int
    function: Function
    names: tuple[str, ...]
    """Bound before the expression runs."""
    numeric: bool
    structural: bool
    """Selects or counts: an index, a bound of a range, a keyword."""

    @property
    def node(self) -> Any:
        held = getattr(self.owner, self.field)
        return held if self.index < 0 else held[self.index]

    def put(self, node: ast.expr) -> None:
        if self.index < 0:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.index] = node

    @property
    def numbers(self) -> list[str]:
        """Names that can stand in arithmetic here."""
        return [name for name in self.names if name in self.function.numbers]


@dataclass(eq=False, slots=True)
class Block:
    """A list of statements of a function."""

    body: list[ast.stmt]
    function: Function


def scan(tree: ast.Module, modules: Mapping[str, str]) -> tuple[list[Slot], list[Block]]:
    """All slots and blocks; ``modules`` as from ``numeric.imported_modules``. Signatures, annotations and f-strings have none."""
    scanner = _Scanner(modules)
    scanner.module(tree)
    return scanner.slots, scanner.blocks


def is_number(node: ast.AST) -> bool:
    """A numeric literal, with or without a sign."""
    match node:
        case ast.Constant(value=value) | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return False


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


class _Scanner:
    def __init__(self, modules: Mapping[str, str]) -> None:
        self.slots: list[Slot] = []
        self.blocks: list[Block] = []
        self._modules = modules
        self._function = Function("", 0, set())
        self._names: tuple[str, ...] = ()

    def module(self, tree: ast.Module) -> None:
        numbers: set[str] = set()
        for top, statement in enumerate(tree.body):
            self._function = Function("", top, numbers)
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                self._parts(statement)
        for top, statement in enumerate(tree.body):
            self._function = Function("", top, numbers)
            self._definitions(statement)

    def _definitions(self, node: ast.stmt) -> None:
        """The functions that ``node`` defines: itself, or the methods of a class."""
        outer, names = self._function, self._names
        prefix = f"{outer.key}." if outer.key else ""
        if isinstance(node, ast.ClassDef):
            self._function = Function(prefix + node.name, outer.top, outer.numbers)
            for member in node.body:
                self._definitions(member)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._function = Function(prefix + node.name, outer.top, set(outer.numbers))
            parameters = [arg.arg for arg in walk(node.args) if isinstance(arg, ast.arg) and arg.arg not in ("self", "cls")]
            self._bind(parameters)
            self._block(node.body)
            # nothing speaks against a parameter that is not used (any more)
            used = {name.id for statement in node.body for name in walk(statement) if isinstance(name, ast.Name)}
            self._function.numbers.update(name for name in parameters if name not in used)
        self._function, self._names = outer, names

    # -- statements

    def _block(self, body: list[ast.stmt]) -> None:
        self.blocks.append(Block(body, self._function))
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self._definitions(statement)
            else:
                self._parts(statement)

    def _parts(self, node: ast.AST) -> None:
        """The parts of a statement, ``with`` item, handler or case in the order in which they run."""
        for field in sorted(node._fields, key=lambda name: name not in _EVALUATED_FIRST):
            held: Any = getattr(node, field) if field != "annotation" else None
            if isinstance(held, list):
                several = cast(list[Any], held)
                if several and isinstance(several[0], ast.stmt):
                    self._block(several)
                    continue
                for index in range(len(several)):
                    self._part(node, field, index)
            elif isinstance(held, ast.AST):
                self._part(node, field, -1)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None and self._is_arithmetic(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            self._function.numbers.update(target.id for target in targets if isinstance(target, ast.Name))

    def _part(self, node: ast.AST, field: str, index: int) -> None:
        held: Any = getattr(node, field)
        part: Any = held if index < 0 else held[index]
        if isinstance(part, ast.pattern):
            self._bind(str(part.name) for part in walk(part) if isinstance(part, ast.MatchAs | ast.MatchStar) and part.name)
        elif isinstance(part, ast.expr) and isinstance(getattr(part, "ctx", None), ast.Store | ast.Del):
            self._bind(name.id for name in walk(part) if isinstance(name, ast.Name))
        elif isinstance(part, ast.expr):
            self._expression(node, field, index, numeric=isinstance(node, ast.Return | ast.AugAssign))
        elif isinstance(part, ast.AST) and part._fields:
            self._parts(part)

    def _bind(self, names: Iterable[str]) -> None:
        self._names = (*self._names, *(name for name in names if name not in self._names))

    # -- expressions

    def _is_arithmetic(self, node: ast.AST) -> bool:
        match node:
            case ast.BinOp():
                return isinstance(node.op, ARITHMETIC) and not _is_text(node.left) and not _is_text(node.right)
            case ast.Call():
                return is_pure_call(node, self._modules)
            case _:
                return is_number(node) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub))

    def _expression(self, owner: ast.AST, field: str, index: int, numeric: bool = False, structural: bool = False) -> None:
        slot = Slot(owner, field, index, self._function, self._names, numeric, structural)
        node = slot.node
        slot.numeric = (numeric and isinstance(node, _SLOTTED) and not _is_text(node)) or self._is_arithmetic(node)
        if isinstance(node, _SLOTTED) and not _is_text(node):
            self.slots.append(slot)
        if slot.numeric and isinstance(node, ast.Name):
            self._function.numbers.add(node.id)
        if not is_number(node):
            self._children(node, slot)

    def _children(self, node: ast.expr, slot: Slot) -> None:
        match node:
            case ast.Call():
                self._call(node, slot.structural)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp() | ast.Lambda():
                self._nested(node)
            case ast.Attribute() | ast.Subscript():
                if not isinstance(node.value, ast.Name):
                    self._expression(node, "value", -1)
                if isinstance(node, ast.Subscript):
                    self._expression(node, "slice", -1, structural=True)
            case ast.NamedExpr():
                self._expression(node, "value", -1)
                self._bind([node.target.id])
            case ast.JoinedStr():
                pass
            case _:
                self._operands(node, slot)

    def _operands(self, node: ast.expr, slot: Slot) -> None:
        inherited = slot.numeric and isinstance(node, ast.IfExp)
        ordered = isinstance(node, ast.Compare) and isinstance(node.ops[0], ORDERINGS)
        numeric = ordered or (isinstance(node, ast.BinOp | ast.UnaryOp) and self._is_arithmetic(node))
        for field in node._fields:
            held: Any = getattr(node, field)
            parts = list(enumerate(cast(list[Any], held))) if isinstance(held, list) else [(-1, held)]
            for index, part in parts:
                if isinstance(part, ast.expr):
                    self._expression(node, field, index, numeric or (inherited and field != "test"), slot.structural)

    def _call(self, node: ast.Call, structural: bool) -> None:
        pure = is_pure_call(node, self._modules)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name):
            self._expression(node.func, "value", -1)
        for index in range(len(node.args)):
            self._expression(node, "args", index, name != "len" and (pure or name == "range"), structural or name in _COUNTING)
        for keyword in node.keywords:
            self._expression(keyword, "value", -1, structural=True)

    def _nested(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda) -> None:
        outside = self._names
        if isinstance(node, ast.Lambda):
            self._bind(arg.arg for arg in node.args.args)
            self._expression(node, "body", -1)
        else:
            for generator in node.generators:
                self._parts(generator)
            for field in ("key", "value") if isinstance(node, ast.DictComp) else ("elt",):
                self._expression(node, field, -1)
        self._names = outside
