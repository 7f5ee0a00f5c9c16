"""Exceptions that know the node of what failed, and stay what they were."""

from __future__ import annotations

import functools
import inspect
import textwrap
import traceback
from pathlib import Path
from types import CodeType
from typing import Any

_PACKAGE = str(Path(__file__).parents[2])

__all__ = ["ExecutionError", "TraceMissingInputsError", "annotated", "marked"]


class TraceMissingInputsError(Exception):
    """A function read the data of a node that was not among its arguments."""


class ExecutionError(Exception):
    """An operation failed; ``exception_node`` is the node of it, and can be given feedback.

    What is raised is always also an exception of the original's class, with its arguments and attributes, so ``except ValueError`` goes on
    to work. ``original`` is the exception itself.
    """

    exception_node: Any
    original: Exception

    @staticmethod
    def of(error: Exception, exception_node: Any) -> ExecutionError:
        """``error`` as one that is both."""
        original = error.original if isinstance(error, ExecutionError) else error
        made = _both(type(original)).__new__(_both(type(original)), *original.args)
        made.args = original.args
        for name, value in _state(original).items():
            setattr(made, name, value)
        made.exception_node, made.original = exception_node, original
        return made

    def __str__(self) -> str:
        return str(self.original)

    def __reduce__(self) -> Any:
        return self.original.__reduce__()


@functools.lru_cache(maxsize=256)
def _both(kind: type[Exception]) -> type[ExecutionError]:
    return type(kind.__name__, (ExecutionError, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def _state(error: Exception) -> dict[str, Any]:
    """What an exception knows beside its arguments: the attributes that its class keeps in C, and its own."""
    kept = [name for base in type(error).__mro__ for name, member in vars(base).items() if inspect.ismemberdescriptor(member)]
    return {name: getattr(error, name) for name in kept if hasattr(error, name)} | vars(error)


def annotated(error: BaseException) -> str:
    """The user's functions through which ``error`` came, each with its source and an arrow at the line; below it the error."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    frames = [(code, line) for code, line in frames if not code.co_filename.startswith(_PACKAGE)]
    original = error.original if isinstance(error, ExecutionError) else error
    said = f"({type(original).__name__}) {original}"
    parts: list[str] = []
    for place, (code, line) in enumerate(frames, 1):
        lines, first = _source(code)
        note = said if place == len(frames) else "the error came from here; see below"
        parts.append(marked(lines, line - first, note))
    return "\n\n".join([*filter(None, parts), said])


def marked(lines: list[str], index: int, note: str) -> str:
    """The lines, with an arrow and a note behind one of them."""
    return "\n".join(f"{line} <--- {note}" if number == index else line for number, line in enumerate(lines))


def _source(code: CodeType) -> tuple[list[str], int]:
    """The lines of a function, and the number of the first."""
    try:
        lines, first = inspect.getsourcelines(code)
    except (OSError, TypeError):
        return [], 1
    return textwrap.dedent("".join(lines)).splitlines(), max(first, 1)
