"""The source of one function, as a text that stands alone: what it takes from its surroundings has to be named."""

from __future__ import annotations

import ast
import builtins
import inspect
import symtable
import textwrap
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from agentopt.core.errors import TaskError

__all__ = ["free_names", "keep_signature", "own_source"]

_Def = ast.FunctionDef | ast.AsyncFunctionDef
_MODULE_NAMES = {"__name__", "__file__", "__doc__", "__builtins__"}


@lru_cache(maxsize=256)
def own_source(function: Callable[..., Any]) -> str:
    """From ``def`` to its end, without decorators and indentation. Raises TaskError for what has no source of its own."""
    name = getattr(function, "__name__", type(function).__name__)
    if not inspect.isfunction(function) or name == "<lambda>":
        raise TaskError(f"{name} has no source of its own; write it as a function with def")
    if hasattr(function, "__wrapped__"):
        raise TaskError(f"{name} is wrapped by a decorator, which its source says nothing of; put @trainable directly above def")
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        raise TaskError(f"the source of {name} cannot be found; define it in a file") from None
    text, found = _parsed(text)
    if found is None or found.name != name:
        raise TaskError(f"{name} was made by a decorator, which its source says nothing of; put @trainable directly above def")
    lines = text.splitlines(keepends=True)[found.lineno - 1 : found.end_lineno]
    return textwrap.dedent("".join(lines)).rstrip() + "\n"


def _parsed(text: str) -> tuple[str, _Def | None]:
    """The text and the function in it. Where a text that goes over several lines hides the indentation, Python spells the function anew."""
    for candidate in (textwrap.dedent(text), f"if 1:\n{text}"):
        try:
            body = ast.parse(candidate).body
        except SyntaxError:
            continue
        found = next((node for node in ast.walk(ast.Module(body, [])) if isinstance(node, _Def)), None)
        if found is not None and candidate.startswith("if 1:"):
            found.decorator_list = []
            candidate = ast.unparse(found)
            found = next(node for node in ast.parse(candidate).body if isinstance(node, _Def))
        return candidate, found
    return text, None


def free_names(source: str) -> list[str]:
    """What the functions in ``source`` read and nobody in it defines, builtins aside; names in annotations do not count."""
    tree = _Bare().visit(ast.parse(source))
    top = symtable.symtable(ast.unparse(tree), "<source>", "exec")
    defined = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    read = {
        symbol.get_name()
        for table in _tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    return sorted(read - defined - _MODULE_NAMES - set(dir(builtins)))


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


class _Bare(ast.NodeTransformer):
    """Without annotations: where code is called, they are not evaluated."""

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def keep_signature(source: str, entry: str, wanted: str) -> None:
    """Raises ValueError unless ``source`` defines ``entry`` with the arguments of the source ``wanted``."""
    try:
        found = _definition(source, entry)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the code cannot be parsed: {error}") from None
    model = _definition(wanted, entry)
    assert model is not None
    if found is None:
        raise ValueError(f"the code defines no function {entry}")
    if type(found) is not type(model):
        raise ValueError(f"{entry} has to {'stay' if isinstance(model, ast.AsyncFunctionDef) else 'be no'} async function")
    if _arguments(found) != _arguments(model):
        raise ValueError(f"the signature has to stay {entry}({ast.unparse(model.args)}), not {entry}({ast.unparse(found.args)})")


def _definition(source: str, entry: str) -> _Def | None:
    """The last one counts, as when the code is executed."""
    found = [node for node in ast.parse(source).body if isinstance(node, _Def) and node.name == entry]
    return found[-1] if found else None


def _arguments(found: _Def) -> list[Any]:
    given = found.args
    names = [[arg.arg for arg in group] for group in (given.posonlyargs, given.args, given.kwonlyargs)]
    optional = [len(given.defaults), *(default is not None for default in given.kw_defaults)]
    return [names, given.vararg and given.vararg.arg, given.kwarg and given.kwarg.arg, optional]
