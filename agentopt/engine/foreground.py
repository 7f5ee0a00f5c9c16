"""A run in the foreground: in an event loop of its own, and Ctrl-C brings it to a good end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from agentopt.engine.loop import Loop

__all__ = ["Interruptible", "run_sync"]

Interruptible = Callable[[Loop], None]
"""Is given what may be told to stop."""
_T = TypeVar("_T")


def run_sync(work: Callable[[Interruptible], Awaitable[_T]], instead: str) -> _T:
    """Runs it in an event loop of its own. Ctrl-C stops the loops that it hands over, and before it does all of it.

    Raises RuntimeError where an event loop is running already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError(f"an event loop is running already; use {instead}")

    async def main() -> _T:
        with _signals_stop() as interruptible:
            return await work(interruptible)

    return asyncio.run(main())


@contextmanager
def _signals_stop() -> Generator[Interruptible]:
    """The first SIGINT or SIGTERM asks the loop to stop; a second one is not caught any more."""
    running = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    stop: list[Loop] = []

    def handle() -> None:
        for number in numbers:
            running.remove_signal_handler(number)
        for loop in stop:
            loop.interrupt()

    def interruptible(loop: Loop) -> None:
        stop.append(loop)
        for number in numbers:
            running.add_signal_handler(number, handle)

    try:
        yield interruptible
    finally:
        for number in numbers:
            running.remove_signal_handler(number)
