"""Code as a parameter of a workflow: who calls it, so that what a model wrote stays behind walls."""

from __future__ import annotations
import __future__

import builtins
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from types import CodeType
from typing import Any, NamedTuple, Protocol, cast

from agentopt.core import wire

__all__ = [
    "RUNNER",
    "CodeCall",
    "CodeFailed",
    "CodeRunner",
    "Import",
    "Source",
    "execute",
    "unsendable",
]


_RAISED = re.compile(r"^([\w.]+)(?::|$)", re.MULTILINE)
"""The exception in a traceback: what is written above it is indented."""


class Import(NamedTuple):
    """Among ``uses``: the module of this name, or its ``attribute``, imported where the code runs."""

    module: str
    attribute: str = ""

    def load(self) -> Any:
        module = import_module(self.module)
        return getattr(module, self.attribute) if self.attribute else module


class Source(NamedTuple):
    """Among ``uses``: what ``text`` defines under the name ``entry``. It sees the other uses."""

    text: str
    entry: str


@dataclass(frozen=True)
class CodeCall:
    """A call of the function ``entry`` that ``source`` defines.

    ``uses`` are the names that it takes from its surroundings: plain values, an Import or a Source.
    """

    source: str
    entry: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    uses: Mapping[str, Any] = field(default_factory=dict[str, Any])


class CodeFailed(Exception):
    """The code ended without a value. ``kind`` is a failure's; ``message`` says where, in lines of the source."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind, self.message = kind, message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind

    def __reduce__(self) -> tuple[Callable[[str, str], CodeFailed], tuple[str, str]]:
        return CodeFailed.of, (self.kind, self.message)

    @classmethod
    def of(cls, kind: str, message: str) -> CodeFailed:
        """For a crash by an exception of Python's own, a failure that ``except`` with that exception catches too, as without walls."""
        named = _RAISED.search(message) if kind == "crash" else None
        return (_like(named[1]) if named else cls)(kind, message)


@cache
def _like(name: str) -> type[CodeFailed]:
    base: Any = getattr(builtins, name, None)
    if not isinstance(base, type) or not issubclass(base, Exception) or base in (StopIteration, StopAsyncIteration):
        return CodeFailed
    made = type("CodeFailed", (CodeFailed, base), {"__module__": __name__})
    try:
        made("crash", "")
    except (TypeError, ValueError):  # it wants to be told more than there is to tell
        return _like(base.__bases__[0].__name__)
    return made


class CodeRunner(Protocol):
    """Calls code. What goes in and comes out is plain data (``core.wire``): a tuple comes out as a list."""

    @property
    def sandbox(self) -> str:
        """The level, and its walls."""
        ...

    def call(self, call: CodeCall) -> Any:
        """From any thread. Raises CodeFailed, and TypeError for what cannot be sent, naming it."""
        ...

    async def acall(self, call: CodeCall) -> Any: ...


RUNNER: ContextVar[CodeRunner | None] = ContextVar("agentopt_code_runner", default=None)
"""Who calls code here; nobody, unless somebody who wires things put a runner in."""

_UNEVALUATED = __future__.annotations.compiler_flag


def execute(source: str, file: str, uses: Mapping[str, Any], names: dict[str, Any]) -> None:
    """Run ``source`` in the namespace ``names``, where it finds ``uses``. Raises whatever it raises.

    Annotations are not evaluated: they may name what did not come along.
    """
    sources: list[tuple[str, Source]] = []
    for name, used in uses.items():
        if isinstance(used, Source):
            sources.append((name, used))
        else:
            names[name] = used.load() if isinstance(used, Import) else used
    for name, (text, entry) in sources:
        exec(_compiled(text, f"{entry}.py"), names)
        names[name] = names[entry]
    exec(_compiled(source, file), names)


def _compiled(source: str, file: str) -> CodeType:
    return compile(source, file, "exec", _UNEVALUATED, dont_inherit=True)


def unsendable(value: Any, where: str) -> str:
    """Why ``value``, which is called ``where``, cannot cross to another process, with the path to what is wrong; empty if it can."""
    try:
        wire.encode(value)
    except wire.WireError as error:
        for step, item in _members(value):
            if deeper := unsendable(item, where + step):
                return deeper
        return f"{where}: {error}"
    return ""


def _members(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        return [(f"[{i}]", item) for i, item in enumerate(cast("list[Any]", value))]
    if isinstance(value, Mapping):
        return [(f"[{key!r:.80}]", item) for key, item in cast("Mapping[Any, Any]", value).items()]
    return []
