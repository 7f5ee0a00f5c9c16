"""Inside a box: one call of the function that a code parameter is."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

__all__ = ["NAME", "call"]

NAME = "trainable"
"""What the code is called in its box, and in tracebacks."""


def call(program: Any, argument: Any) -> Any:
    """``argument`` is ``[args, kwargs]``. A coroutine is run to its end."""
    args, kwargs = argument
    result = getattr(program, NAME)(*args, **kwargs)
    return asyncio.run(result) if inspect.iscoroutine(result) else result
