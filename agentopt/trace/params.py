"""Parameters of a workflow, and the values that a candidate puts in their place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypedDict, Unpack

from agentopt.core.errors import TaskError
from agentopt.core.task import Kind, Parameter, Value
from agentopt.trace.recorder import CURRENT

__all__ = ["Param", "ParamOptions", "applied", "param"]

_OVERLAY: ContextVar[Mapping[str, Value] | None] = ContextVar("agentopt_overlay", default=None)
Bounds = tuple[float, float] | Sequence[Any]
"""A pair of numbers, or a list of choices."""


@contextmanager
def applied(values: Mapping[str, Value]) -> Generator[None]:
    """Inside, parameters of these names have these values: in this thread or task and those that it starts in its context alone."""
    token = _OVERLAY.set({**(_OVERLAY.get() or {}), **values})
    try:
        yield
    finally:
        _OVERLAY.reset(token)


class ParamOptions(TypedDict, total=False):
    """What else is said of a parameter."""

    description: str
    """For the optimizer."""
    constraint: str
    """What every value has to keep to, in words for the optimizer."""
    bounds: Bounds
    projection: Callable[[Value], Value]
    """Called with each proposed value before it is tried; what it returns is tried. ValueError refuses the value, and says why."""
    trainable: bool


class Param:
    """A named trainable piece of a workflow. Not a str: what would silently read the first value raises TypeError instead.

    ``str(p)``, f-strings, ``p.format()``, ``p + s``, arithmetic, comparison and ``p.value`` give the current candidate's value, and
    record that it was read.
    """

    __slots__ = ("__weakref__", "_value", "bounds", "constraint", "description", "feedback", "kind", "name", "projection", "trainable")

    def __init__(self, value: Value, name: str, kind: Kind | None = None, **options: Unpack[ParamOptions]) -> None:
        self._value = value
        self.name = name
        self.kind: Kind = kind or _kind_of(value)
        self.description, self.constraint = options.get("description", ""), options.get("constraint", "")
        self.bounds, self.projection = options.get("bounds"), options.get("projection")
        self.trainable = options.get("trainable", True)
        self.feedback: list[Any] = []
        self.parameter()  # what cannot be a parameter is said here

    @property
    def value(self) -> Value:
        """The value of the candidate that is being tried here, or else this parameter's own. Recorded as a read."""
        return self._read()

    def _read(self) -> Value:
        overlay = _OVERLAY.get()
        value = self._value if overlay is None else overlay.get(self.name, self._value)
        if type(value) in (dict, list):
            value = copy.deepcopy(value)
        trace = CURRENT.get()
        if trace is not None:
            trace.read(self, value)
        return value

    def set(self, value: Value) -> None:
        """From here on, where no candidate is being tried, this is the value."""
        self._value = value

    def parameter(self) -> Parameter:
        """As a task's parameter, with the value it has outside of candidates. Raises TaskError."""
        space = None if self.bounds is None else {"": self.bounds}
        return Parameter(
            self.name,
            self.kind,
            self._value,
            description=self.description,
            space=space,
            trainable=self.trainable,
            constraint=self.constraint,
            project=self.projection,
        )


param = Param


def _kind_of(value: Value) -> Kind:
    if isinstance(value, str):
        return "prompt"
    if isinstance(value, Mapping):
        return "config"
    if isinstance(value, bool | int | float):
        return "value"
    raise TaskError(f"a parameter's value is text, a number, a truth value or a mapping, not {type(value).__name__}")
