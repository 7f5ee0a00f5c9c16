"""What is known of functions: found once per function, and only when somebody looks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any

from agentopt.trace.graph import FunctionInfo

__all__ = ["Function"]


class Function:
    """One traced function. Lambdas, builtins and what was defined at a prompt have no source, and that is fine."""

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

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
        return FunctionInfo(self.name, str(self.signature or ""), inspect.getdoc(self.function) or "", inspect.cleandoc(source))

    @cached_property
    def positional(self) -> tuple[str, ...]:
        """Names of the parameters that take positional arguments, in order."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = self.signature.parameters.values() if self.signature else ()
        return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)

    def role(self, position: int) -> str:
        """The name of a positional argument."""
        return self.positional[position] if position < len(self.positional) else f"arg{position}"
