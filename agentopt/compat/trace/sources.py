"""The source of functions, without the decorators that made nodes of them."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

__all__ = ["definition", "source_of"]


@functools.lru_cache(maxsize=1024)
def source_of(function: Callable[..., Any]) -> tuple[str, int]:
    """The text from below ``@bundle(...)`` on, without indentation, and the number of its first line in its file.

    ("", 0) where there is none.
    """
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return "", 0
    text = textwrap.dedent("".join(lines)).rstrip()
    found = definition(text)
    if found is None:
        return text, first
    above = [decorator.end_lineno or 0 for decorator in found.decorator_list if _is_bundle(decorator)]
    skipped = max(above, default=0)
    return "\n".join(text.splitlines()[skipped:]), first + skipped


def definition(text: str, name: str = "") -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The first function that ``text`` defines, or the last of that name. None for what has none, or cannot be parsed."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    found = [made for made in body if isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef)]
    if name:
        found = [made for made in reversed(found) if made.name == name]
    return found[0] if found else None


def _is_bundle(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "bundle"
