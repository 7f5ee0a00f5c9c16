"""Parameters of a workflow, and the values that a candidate puts in their place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, NoReturn, TypedDict, Unpack, cast

from agentopt.core.errors import TaskError
from agentopt.core.task import Kind, Parameter, Value
from agentopt.trace.context import CURRENT, OVERLAY
from agentopt.trace.reads import Reads

__all__ = ["Param", "ParamOptions", "applied", "param"]

Bounds = tuple[float, float] | Sequence[Any] | Mapping[str, Any]
"""A pair of numbers, or a list of choices; for a config one of these by field."""


@contextmanager
def applied(values: Mapping[str, Value]) -> Generator[None]:
    """Inside, parameters of these names have these values: in this thread or task and those that it starts in its context alone."""
    token = OVERLAY.set({**(OVERLAY.get() or {}), **values})
    try:
        yield
    finally:
        OVERLAY.reset(token)


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


class Param(Reads):
    """A named trainable piece of a workflow. Not a str: what would silently read the first value raises TypeError instead.

    ``str(p)``, f-strings, ``p.format()``, ``p + s``, arithmetic, comparison, indexing, methods of its value and ``p.value`` give the
    current candidate's value, and record that it was read. Where Python itself wants a str or a number (``join``, ``re``, ``json``), give
    it ``p.value``.
    """

    __slots__ = ("__weakref__", "_value", "bounds", "constraint", "description", "feedback", "kind", "name", "projection", "trainable")

    def __init__(self, value: Value, name: str, kind: Kind | None = None, **options: Unpack[ParamOptions]) -> None:
        """Raises TaskError for what cannot be a parameter."""
        unknown = sorted(set(options) - set(ParamOptions.__annotations__))
        if unknown:
            raise TypeError(f"param() does not know {unknown[0]!r}; it takes {', '.join(ParamOptions.__annotations__)}")
        self._value = value
        self.name = name
        self.bounds, self.projection = options.get("bounds"), options.get("projection")
        self.kind: Kind = kind or _kind_of(value, self.bounds)
        self.description, self.constraint = options.get("description", ""), options.get("constraint", "")
        self.trainable = options.get("trainable", True)
        self.feedback: list[Any] = []
        """What was said of outcomes that depend on it, since somebody cleared the list: see ``Trace.backward``."""
        self.parameter()  # what cannot be a parameter is said here
        if self.bounds is not None:
            _check_bounds(f"parameter {name!r}", self.kind, value, self.bounds)
        if self.projection is not None and not callable(self.projection):
            raise TaskError(f"parameter {name!r}: projection is {self.projection!r}; give a function of the proposed value")

    @property
    def value(self) -> Value:
        """The value of the candidate that is being tried here, or else this parameter's own. Recorded as a read."""
        return self._read()[0]

    def _read(self) -> tuple[Value, int]:
        """The value, and the number of the row that says it was read; -1 if nothing is recorded."""
        overlay = OVERLAY.get()
        value = self._value if overlay is None else overlay.get(self.name, self._value)
        if type(value) in (dict, list):
            value = copy.deepcopy(value)
        trace = CURRENT.get()
        return value, -1 if trace is None else trace.read(self, value)

    def set(self, value: Value) -> None:
        """From here on, where no candidate is being tried, this is the value."""
        self._value = value

    def parameter(self) -> Parameter:
        """As a task's parameter, with the value it has outside of candidates. Raises TaskError."""
        space = None if self.bounds is None else self.bounds if isinstance(self.bounds, Mapping) else {"": self.bounds}
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

    def __copy__(self) -> Param:
        """Itself: copies of an agent share its parameters, and candidates differ by what is ``applied``."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Param:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"parameter {self.name!r} cannot be pickled; pickle its .value, and make the parameter where it is loaded")


param = Param


def _kind_of(value: Value, bounds: Any) -> Kind:
    if isinstance(value, str):
        return "prompt" if bounds is None else "value"
    if isinstance(value, Mapping):
        return "config"
    if isinstance(value, bool | int | float):
        return "value"
    raise TaskError(f"a parameter's value is text, a number, a truth value or a mapping, not {type(value).__name__}")


def _check_bounds(where: str, kind: Kind, value: Any, bounds: Any) -> None:
    """Raises TaskError."""
    if kind == "config":
        if not isinstance(bounds, Mapping):
            raise TaskError(f"{where}: the bounds of a config are by field, as in {{'temperature': (0, 1)}}, not {bounds!r}")
        for field, held in cast("Mapping[str, Any]", bounds).items():
            if field not in value:
                raise TaskError(f"{where}: bounds has the field {field!r}, which the value has not; name one of {', '.join(value)}")
            _check_bounds(f"{where}, field {field!r}", "value", value[field], held)
    elif kind != "value":
        raise TaskError(f"{where}: a {kind} has no bounds; say in constraint what it has to keep to")
    elif isinstance(bounds, tuple):
        _check_range(where, value, cast("tuple[Any, ...]", bounds))
    elif not isinstance(bounds, list) or not bounds:
        raise TaskError(f"{where}: bounds is {bounds!r}; give a pair (low, high) or a list of choices")
    elif value not in bounds:
        raise TaskError(f"{where}: the value {value!r} is none of the choices {bounds!r}")


def _check_range(where: str, value: Any, bounds: tuple[Any, ...]) -> None:
    if len(bounds) != 2 or not all(isinstance(end, int | float) and isfinite(end) for end in bounds) or bounds[0] >= bounds[1]:
        raise TaskError(f"{where}: bounds is {bounds!r}; give two finite numbers, the lower one first")
    if not isinstance(value, int | float) or not bounds[0] <= value <= bounds[1]:
        raise TaskError(f"{where}: the value {value!r} is not between {bounds[0]} and {bounds[1]}")
