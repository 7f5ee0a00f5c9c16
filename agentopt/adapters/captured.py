"""What adapters of agent frameworks have in common: texts of a program as parameters, and what a framework says of a run as nodes."""

from __future__ import annotations

import asyncio
import atexit
import copy
import importlib
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from agentopt.core.errors import ConfigError, TaskError
from agentopt.trace.params import Param
from agentopt.trace.recorder import Trace

__all__ = [
    "StepFailed",
    "Texts",
    "at_home",
    "begin_at_home",
    "described",
    "identifier",
    "import_framework",
    "items_at_home",
    "model_seen",
    "one_input",
    "redescribed",
    "wait_at_home",
]


class StepFailed(Exception):
    """A step failed, and the framework told no more than this of it: it keeps exceptions of tools to itself."""


def import_framework(module: str, extra: str) -> Any:
    """The module. Raises ConfigError with the install command if it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise ConfigError(f"{module} is not installed; run: pip install 'agentopt[{extra}]'") from None


def identifier(*parts: str) -> str:
    """Names of agents and tools as the name of a parameter: ``("Triage agent", "instructions")`` is ``triage_agent_instructions``."""
    name = "_".join(re.sub(r"\W+", "_", part.strip().lower()).strip("_") for part in parts)
    return name if name.isidentifier() else f"_{name}"


class Texts:
    """Texts of a program by the names that their parameters have."""

    def __init__(self, patterns: Iterable[str] | None = None) -> None:
        """``patterns``: shell patterns of the names that are wanted; default all."""
        self._patterns = None if patterns is None else tuple(patterns)
        self._found: dict[str, tuple[str, Param]] = {}

    def add(self, name: str, text: str, what: str) -> None:
        """``what`` says whose text it is, to the optimizer. Raises TaskError for a name that another text has."""
        if name in self._found:
            raise TaskError(f"{self._found[name][0]} and {what} would both be the parameter {name!r}; give one of them another name")
        self._found[name] = (what, Param(text, name=name, kind="prompt", description=what))

    def wanted(self) -> tuple[Param, ...]:
        """Those that the patterns select. Raises ConfigError for a pattern that selects none, or if there is no text at all."""
        if not self._found:
            raise ConfigError("the agents have no text that could be improved: no instructions and no tools; give one of them instructions")
        if self._patterns is None:
            return tuple(param for _, param in self._found.values())
        for pattern in self._patterns:
            if not any(fnmatchcase(name, pattern) for name in self._found):
                raise ConfigError(f"params: no parameter's name matches {pattern!r}; the names are: {', '.join(self._found)}")
        chosen = [name for name in self._found if any(fnmatchcase(name, pattern) for pattern in self._patterns)]
        return tuple(self._found[name][1] for name in chosen)


def described(schema: Mapping[str, Any]) -> dict[str, str]:
    """The descriptions in a JSON schema of an object, by the name of the property; dots for those inside of others."""
    found: dict[str, str] = {}

    def look(at: Any, path: str) -> None:
        for name, part in cast("Mapping[str, Any]", at.get("properties") or {}).items():
            if isinstance(part, Mapping):
                inner = cast("Mapping[str, Any]", part)
                if inner.get("description"):
                    found[path + name] = str(inner["description"])
                look(inner, f"{path}{name}.")

    look(schema, "")
    return found


def redescribed(schema: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """A copy with other descriptions, by the names that ``described`` gives."""
    made = copy.deepcopy(dict(schema))
    for path, text in texts.items():
        at: Any = made
        for name in path.split("."):
            at = at["properties"][name]
        at["description"] = text
    return made


def model_seen(trace: Trace, since: int, span: int) -> bool:
    """Whether a client's hook recorded a call of a model in ``span``, in a row from ``since`` on."""
    return any(row[1] in ("llm", "exception") and row[3] == span and isinstance(row[2], str) for row in trace.rows[since:])


def one_input(args: Sequence[Any], fields: Mapping[str, Any]) -> Any:
    """What an agent is asked, given alone or as the one field of a row. Raises TaskError for more than one."""
    values = [*args, *fields.values()]
    if len(values) != 1:
        shown = ", ".join(fields) or f"{len(values)} values"
        raise TaskError(f"an agent is asked one thing, and the row gives {shown}; wrap a function that makes one input of them")
    return values[0]


# --- one loop for all ----------------------------------------------------------------------------------------------------


class _Home:
    """An event loop in a thread of its own, from the first use to the end of the process.

    Clients keep connections, and those belong to the loop that opened them. What runs now in a run's loop and then in another would find
    connections of a loop that is closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name="agentopt-agents", daemon=True)
                thread.start()
                atexit.register(_end, loop, thread)
            return self._loop


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


_HOME = _Home()


async def at_home(work: Coroutine[Any, Any, Any]) -> Any:
    """What ``work`` returns; it runs in the loop of the adapters, and in this context."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, _HOME.loop))


async def items_at_home(stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The items of a stream that is read there, in one task from its begin to its end. Who stops reading cancels it."""
    here, items = asyncio.get_running_loop(), asyncio.Queue[Any](maxsize=1)
    end = object()

    async def give(item: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(items.put(item), here))

    async def read() -> None:
        try:
            async for item in stream:
                await give(item)
        finally:
            if close := getattr(stream, "aclose", None):
                await close()
            here.call_soon_threadsafe(_put_last, items, end)

    reading = asyncio.run_coroutine_threadsafe(read(), _HOME.loop)
    try:
        while (item := await items.get()) is not end:
            yield item
        await asyncio.wrap_future(reading)
    finally:
        reading.cancel()


def _put_last(items: asyncio.Queue[Any], end: Any) -> None:
    """Without waiting: nobody may read any more."""
    items._maxsize = 0  # type: ignore[attr-defined]
    items.put_nowait(end)


def begin_at_home(begin: Callable[[], Any]) -> Any:
    """What ``begin`` returns, called there: for what starts tasks and waits for nothing."""

    async def begun() -> Any:
        return begin()

    return asyncio.run_coroutine_threadsafe(begun(), _HOME.loop).result()


def wait_at_home(work: Coroutine[Any, Any, Any]) -> Any:
    """The same for callers without a loop. Raises RuntimeError in a running one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run_coroutine_threadsafe(work, _HOME.loop).result()
    work.close()
    raise RuntimeError("an event loop is running here; await the workflow instead of run_sync()")
