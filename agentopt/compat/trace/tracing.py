"""Whether operations are recorded here, and what they read: per thread and task."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

__all__ = ["GRAPH", "READ", "Read", "reading", "stop_tracing"]


class Read(NamedTuple):
    """Nodes, each as often as it was read."""

    data: list[Any]
    text: list[Any]


_ON: ContextVar[bool] = ContextVar("agentopt_compat_tracing", default=True)
READ: ContextVar[Read | None] = ContextVar("agentopt_compat_read", default=None)
"""Where a node notes that it was read; nowhere outside of bundled functions."""


@contextmanager
def stop_tracing() -> Generator[None]:
    """Inside, in this thread or task alone, operations give nodes without parents."""
    token = _ON.set(False)
    try:
        yield
    finally:
        _ON.reset(token)


@contextmanager
def reading() -> Generator[Read]:
    """What is read inside, in this thread or task."""
    read = Read([], [])
    token = READ.set(read)
    try:
        yield read
    finally:
        READ.reset(token)


class _Graph:
    """There is no graph of everything: each lives as long as somebody holds one of its ends."""

    @property
    def TRACE(self) -> bool:
        """Whether operations are recorded here."""
        return _ON.get()

    def clear(self) -> None:
        """Nothing is kept, so nothing has to be forgotten."""


GRAPH = _Graph()
