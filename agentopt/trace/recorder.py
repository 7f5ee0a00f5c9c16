"""The record of one run of a workflow: rows, appended as calls end. What they mean is found out later, by ``flow``."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import isfinite
from random import Random
from time import perf_counter
from types import MappingProxyType
from typing import Any, Self, TypedDict, Unpack

from agentopt.trace.context import CURRENT, OVERLAY, SPAN, tick
from agentopt.trace.flow import Outcome, Row
from agentopt.trace.graph import Feedback, Graph, Kind
from agentopt.trace.reading import read_graph
from agentopt.trace.replay import Replay
from agentopt.trace.threads import carried
from agentopt.trace.values import Keep, keeper

__all__ = ["CURRENT", "OVERLAY", "SPAN", "GivenFeedback", "RecordOptions", "Span", "Trace", "record"]


@dataclass(frozen=True)
class GivenFeedback(Feedback):
    """What was said, and the trace whose node ``target`` it was said of. Kept by each parameter that the target depends on."""

    trace: Trace | None = None

    def graph(self) -> Graph:
        """The trace as it is now."""
        return Graph() if self.trace is None else self.trace.graph()


class Trace:
    """Append-only, by any number of threads and tasks at once: a row is one append, its number one step of a counter."""

    def __init__(self, values: Keep = "ref") -> None:
        self.rows: list[Row] = []
        """Calls are appended when they end, so not in the order of their numbers."""
        self.number = tick
        """The next tick: rows have one for their begin, which is their number, and one for their end."""
        self.keep = keeper(values)
        self.feedback: list[tuple[Any, str, Mapping[str, float]]] = []
        """(the object that was judged, text, scores)"""
        self._replays: list[Replay] = []
        """What ``backward`` has read so far; none while somebody reads."""
        self.began = perf_counter()
        self.outcome: Outcome | None = None
        self.failure: BaseException | None = None
        """The exception that ended the workflow; a target of ``backward`` like any other."""

    def read(self, param: Any, value: Any) -> int:
        """A parameter was read. The number of the row."""
        return self._point("param", param, value)

    def input(self, name: str, value: Any) -> int:
        """What the workflow was given. The number of the row."""
        return self._point("input", name, value)

    def _point(self, kind: Kind, what: Any, value: Any) -> int:
        number = self.number()
        self.rows.append((number, kind, what, SPAN.get(), (), None, self.keep(value), perf_counter(), 0.0, None, number))
        return number

    def add(self, kind: Kind, name: str, inputs: Mapping[str, Any] = MappingProxyType({}), output: Any = None, **more: Any) -> int:
        """Something that is over: for hooks of clients and adapters of frameworks. The number of the row.

        ``inputs`` are arguments by name. ``more`` is ``began`` and ``ended`` (of ``time.perf_counter``, in seconds), ``meta`` (JSON), and
        ``error``, the exception that it ended with.
        """
        began = more.pop("began", None)
        return self.begin(kind, name, inputs, began=began).end(output, **more)

    def begin(self, kind: Kind, name: str, inputs: Mapping[str, Any] = MappingProxyType({}), **more: Any) -> Span:
        """Something begins, and ``end`` of what is returned says that it is over; the two may be called anywhere.

        What happens meanwhile is not inside it, unless its ``inside()`` says so. ``more`` is ``began`` and ``parent``, another span.
        """
        return Span(self, kind, name, inputs, **more)

    @contextmanager
    def span(self, kind: Kind, name: str, inputs: Mapping[str, Any] = MappingProxyType({})) -> Generator[Span]:
        """What happens inside is inside it, across awaits too. Its ``output`` and ``meta`` are set inside; an exception passes through."""
        span = self.begin(kind, name, inputs)
        with span.inside():
            try:
                yield span
            except BaseException as error:
                span.end(error=error)
                raise
        span.end(span.output)

    def output(self, value: Any) -> None:
        """What the workflow returned."""
        self.outcome = Outcome(value)

    def fail(self, error: BaseException) -> None:
        """What the workflow raised. ``record`` says so itself of what leaves it."""
        self.failure, self.outcome = error, Outcome(error)

    def backward(self, target: Any, text: str = "", score: float | Mapping[str, float] | None = None) -> None:
        """Say of ``target`` how good it is: any number of times, of any number of targets.

        ``target`` is an object that the workflow made, its exception, a ``Param`` or a node of ``graph()``. What nothing in the
        trace made is taken for the outcome of the whole. Each trainable parameter that it depends on gets a ``GivenFeedback``. Raises
        ValueError for a score that is not finite. O(the rows since the last time + what the target depends on), see ``replay``.
        """
        scores = {} if score is None else dict(score) if isinstance(score, Mapping) else {"score": float(score)}
        for name, value in scores.items():
            if not isfinite(value):
                raise ValueError(f"the score {name!r} is {value}; say with text alone what cannot be scored")
        self.feedback.append((target, text, scores))
        if not any(row[1] == "param" and row[2].trainable for row in self.rows):
            return
        with self._replayed(keep=True) as replay:
            number, params = replay.told(target, self.feedback, self.outcome)
        given = GivenFeedback(number, text, scores, self)
        for param in params:
            param.feedback.append(given)

    def graph(self) -> Graph:
        """What was recorded so far."""
        with self._replayed(keep=False) as replay:
            return read_graph(replay, self.began, self.outcome, self.feedback)

    @contextmanager
    def _replayed(self, keep: bool) -> Generator[Replay]:
        """The record as it is now. Who comes while another thread has what was kept reads all of it for himself."""
        try:
            replay = self._replays.pop()
            keep = True
        except IndexError:
            replay = Replay()
        replay.read(self.rows)
        yield replay
        if keep:
            self._replays[:] = [replay]


class Span:
    """Something under way. ``output`` and ``meta`` may be set until it ends."""

    def __init__(
        self, trace: Trace, kind: Kind, name: str, inputs: Mapping[str, Any], *, began: float | None = None, parent: Span | None = None
    ) -> None:
        self.number = trace.number()
        self.output: Any = None
        self.meta: dict[str, Any] = {}
        self._trace, self._name = trace, name
        self._kind: Kind = kind
        self._inputs = {role: trace.keep(value) for role, value in inputs.items()}
        self._parent = SPAN.get() if parent is None else parent.number
        self._began = perf_counter() if began is None else began

    def given(self, inputs: Mapping[str, Any]) -> None:
        """Inputs that are known only now."""
        self._inputs |= {role: self._trace.keep(value) for role, value in inputs.items()}

    @contextmanager
    def inside(self) -> Generator[Self]:
        """What happens here, in this thread or task, is inside it."""
        token = SPAN.set(self.number)
        try:
            yield self
        finally:
            SPAN.reset(token)

    def end(
        self,
        output: Any = None,
        *,
        ended: float | None = None,
        meta: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
    ) -> int:
        """It is over. The number of the row. With ``error`` it is an exception's node."""
        trace, about = self._trace, {**self.meta, **(meta or {})}
        ended = perf_counter() if ended is None else ended
        kind: Kind = self._kind
        if error is None:
            value = trace.keep(output)
        else:
            kind, value = "exception", error
            about["traceback"] = error.__traceback__
        named, number = self._inputs or None, self.number
        row = (number, kind, self._name, self._parent, (), named, value, self._began, ended, about or None, trace.number())
        trace.rows.append(row)
        return self.number


