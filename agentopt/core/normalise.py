"""Python source without what does not matter: the text whose hash is a candidate's identity."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

__all__ = ["normalise_python"]

_MAX_CHARS = 262_144
_UNPARSED = "unparsed\n"

# Code that uses one of these can see the names of its locals.
_SEES_NAMES = frozenset(
    (
        "locals",
        "vars",
        "dir",
        "eval",
        "exec",
        "globals",
        "inspect",
        "dis",
        "traceback",
        "gc",
        "settrace",
        "setprofile",
        "_getframe",
        "breakpoint",
        "numexpr",
        "query",
        "__code__",
        "__closure__",
        "co_varnames",
        "f_locals",
        "gi_frame",
        "cr_frame",
        "ag_frame",
        "tb_frame",
        "NameError",
        "UnboundLocalError",
    )
)
_SEES_DOCS = frozenset(("__doc__", "inspect", "help", "pydoc", "doctest", "getdoc", "docopt"))
_WORD = re.compile(r"\w+")
_SKIPPED_FIELDS = frozenset(("ctx", "kind", "type_comment", "type_ignores"))


@lru_cache(maxsize=16)
def normalise_python(source: str) -> str:
    """A text that is equal for two sources that differ in comments, layout, docstrings or names of locals only.

    Locals are what a function, lambda or comprehension binds other than by parameter, ``import``, ``def`` or ``class``. Where code
    could look at names or docstrings (``locals()``, ``inspect``, ``__doc__``, ...) they stay. The text is a preorder listing of
    the syntax tree, one token per line; source that cannot be parsed, or is longer than 256 Ki characters, is its own normal form.
    """
    if len(source) > _MAX_CHARS:
        return _UNPARSED + source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return _UNPARSED + source
    listing = _Listing(tree, docstrings=False)
    if not _SEES_DOCS.isdisjoint(listing.words()):
        listing = _Listing(tree, docstrings=True)
    plain = list(listing.tokens)
    listing.rename()
    seen = listing.opaque or not _SEES_NAMES.isdisjoint(listing.words())
    return "\n".join(plain if seen else listing.tokens)


class _Scope:
    """One module, class, function or comprehension, and what it binds."""

    __slots__ = ("bound", "comprehension", "fixed", "globals", "kind", "nonlocals", "parent")

    def __init__(self, kind: str, parent: _Scope | None, comprehension: bool = False) -> None:
        self.kind = kind
        self.parent = parent
        self.comprehension = comprehension
        self.bound: set[str] = set()
        self.fixed: set[str] = set()
        """Bound, but by a statement that shows the name to others: parameters, def, class, import."""
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()

    def owner(self, name: str) -> _Scope | None:
        """The function scope that holds ``name`` as seen from here; None for module, class and built-in names."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.globals:
                return None
            reachable = scope.kind == "function" or scope is self
            if reachable and name in scope.bound and name not in scope.nonlocals:
                return scope if scope.kind == "function" else None
            scope = scope.parent
        return None


_Item = tuple[Any, _Scope]


