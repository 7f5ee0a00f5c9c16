"""litellm: its functions, wherever they were imported to. What it has the openai SDK do is part of its call."""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from agentopt.trace.calls import INSIDE, Call, plain
from agentopt.trace.exchange import Endpoint, Reply, read_events, read_reply

__all__ = ["ready", "targets"]

_FUNCTIONS: Mapping[str, tuple[Endpoint, str]] = {
    "completion": ("chat", "max_tokens"),
    "acompletion": ("chat", "max_tokens"),
    "responses": ("responses", "max_output_tokens"),
    "aresponses": ("responses", "max_output_tokens"),
}
_STREAMS = "litellm.litellm_core_utils.streaming_handler"
_WATCH = "_agentopt_watch"
_OURS = frozenset(
    (
        *("model", "messages", "input", "instructions", "tools", "functions", "response_format", "text", "stream", "n", "stop"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "seed", "reasoning_effort"),
    )
)
"""What of the arguments is the request. The others hold keys, headers, and objects that are not JSON."""


def ready(module: ModuleType) -> bool:
    """Whether litellm is loaded far enough."""
    return "acompletion" in vars(module) and hasattr(sys.modules.get(_STREAMS), "CustomStreamWrapper")


def targets(module: ModuleType) -> list[tuple[Any, str, Callable[[Any], Any]]]:
    """(owner, attribute, what makes the hook of what is there)."""
    found: list[tuple[Any, str, Callable[[Any], Any]]] = []
    for name, (endpoint, cap) in _FUNCTIONS.items():
        original = vars(module).get(name)
        make = _async_hook if inspect.iscoroutinefunction(original) else _hook
        found += [(owner, name, functools.partial(make, endpoint, cap)) for owner in _holders(name, original)]
    stream = sys.modules[_STREAMS].CustomStreamWrapper
    return [*found, (stream, "__next__", _next), (stream, "__anext__", _anext)]


def _holders(name: str, function: Any) -> Iterator[ModuleType]:
    """The modules that have the function under its name: litellm's own, and those of users who imported it from there."""
    for module in list(sys.modules.values()):
        if function is not None and getattr(module, "__dict__", {}).get(name) is function:
            yield module


def _hook(endpoint: Endpoint, cap: str, original: Callable[..., Any]) -> Callable[..., Any]:
    names = list(inspect.signature(original).parameters)

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        if INSIDE.get() is not None:
            return original(*args, **kwargs)
        call, given = _call(endpoint, cap, dict(zip(names, args, strict=False)) | kwargs)
        call.begin()
        token = INSIDE.set(call)
        try:
            result = original(**given)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            INSIDE.reset(token)
        _finish(call, result)
        return result

    return function


def _async_hook(endpoint: Endpoint, cap: str, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    names = list(inspect.signature(original).parameters)

    @functools.wraps(original)
    async def function(*args: Any, **kwargs: Any) -> Any:
        if INSIDE.get() is not None:
            return await original(*args, **kwargs)
        call, given = _call(endpoint, cap, dict(zip(names, args, strict=False)) | kwargs)
        await call.abegin()
        token = INSIDE.set(call)
        try:
            result = await original(**given)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            INSIDE.reset(token)
        _finish(call, result)
        return result

    return function


def _call(endpoint: Endpoint, cap: str, given: dict[str, Any]) -> tuple[Call, dict[str, Any]]:
    """The call, and the arguments with which it has to be made."""
    call = Call("litellm", endpoint, {name: value for name, value in given.items() if name in _OURS}, cap)
    others = {name: plain(value) for name, value in given.items() if name not in _OURS}
    return call, others | call.body


def _finish(call: Call, result: Any) -> None:
    """A stream is watched. One of ``responses`` is not: what it takes is not known, and counts at its bound."""
    if not call.watched:
        return
    if not call.body.get("stream"):
        call.done(read_reply(call.endpoint, result))
    elif isinstance(result, sys.modules[_STREAMS].CustomStreamWrapper):
        watch = _Watch(call)
        setattr(result, _WATCH, watch)
        weakref.finalize(result, watch.end).atexit = False
    else:
        call.done(Reply(complete=False))


class _Watch:
    """What was read of a stream. It does not hold the stream, so that one nobody has can go."""

    def __init__(self, call: Call) -> None:
        self.chunks: list[Any] = []
        self._call = call

    def end(self) -> None:
        self._call.done(read_events(self._call.endpoint, self.chunks))

    def fail(self, error: BaseException) -> None:
        self._call.broke(read_events(self._call.endpoint, self.chunks), error)


def _next(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def step(stream: Any) -> Any:
        watch: _Watch | None = getattr(stream, _WATCH, None)
        try:
            chunk = original(stream)
        except BaseException as error:
            _ended(watch, error)
            raise
        if watch:
            watch.chunks.append(chunk)
        return chunk

    return step


def _anext(original: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    @functools.wraps(original)
    async def step(stream: Any) -> Any:
        watch: _Watch | None = getattr(stream, _WATCH, None)
        try:
            chunk = await original(stream)
        except BaseException as error:
            _ended(watch, error)
            raise
        if watch:
            watch.chunks.append(chunk)
        return chunk

    return step


def _ended(watch: _Watch | None, error: BaseException) -> None:
    if watch and isinstance(error, StopIteration | StopAsyncIteration):
        watch.end()
    elif watch:
        watch.fail(error)
