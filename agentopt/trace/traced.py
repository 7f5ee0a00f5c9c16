"""``@traced``: one node per call, and one per run of a generator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar, cast, overload

from agentopt.trace.context import CURRENT, SPAN
from agentopt.trace.functions import Function
from agentopt.trace.generators import trace_async_generator, trace_generator
from agentopt.trace.graph import Kind
from agentopt.trace.values import ATOMS, Keep, keeper

__all__ = ["traced"]

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def traced(function: _F, /) -> _F: ...
@overload
def traced(*, name: str | None = None, kind: Kind = "call", values: Keep | None = None) -> Callable[[_F], _F]: ...
def traced(function: Any = None, /, *, name: str | None = None, kind: Kind = "call", values: Keep | None = None) -> Any:
    """Record each call of ``function``. Its values, results and exceptions stay what they are.

    Any callable will do: coroutine functions, generators, methods, lambdas, builtins; source is never needed. ``name`` and
    ``kind`` are those of its nodes, ``values`` is what they keep instead of what the trace keeps. Raises TypeError for classes and for
    what cannot be called.
    """
    if values is not None:
        keeper(values)
    if kind not in ("call", "tool", "llm", "op"):
        raise ValueError(f"kind={kind!r} is none of 'call', 'tool', 'llm' and 'op'")
    if function is None:
        return functools.partial(_traced, name=name, kind=kind, values=values)
    return _traced(function, name, kind, values)


def _traced(function: Any, name: str | None, kind: Kind, values: Keep | None) -> Any:
    if isinstance(function, staticmethod | classmethod):
        wrapper: Any = cast("Any", function).__class__
        return wrapper(_traced(cast("Any", function).__func__, name, kind, values))
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"traced() takes functions, not {function!r}; decorate the methods of a class")
    about, keep = Function(function, name, kind), None if values is None else keeper(values)
    body = _body_of(function)
    if inspect.iscoroutinefunction(body):
        call = _trace_coroutine(function, about, keep)
    elif inspect.isasyncgenfunction(body):
        call = trace_async_generator(function, about, keep)
    elif inspect.isgeneratorfunction(body):
        call = trace_generator(function, about, keep)
    else:
        call = _trace_call(function, about, keep)
    return functools.update_wrapper(call, function)


def _body_of(function: Any) -> Any:
    """What decides whether calls are awaited or iterated: of a partial its function, of an object its ``__call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _trace_call(function: Any, about: Function, keep: Callable[[Any], Any] | None) -> Callable[..., Any]:
    current, enter, leave, inside, now, plain = CURRENT.get, SPAN.set, SPAN.reset, SPAN.get, perf_counter, ATOMS.issuperset
    kind = about.kind

    def call(*args: Any, **kwargs: Any) -> Any:
        trace = current()
        if trace is None:
            return function(*args, **kwargs)
        save = keep or trace.keep
        number, span = trace.number(), inside()
        given = args if plain(map(type, args)) else tuple(map(save, args))
        named = {role: save(value) for role, value in kwargs.items()} if kwargs else None
        token, began = enter(number), now()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            row = (number, "exception", about, span, given, named, error, began, now(), {"traceback": error.__traceback__}, trace.number())
            trace.rows.append(row)
            del trace, row  # the frames that the exception keeps do not keep the trace
            raise
        finally:
            leave(token)
        ended = now()
        trace.rows.append((number, kind, about, span, given, named, save(value), began, ended, None, trace.number()))
        return value

    return call


def _trace_coroutine(function: Any, about: Function, keep: Callable[[Any], Any] | None) -> Callable[..., Any]:
    kind = about.kind

    async def call(*args: Any, **kwargs: Any) -> Any:
        trace = CURRENT.get()
        if trace is None:
            return await function(*args, **kwargs)
        save = keep or trace.keep
        number, span = trace.number(), SPAN.get()
        given = tuple(map(save, args))
        named = {role: save(value) for role, value in kwargs.items()} if kwargs else None
        token, began = SPAN.set(number), perf_counter()
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            meta = {"traceback": error.__traceback__}
            trace.rows.append((number, "exception", about, span, given, named, error, began, perf_counter(), meta, trace.number()))
            del trace
            raise
        finally:
            SPAN.reset(token)
        ended = perf_counter()
        trace.rows.append((number, kind, about, span, given, named, save(value), began, ended, None, trace.number()))
        return value

    return call