class _Listing:
    """The tokens of a tree, in preorder. An explicit stack: source may nest deeper than Python's own stack allows."""

    def __init__(self, tree: ast.Module, docstrings: bool) -> None:
        self.tokens: list[str] = []
        self.opaque = False
        """Holds syntax whose scopes are not modelled here (type parameters), so nothing may be renamed."""
        self._docstrings = docstrings
        self._strings: list[str] = []
        self._uses: list[tuple[int, str, _Scope]] = []
        self._stack: list[_Item] = [(tree, _Scope("module", None))]
        handlers = {cls: getattr(self, method) for cls, method in _HANDLERS.items()}
        while self._stack:
            value, scope = self._stack.pop()
            handler = handlers.get(value.__class__)
            if handler is not None:
                handler(value, scope)
            else:
                self._generic(value, scope)

    def words(self) -> Iterable[str]:
        """Every identifier, and every word inside a string."""
        words = set(self.tokens)
        for text in self._strings:
            words.update(_WORD.findall(text))
        return words

    def rename(self) -> None:
        """Number the locals in the order of their first use."""
        numbers: dict[tuple[_Scope, str], str] = {}
        for position, name, scope in self._uses:
            owner = scope.owner(name)
            if owner is not None and name not in owner.fixed:
                self.tokens[position] = numbers.setdefault((owner, name), f"%{len(numbers)}")

    # -- one handler per kind of value

    def _generic(self, node: ast.AST, scope: _Scope) -> None:
        cls = node.__class__
        fields = _FIELDS.get(cls)
        if fields is None:
            fields = _FIELDS[cls] = tuple(name for name in cls._fields if name not in _SKIPPED_FIELDS)[::-1]
        self.tokens.append(cls.__name__)
        self.opaque |= cls.__name__ == "TypeAlias"
        push = self._stack.append
        for name in fields:
            push((getattr(node, name, None), scope))

    def _none(self, value: None, scope: _Scope) -> None:
        self.tokens.append("-")

    def _plain(self, value: object, scope: _Scope) -> None:
        self.tokens.append(str(value))

    def _list(self, values: list[Any], scope: _Scope) -> None:
        self.tokens.append(f"[{len(values)}")
        self._stack.extend([(value, scope) for value in reversed(values)])

    def _constant(self, node: ast.Constant, scope: _Scope) -> None:
        value = node.value
        if isinstance(value, str):
            self._strings.append(value)
        # hex: decimal digits of a huge int are refused by Python
        self.tokens.append(hex(value) if type(value) is int else repr(value))

    def _use(self, name: str, scope: _Scope) -> None:
        self._uses.append((len(self.tokens), name, scope))
        self.tokens.append(name)

    def _name(self, node: ast.Name, scope: _Scope) -> None:
        if node.ctx.__class__ is not ast.Load:
            scope.bound.add(node.id)
        self.tokens.append("Name")
        self._use(node.id, scope)

    def _walrus(self, node: ast.NamedExpr, scope: _Scope) -> None:
        binder = scope
        while binder.comprehension and binder.parent is not None:
            binder = binder.parent
        binder.bound.add(node.target.id)
        self.tokens.append("NamedExpr")
        self._use(node.target.id, scope)
        self._push((node.value, scope))

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: _Scope) -> None:
        inner = _Scope("function", scope, comprehension=True)
        self.tokens += (node.__class__.__name__, f"[{len(node.generators)}")
        items: list[_Item] = []
        for part in node.generators:
            # the first iterable is evaluated outside
            items += ((part.target, inner), (part.iter, inner if items else scope), (part.ifs, inner), (part.is_async, inner))
        results = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        self._push(*items, *((result, inner) for result in results))

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> None:
        inner = self._called(node.args, scope)
        self._definition(node, scope)
        self._push((node.decorator_list, scope), (node.args, scope), (node.returns, scope), (self._body(node.body), inner))

    def _lambda(self, node: ast.Lambda, scope: _Scope) -> None:
        inner = self._called(node.args, scope)
        self.tokens.append("Lambda")
        self._push((node.args, scope), (node.body, inner))

    def _class(self, node: ast.ClassDef, scope: _Scope) -> None:
        self._definition(node, scope)
        outside = [(part, scope) for part in (node.decorator_list, node.bases, node.keywords)]
        self._push(*outside, (self._body(node.body), _Scope("class", scope)))

    def _module(self, node: ast.Module, scope: _Scope) -> None:
        self.tokens.append("Module")
        self._push((self._body(node.body), scope))

    def _import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        names = [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
        scope.bound.update(names)
        scope.fixed.update(names)
        self._generic(node, scope)

    def _global(self, node: ast.Global, scope: _Scope) -> None:
        scope.globals.update(node.names)
        self._generic(node, scope)

    def _nonlocal(self, node: ast.Nonlocal, scope: _Scope) -> None:
        scope.nonlocals.update(node.names)
        self.tokens += ("Nonlocal", f"[{len(node.names)}")
        for name in node.names:
            self._use(name, scope)

    def _binding(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping, scope: _Scope) -> None:
        """A node that binds a name given as a plain string: ``except E as name`` and the captures of ``match``."""
        field = "rest" if isinstance(node, ast.MatchMapping) else "name"
        name: str | None = getattr(node, field)
        self.tokens.append(node.__class__.__name__)
        if name is None:
            self.tokens.append("-")
        else:
            scope.bound.add(name)
            self._use(name, scope)
        self._push(*((getattr(node, other), scope) for other in node._fields if other != field))

    # -- helpers

    def _push(self, *items: _Item) -> None:
        self._stack.extend(reversed(items))

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: _Scope) -> None:
        scope.bound.add(node.name)
        scope.fixed.add(node.name)
        self.tokens += (node.__class__.__name__, node.name)
        if type_parameters := getattr(node, "type_params", None):
            self.opaque = True
            self._push((type_parameters, scope))

    def _called(self, args: ast.arguments, scope: _Scope) -> _Scope:
        inner = _Scope("function", scope)
        several = [*args.posonlyargs, *args.args, *args.kwonlyargs, *(arg for arg in (args.vararg, args.kwarg) if arg)]
        inner.fixed = {arg.arg for arg in several}
        inner.bound = set(inner.fixed)
        return inner

    def _body(self, body: list[ast.stmt]) -> list[ast.stmt]:
        if self._docstrings or not body:
            return body
        match body[0]:
            case ast.Expr(value=ast.Constant(value=str())):
                return body[1:] or [ast.Pass()]
            case _:
                return body


_FIELDS: dict[type, tuple[str, ...]] = {}
_HANDLERS: dict[type, str] = {
    str: "_plain",
    int: "_plain",
    bool: "_plain",
    type(None): "_none",
    list: "_list",
    ast.Constant: "_constant",
    ast.Name: "_name",
    ast.NamedExpr: "_walrus",
    ast.ListComp: "_comprehension",
    ast.SetComp: "_comprehension",
    ast.DictComp: "_comprehension",
    ast.GeneratorExp: "_comprehension",
    ast.FunctionDef: "_function",
    ast.AsyncFunctionDef: "_function",
    ast.Lambda: "_lambda",
    ast.ClassDef: "_class",
    ast.Module: "_module",
    ast.Import: "_import",
    ast.ImportFrom: "_import",
    ast.Global: "_global",
    ast.Nonlocal: "_nonlocal",
    ast.ExceptHandler: "_binding",
    ast.MatchAs: "_binding",
    ast.MatchStar: "_binding",
    ast.MatchMapping: "_binding",
}
