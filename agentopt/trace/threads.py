"""Threads that a workflow starts itself: inside ``carried`` they see the trace and the candidate that their starter sees."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
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


@contextmanager
def carried() -> Generator[None]:
    """While anybody is inside, ``threading.Thread.start`` and ``ThreadPoolExecutor.submit`` hand the context of their caller on.

    Only callers inside of a trace, or with a candidate applied, are treated so. A thread that lives longer than the trace keeps seeing
    it; pools do not. What was there before is put back when the last one leaves.
    """
    with _CARRYING.lock:
        _CARRYING.users += 1
        if not _CARRYING.placed:
            _CARRYING.placed = True
            _CARRYING.start, _CARRYING.submit = threading.Thread.start, ThreadPoolExecutor.submit
            threading.Thread.start, ThreadPoolExecutor.submit = _start, _submit
    try:
        yield
    finally:
        with _CARRYING.lock:
            _CARRYING.users -= 1
            ours = threading.Thread.start is _start and ThreadPoolExecutor.submit is _submit
            if _CARRYING.users == 0 and ours:  # else somebody put his own over ours, which does nothing now
                _CARRYING.placed = False
                threading.Thread.start, ThreadPoolExecutor.submit = _CARRYING.start, _CARRYING.submit
