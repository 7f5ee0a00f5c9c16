"""Functions of the user's, called in this process, each with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, cast

from agentopt.core.errors import RunFailed

__all__ = ["Call", "Called", "Caller", "is_async", "show_error"]

_GRACE = 1.0
"""Seconds that a cancelled coroutine gets to clean up."""
_MOST_LEFT = 8
_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Call:
    """A function with its arguments, and what it is called inside of."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inside: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Called:
    """What came of a call: a value, an error, or neither by the deadline (``late``). ``wall`` and ``cpu`` are seconds.

    CPU time is that of the call's own thread, 0 for a coroutine.
    """

    value: Any = None
    error: BaseException | None = None
    late: bool = False
    wall: float = 0.0
    cpu: float = 0.0


class Caller:
    """Calls sync functions in threads of their own and async ones in the running loop.

    A thread cannot be ended: one that passes its deadline is left to itself, and is in ``left`` until it ends.
    """

    def __init__(self) -> None:
        self.left: set[asyncio.Future[Any]] = set()

    async def call(self, call: Call, seconds: float) -> Called:
        """Raises RunFailed when too many calls that passed their deadline still run."""
        work = _Task(call) if is_async(call.function) else _Thread(call)
        try:
            await asyncio.wait({work.future}, timeout=seconds)
        except asyncio.CancelledError:
            await self._end(work)
            raise
        if work.future.done():
            return _result(work.future)
        await self._end(work)
        if len(self.left) >= _MOST_LEFT:
            name = getattr(call.function, "__name__", type(call.function).__name__)
            raise RunFailed(
                f"{len(self.left)} calls of {name} did not end within {seconds:g} s and still run, and nobody can end a thread; give what "
                "it waits for a deadline, make it async, or allow it more seconds"
            )
        return Called(late=True, wall=seconds)

    async def _end(self, work: _Task | _Thread) -> None:
        """Cancel what can be; what goes on all the same is left."""
        if work.cancel():
            await asyncio.wait({work.future}, timeout=_GRACE)
        if not work.future.done():
            self.left.add(work.future)
            work.future.add_done_callback(self.left.discard)


def show_error(error: BaseException) -> str:
    """Its traceback without our frames. Files go by their names: where they lie says nothing, and differs between machines."""
    shown = traceback.TracebackException.from_exception(error)
    parts: list[traceback.TracebackException | None] = [shown]
    while parts:
        if part := parts.pop():
            part.stack = traceback.StackSummary.from_list([_placed(frame) for frame in part.stack if not _is_ours(frame.filename)])
            parts += [part.__cause__, part.__context__]
    return "".join(shown.format()).rstrip()


def _placed(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    _ = frame.line  # read while the file can be found
    frame.filename = Path(frame.filename).name
    return frame


def _is_ours(file: str) -> bool:
    return file == contextlib.__file__ or (Path(file).is_relative_to(_PACKAGE) and not Path(file).is_relative_to(_PACKAGE / "_bundled"))


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine. Sync functions that return something to await are found out when they do."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _result(future: asyncio.Future[Called]) -> Called:
    """A coroutine may have been cancelled from inside, by itself or by what it uses."""
    return Called(error=asyncio.CancelledError("it was cancelled from inside")) if future.cancelled() else future.result()


class _Task:
    """A coroutine function, in the loop."""

    def __init__(self, call: Call) -> None:
        self.future: asyncio.Future[Called] = asyncio.ensure_future(_in_loop(call))

    def cancel(self) -> bool:
        return self.future.cancel()


async def _in_loop(call: Call) -> Called:
    began = perf_counter()
    try:
        with call.inside():
            value = await call.function(*call.args, **call.kwargs)
            if isinstance(value, AsyncGenerator):
                value = await _items(cast("AsyncGenerator[Any]", value))
            value = _read(value)
    except (Exception, SystemExit) as error:
        return Called(error=error, wall=perf_counter() - began)
    return Called(value, wall=perf_counter() - began)


class _Thread:
    """Any other function, in a thread and a copy of this context. A daemon, so that one that never ends keeps nobody from leaving."""

    def __init__(self, call: Call) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._awaited: Future[Any] | None = None
        self.future: asyncio.Future[Called] = self._loop.create_future()
        context = contextvars.copy_context()
        threading.Thread(target=lambda: self._land(context.run(self._run)), name="agentopt-call", daemon=True).start()

    def cancel(self) -> bool:
        """Only what it waits for in the loop can be cancelled."""
        return self._awaited is not None and self._awaited.cancel()

    def _land(self, called: Called) -> None:
        with suppress(RuntimeError):  # who waited is gone, and their loop with them
            self._loop.call_soon_threadsafe(self._tell, called)

    def _tell(self, called: Called) -> None:
        if not self.future.done():
            self.future.set_result(called)

    def _run(self) -> Called:
        call, began, used = self._call, perf_counter(), thread_time()
        try:
            with call.inside():
                value = self._settled(call.function(*call.args, **call.kwargs))
        except BaseException as error:  # whatever it is, it must not end a thread in silence
            return Called(error=error, wall=perf_counter() - began, cpu=thread_time() - used)
        return Called(value, wall=perf_counter() - began, cpu=thread_time() - used)

    def _settled(self, value: Any) -> Any:
        """What is to be awaited, is awaited in the loop; what is a stream, is read to its end."""
        if inspect.isawaitable(value):
            value = self._wait(_awaited(value))
        if isinstance(value, AsyncGenerator):
            return self._wait(_items(cast("AsyncGenerator[Any]", value)))
        return _read(value)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        self._awaited = asyncio.run_coroutine_threadsafe(work, self._loop)
        return self._awaited.result()


def _read(value: Any) -> Any:
    """What is computed when it is read is read here: later it would see other values."""
    return list(value) if _is_lazy(value) else value


def _is_lazy(value: Any) -> bool:
    """Generators, and iterators such as ``map`` and those of ``itertools``. Files and streams of clients are left as they are."""
    return isinstance(value, Generator) or (
        isinstance(value, Iterator) and type(cast("Any", value)).__module__ in ("builtins", "itertools")
    )


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


async def _items(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]
