"""What wrapped programs of all frameworks have in common: named parameters, and calls inside of which they have a candidate's values."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing
from contextvars import copy_context
from fnmatch import fnmatchcase
from typing import Any, cast

from agentopt.core.errors import ConfigError, TaskError
from agentopt.trace.params import Param

__all__ = ["Params", "framework", "identifier", "iterated", "iterated_async"]


def framework(module: str, extra: str) -> Any:
    """The module. Raises ConfigError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise ConfigError(f"{module} is not installed; run: pip install 'agentopt[{extra}]'") from None


def identifier(*parts: str) -> str:
    """The parts as one Python identifier, for a parameter's name: ``agent.tools['search']`` is ``agent_tools_search``."""
    name = re.sub(r"\W+", "_", "_".join(part for part in parts if part)).strip("_") or "text"
    return f"_{name}" if name[0].isdigit() else name


class Params:
    """Parameters by name, as they are found. Only names that one of the shell patterns matches are taken."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self._places: dict[str, str] = {}
        self.selected: dict[str, Param] = {}

    def add(self, name: str, value: str, place: str, **options: Any) -> Param | None:
        """The parameter; None if it is not selected. Raises TaskError if another one has the name."""
        if name in self._places:
            raise TaskError(f"{self._places[name]} and {place} would both be the parameter {name!r}; rename one of them in the program")
        self._places[name] = place
        if not any(fnmatchcase(name, pattern) for pattern in self._patterns):
            return None
        self.selected[name] = Param(value, name, "prompt", description=place, **options)
        return self.selected[name]

    def check(self, what: str) -> dict[str, Param]:
        """What was selected. Raises TaskError for patterns that select nothing."""
        found = ", ".join(self._places) or "none"
        for pattern in self._patterns:
            if not any(fnmatchcase(name, pattern) for name in self._places):
                raise TaskError(f"{what}: params has {pattern!r}, which matches no parameter; there are: {found}")
        return self.selected


Inside = Callable[[], AbstractContextManager[Any]]


def iterated(inside: Inside, make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """The items of ``make()``, each of them made inside of ``inside()``; what the consumer does in between is outside."""
    context, stack = copy_context(), ExitStack()
    context.run(stack.enter_context, inside())
    end = object()
    try:
        items = context.run(make)
        while (item := context.run(next, items, end)) is not end:
            yield item
    finally:
        context.run(stack.close)


async def iterated_async(inside: Inside, make: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """``iterated`` for what is iterated asynchronously, in one task from the first item to the last: it may run ahead of its consumer."""
    waiting: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()

    async def work() -> None:
        try:
            with inside():
                async with aclosing(cast("AsyncGenerator[Any]", make())) as items:
                    async for item in items:
                        waiting.put_nowait((True, item))
        finally:
            waiting.put_nowait((False, None))

    task = asyncio.create_task(work())
    try:
        while True:
            more, item = await waiting.get()
            if not more:
                break
            yield item
        await task
    finally:
        task.cancel()
        await asyncio.wait({task})
