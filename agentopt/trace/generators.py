"""Generators as nodes: one per run of the body, whose span is entered whenever the body runs and left whenever it waits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from time import perf_counter
from typing import Any, cast

from agentopt.trace.context import CURRENT, SPAN
from agentopt.trace.functions import Function
from agentopt.trace.values import ITEMS, More

__all__ = ["Items", "trace_async_generator", "trace_generator"]


class Items:
    """What a generator gave, the first ``ITEMS`` of it, each with the tick at which it did."""

    __slots__ = ("count", "given")

    def __init__(self) -> None:
        self.given: list[tuple[int, Any]] = []
        self.count = 0

    def shown(self) -> list[Any]:
        """The items, as they were then."""
        items: list[Any] = [getattr(item, "copy", item) if type(item).__name__ == "Snapshot" else item for _, item in self.given]
        return [*items, More(self.count - len(items))] if self.count > len(items) else items


class _Run:
    """One run of a generator's body, and the row that it leaves."""

    def __init__(self, trace: Any, about: Function, keep: Callable[[Any], Any] | None, args: Any, kwargs: Any) -> None:
        self.trace, self.about, self.keep = trace, about, keep or trace.keep
        self.number, self.span = trace.number(), SPAN.get()
        self.given = tuple(map(self.keep, args))
        self.named = {role: self.keep(value) for role, value in kwargs.items()} if kwargs else None
        self.items = Items()
        self.began = perf_counter()

    def gave(self, item: Any) -> None:
        self.items.count += 1
        if self.items.count <= ITEMS:
            self.items.given.append((self.trace.number(), self.keep(item)))

    def ended(self, kind: Any, value: Any, meta: dict[str, Any] | None = None) -> None:
        trace = self.trace
        row = (self.number, kind, self.about, self.span, self.given, self.named, value, self.began, perf_counter(), meta, trace.number())
        trace.rows.append(row)

    def finished(self, returned: Any) -> None:
        self.ended(self.about.kind, self.items, None if returned is None else {"returned": returned})

    def closed(self) -> None:
        self.ended(self.about.kind, self.items, {"closed": True})

    def failed(self, error: BaseException) -> None:
        self.ended("exception", error, {"traceback": error.__traceback__, "items": self.items.shown()})


def trace_generator(function: Callable[..., Any], about: Function, keep: Callable[[Any], Any] | None) -> Callable[..., Any]:
    """``function`` with a node per run of its generators, from their first item on."""

    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        trace = CURRENT.get()
        body: Any = function(*args, **kwargs)
        if trace is None:
            return cast("object", (yield from body))
        run = _Run(trace, about, keep, args, kwargs)
        step, argument = body.send, None
        while True:
            token = SPAN.set(run.number)
            try:
                item = step(argument)
            except StopIteration as stop:
                run.finished(stop.value)
                return cast("object", stop.value)
            except BaseException as error:
                run.failed(error)
                raise
            finally:
                SPAN.reset(token)
            run.gave(item)
            try:
                step, argument = body.send, (yield item)
            except GeneratorExit:
                _close(body, run)
                raise
            except BaseException as error:
                step, argument = body.throw, error

    return call


def _close(body: Any, run: _Run) -> None:
    token = SPAN.set(run.number)
    try:
        body.close()
    except BaseException as error:
        run.failed(error)
        raise
    finally:
        SPAN.reset(token)
    run.closed()


def trace_async_generator(function: Callable[..., Any], about: Function, keep: Callable[[Any], Any] | None) -> Callable[..., Any]:
    """``function`` with a node per run of its asynchronous generators, from their first item on."""

    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        body, trace = function(*args, **kwargs), CURRENT.get()
        run = None if trace is None else _Run(trace, about, keep, args, kwargs)
        step, argument = body.asend, None
        while True:
            try:
                item = await (step(argument) if run is None else _stepped(run, step, argument))
            except StopAsyncIteration:
                return
            try:
                step, argument = body.asend, (yield item)
            except GeneratorExit:
                await (body.aclose() if run is None else _aclose(body, run))
                raise
            except BaseException as error:
                step, argument = body.athrow, error

    return call


async def _stepped(run: _Run, step: Callable[[Any], Any], argument: Any) -> Any:
    token = SPAN.set(run.number)
    try:
        item = await step(argument)
    except StopAsyncIteration:
        run.finished(None)
        raise
    except BaseException as error:
        run.failed(error)
        raise
    finally:
        SPAN.reset(token)
    run.gave(item)
    return item


async def _aclose(body: Any, run: _Run) -> None:
    token = SPAN.set(run.number)
    try:
        await body.aclose()
    except BaseException as error:
        run.failed(error)
        raise
    finally:
        SPAN.reset(token)
    run.closed()
