"""Threads that a workflow starts itself: inside ``carried`` they see the trace and the candidate that their starter sees."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from agentopt.core.metering import METER
from agentopt.core.running import RUNNER
from agentopt.trace.context import CURRENT, OVERLAY

__all__ = ["carried"]


class _Carrying:
    """How many want it, and what was there before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.placed = False
        self.start: Callable[..., Any] = threading.Thread.start
        self.submit: Callable[..., Any] = ThreadPoolExecutor.submit
        self.pooled: dict[str, Callable[..., Any]] = {}

    def place(self) -> None:
        from multiprocessing.pool import ThreadPool

        self.placed = True
        self.start, self.submit = threading.Thread.start, ThreadPoolExecutor.submit
        threading.Thread.start, ThreadPoolExecutor.submit = _start, _submit
        self.pooled = {name: getattr(ThreadPool, name) for name in _POOLED}
        for name, original in self.pooled.items():
            setattr(ThreadPool, name, _handing_on(original))

    def remove(self) -> None:
        from multiprocessing.pool import ThreadPool

        self.placed = False
        threading.Thread.start, ThreadPoolExecutor.submit = self.start, self.submit
        for name, original in self.pooled.items():
            setattr(ThreadPool, name, original)


_POOLED = ("apply_async", "_map_async", "imap", "imap_unordered")
"""What all of ``multiprocessing.pool.ThreadPool`` goes through; each is given the function first."""

_CARRYING = _Carrying()


def _wanted() -> bool:
    return _CARRYING.users > 0 and any(variable.get() is not None for variable in (CURRENT, OVERLAY, METER, RUNNER))


def _start(self: threading.Thread) -> None:
    if _wanted():
        context, run = copy_context(), self.run

        def inside() -> None:
            try:
                context.run(run)
            finally:
                vars(self).pop("run", None)  # a thread that is over keeps nothing alive

        self.run = inside
    _CARRYING.start(self)


def _submit(self: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    if not _wanted():
        return _CARRYING.submit(self, function, *args, **kwargs)
    # The thread that the pool may start now outlives this task, so it starts in a context of nobody.
    return Context().run(_CARRYING.submit, self, copy_context().run, function, *args, **kwargs)


def _handing_on(original: Callable[..., Any]) -> Callable[..., Any]:
    def given(self: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return original(self, _InContext(copy_context(), func) if _wanted() else func, *args, **kwargs)

    return given


@dataclass(frozen=True)
class _InContext:
    """Called by many threads at once, each in a copy."""

    context: Context
    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.context.copy().run(self.function, *args, **kwargs)


@contextmanager
def carried() -> Generator[None]:
    """While anybody is inside, ``threading.Thread.start``, ``ThreadPoolExecutor.submit`` and ``multiprocessing.pool.ThreadPool`` hand the
    context of their caller on.

    Only callers inside of a trace, or with a candidate applied, are treated so. A thread that lives longer than the trace keeps seeing
    it; pools do not. What was there before is put back when the last one leaves.
    """
    with _CARRYING.lock:
        _CARRYING.users += 1
        if not _CARRYING.placed:
            _CARRYING.place()
    try:
        yield
    finally:
        with _CARRYING.lock:
            _CARRYING.users -= 1
            ours = threading.Thread.start is _start and ThreadPoolExecutor.submit is _submit
            if _CARRYING.users == 0 and ours:  # else somebody put his own over ours, which does nothing now
                _CARRYING.remove()
