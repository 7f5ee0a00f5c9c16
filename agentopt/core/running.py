"""Code as a parameter of a workflow: who calls it, so that what a model wrote stays behind walls."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["RUNNER", "CodeCall", "CodeFailed", "CodeRunner"]


@dataclass(frozen=True)
class CodeCall:
    """A call of the function ``entry`` that ``source`` defines. ``uses`` are values of names that it takes from its surroundings."""

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


class CodeRunner(Protocol):
    """Calls code. What goes in and comes out is plain data (``core.wire``)."""

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
