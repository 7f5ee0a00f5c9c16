"""``@traced``: one node per call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar

from agentopt.trace.functions import Function
from agentopt.trace.recorder import CURRENT, SPAN

__all__ = ["traced"]

_F = TypeVar("_F", bound=Callable[..., Any])


def traced(function: _F) -> _F:
    """Record each call of ``function``. Its values, results and exceptions stay what they are."""
    about = Function(function)
    current, enter, leave = CURRENT.get, SPAN.set, SPAN.reset

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        trace = current()
        if trace is None:
            return function(*args, **kwargs)
        number, span, began = trace.number(), SPAN.get(), perf_counter()
        token = enter(number)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            trace.rows.append((number, "exception", about, span, args, kwargs, error, began, perf_counter(), None))
            raise
        finally:
            leave(token)
        trace.rows.append((number, "call", about, span, args, kwargs, value, began, perf_counter(), None))
        return value

    return call  # pyright: ignore[reportReturnType]