class RecordOptions(TypedDict, total=False):
    """How ``record`` records."""

    sample: float
    """The share of ``record`` blocks that are recorded, drawn at random; default all."""
    rng_seed: int | None
    """Makes that draw the same each time."""
    values: Keep
    threads: bool
    """Threads and pools of threads that are started inside belong to the trace; default no. See ``threads.carried``."""


@contextmanager
def record(on: bool = True, **options: Unpack[RecordOptions]) -> Generator[Trace]:
    """Record what happens inside, in this thread or task and those that start in its context.

    An exception passes through unchanged, and is the trace's ``failure``. With ``on=False``, or where ``sample`` leaves it out, nothing is
    recorded, also by calls of a trace around this one. Raises ValueError for a sample outside of 0 to 1.
    """
    unknown = set(options) - set(RecordOptions.__annotations__)
    if unknown:
        raise TypeError(f"record() does not know {sorted(unknown)[0]!r}; it takes {', '.join(RecordOptions.__annotations__)}")
    sample = options.get("sample", 1.0)
    if not 0 <= sample <= 1:
        raise ValueError(f"sample={sample} is not between 0 and 1")
    on = on and (sample == 1 or Random(options.get("rng_seed")).random() < sample)
    trace = Trace(options.get("values", "ref"))
    token, span = CURRENT.set(trace if on else None), SPAN.set(-1)
    try:
        with carried() if on and options.get("threads") else nullcontext():
            yield trace
    except BaseException as error:
        trace.fail(error)
        raise
    finally:
        SPAN.reset(span)
        CURRENT.reset(token)
