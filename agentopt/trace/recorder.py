"""The record of one run of a workflow: rows, appended as calls end. What they mean is found out later, by ``flow``."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from agentopt.trace.flow import Row, read_graph
from agentopt.trace.graph import Graph

__all__ = ["CURRENT", "SPAN", "Trace", "record"]

CURRENT: ContextVar[Trace | None] = ContextVar("agentopt_trace", default=None)
SPAN: ContextVar[int] = ContextVar("agentopt_span", default=-1)
"""The number of the row inside of which we are."""


class Trace:
    """Append-only, by any number of threads and tasks at once: a row is one append, its number one step of a counter."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        """Calls are appended when they end, so not in the order of their numbers."""
        self.number = itertools.count().__next__
        self.feedback: list[tuple[Any, str, Mapping[str, float]]] = []
        """(the object that was judged, text, scores)"""
        self.began = perf_counter()

    def read(self, param: Any, value: Any) -> None:
        """A parameter was read."""
        self.rows.append((self.number(), "param", param, SPAN.get(), (), None, value, perf_counter(), 0.0, None))

    def input(self, name: str, value: Any) -> None:
        """What the workflow was given."""
        self.rows.append((self.number(), "input", name, SPAN.get(), (), None, value, perf_counter(), 0.0, None))

    def backward(self, target: Any, text: str = "", score: float | Mapping[str, float] | None = None) -> None:
        """Say of ``target``, an object that the workflow made, how good it is. Any number of times."""
        scores = {} if score is None else dict(score) if isinstance(score, Mapping) else {"score": float(score)}
        self.feedback.append((target, text, scores))

    def graph(self) -> Graph:
        """What was recorded so far."""
        return read_graph(self.rows, self.began)


@contextmanager
def record(on: bool = True) -> Generator[Trace]:
    """Record what happens inside, in this thread or task and those that start in its context."""
    trace = Trace()
    token = CURRENT.set(trace if on else None)
    span = SPAN.set(-1)
    try:
        yield trace
    finally:
        SPAN.reset(span)
        CURRENT.reset(token)
