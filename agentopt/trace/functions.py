"""What is known of functions: found once per function, and only when somebody looks. And where an exception came from, in source."""

from __future__ import annotations

import inspect
import linecache
import textwrap
from collections.abc import Callable
from functools import cached_property
from types import TracebackType
from typing import Any

from agentopt.trace.graph import FunctionInfo, Kind

__all__ = ["Function", "annotated"]

_FRAMES = 16
_OUTSIDE = (__name__.rpartition(".")[0] + ".", "contextlib")
"""Modules whose frames say nothing of the user's code: ours, and what our context managers pass through."""


class Function:
    """One traced function. Lambdas, builtins and what was defined at a prompt have no source, and that is fine."""

    def __init__(self, function: Callable[..., Any], name: str | None = None, kind: Kind = "call") -> None:
        self.function = function
        self.name = name or _name_of(function)
        self.kind: Kind = kind

    @cached_property
    def signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.function)
        except (TypeError, ValueError):
            return None

    @cached_property
    def info(self) -> FunctionInfo:
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            source = ""
        return FunctionInfo(self.name, str(self.signature or ""), inspect.getdoc(self.function) or "", textwrap.dedent(source).rstrip())

    @cached_property
    def positional(self) -> tuple[str, ...]:
        """Names of the parameters that take positional arguments, in order."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = self.signature.parameters.values() if self.signature else ()
        return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)

    def role(self, position: int) -> str:
        """The name of a positional argument."""
        return self.positional[position] if position < len(self.positional) else f"arg{position}"


def _name_of(function: Any) -> str:
    while not hasattr(function, "__name__") and hasattr(function, "func"):  # functools.partial
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def annotated(traceback: TracebackType | None) -> str:
    """The frames of a traceback, outermost first: each one's place and source, with an arrow at the line that failed.

    Frames of this package are left out; of many, the innermost are kept. A frame whose source is nowhere shows its line number alone.
    """
    frames: list[str] = []
    while traceback is not None:
        if not traceback.tb_frame.f_globals.get("__name__", "").startswith(_OUTSIDE):
            frames.append(_annotate(traceback))
        traceback = traceback.tb_next
    return "\n".join(frames[-_FRAMES:])


def _annotate(traceback: TracebackType) -> str:
    code, failed = traceback.tb_frame.f_code, traceback.tb_lineno
    lines = linecache.getlines(code.co_filename, traceback.tb_frame.f_globals)
    shown = range(max(code.co_firstlineno, failed - 3), min(failed + 1, len(lines)) + 1)
    text = [f"{lines[number - 1].rstrip()}{'    <--- failed here' if number == failed else ''}" for number in shown]
    return "\n".join([f"{code.co_qualname}, line {failed}:", *text])
