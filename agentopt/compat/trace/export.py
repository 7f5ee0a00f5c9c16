"""A trained object as the source of a plain class."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import Any, cast

from agentopt.compat.trace.nodes import ParameterNode
from agentopt.compat.trace.sources import definition
from agentopt.core.errors import UserError

__all__ = ["plain_class"]

_DECORATORS = ("bundle", "model")


def plain_class(instance: Any) -> str:
    """The class of ``instance`` with learnt code in the place of trainable methods and values in the place of parameters.

    What the code imports at the top of its module comes along if it is used. Raises UserError where there is no source, and for values
    that have no literal.
    """
    cls = cast(Any, type(instance))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        raise UserError(f"the source of {cls.__name__} cannot be found; define it in a file") from None
    written = _Plain(instance).visit(tree)
    ast.fix_missing_locations(written)
    used = {found.id for found in ast.walk(written) if isinstance(found, ast.Name)}
    return "\n".join([*_imports(cls, used), "", "", ast.unparse(written), ""]).lstrip("\n")


class _Plain(ast.NodeTransformer):
    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = [found for found in node.decorator_list if _name(found) not in _DECORATORS]
        node.bases = [base for base in node.bases if _name(base) != "Module"]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        bundled = any(_name(found) == "bundle" for found in node.decorator_list)
        parameter = getattr(getattr(self.instance, node.name, None), "parameter", None) if bundled else None
        if isinstance(parameter, ParameterNode):
            learnt = definition(parameter.value, node.name)
            if learnt is None:
                raise UserError(f"the code of {node.name} defines no function of that name; train on, or load other values")
            return ast.parse(parameter.value).body
        node.decorator_list = [found for found in node.decorator_list if _name(found) not in _DECORATORS]
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
            held = cast(dict[str, Any], vars(self.instance)).get(target.attr)
            if isinstance(held, ParameterNode):
                node.value = _literal(held.value, target.attr)
        return self.generic_visit(node)


def _literal(value: Any, name: str) -> ast.expr:
    try:
        made = ast.parse(repr(value), mode="eval").body
        if ast.literal_eval(made) == value:
            return made
    except (SyntaxError, ValueError):
        pass
    raise UserError(f"parameter {name} holds a {type(value).__name__}, which has no literal; give it text, a number or plain data")


def _imports(cls: Any, used: set[str]) -> list[str]:
    """The imports at the top of the class's module of which ``used`` names something."""
    try:
        body = ast.parse(inspect.getsource(sys.modules[cls.__module__])).body
    except (OSError, TypeError, KeyError, SyntaxError):
        return []
    found: list[str] = []
    for made in body:
        if isinstance(made, ast.Import | ast.ImportFrom):
            made.names = [alias for alias in made.names if (alias.asname or alias.name.partition(".")[0]) in used]
            if made.names:
                found.append(ast.unparse(made))
    return found


def _name(node: ast.expr) -> str:
    called = node.func if isinstance(node, ast.Call) else node
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
