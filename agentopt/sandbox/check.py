"""The look at a candidate's code that needs no box."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence

from agentopt.core.evaluation import Failure
from agentopt.core.text import clean_text
from agentopt.sandbox.program import Piece

__all__ = ["check_source", "static_failure"]

_MAX_SOURCE = 1_000_000


def static_failure(pieces: Sequence[Piece]) -> Failure | None:
    """A ``syntax`` failure if some Python code cannot be parsed."""
    for piece in pieces:
        if piece.is_python and (message := check_source(piece.value, piece.file)):
            return Failure("syntax", clean_text(message))
    return None


def check_source(source: str, file: str) -> str:
    """What is wrong with the source; empty if it parses. The source is not executed."""
    if len(source) > _MAX_SOURCE:
        return f"{file}: the source has {len(source)} characters; the limit is {_MAX_SOURCE}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source, file)
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        return f"{file}, line {error.lineno}: {error.msg}" + (f"\n    {line.strip()}" if line else "")
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{file}: the source cannot be parsed: {str(error) or type(error).__name__}"
    return ""
