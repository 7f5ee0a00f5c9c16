"""Python source without what does not matter."""

from __future__ import annotations

import ast

__all__ = ["normalise_python"]


def normalise_python(source: str) -> str:
    """A text that is equal for two sources that differ in comments, layout, docstrings or names of locals only."""
    try:
        return ast.dump(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
