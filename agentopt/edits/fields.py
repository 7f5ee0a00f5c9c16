"""The parts of config and value parameters that can be varied: numbers with their bounds, and choices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from agentopt.core.errors import TaskError
from agentopt.core.task import Parameter, Value

__all__ = ["Field", "find_fields", "perturb_field", "replace_fields"]

_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Field:
    """One number (``low`` and ``high`` are infinite where nothing bounds it) or one of several ``choices``."""

    path: _Path
    value: Any
    low: float = -math.inf
    high: float = math.inf
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def is_number(self) -> bool:
        return not self.choices

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    def to_unit(self) -> float:
        """Where in ``[low, high]`` the value lies, from 0 to 1; only for a bounded field."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, min(max(self.value, self.low), self.high)))
        return (value - low) / (high - low) if high > low else 0.0

    def from_unit(self, unit: float) -> float | int:
        """The inverse of ``to_unit``; a whole field is rounded."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        value = low + unit * (high - low)
        return self.fitted(math.exp(value) if self.log else value)

    def fitted(self, value: float) -> float | int:
        """``value`` inside the bounds, rounded where the field is whole."""
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


def find_fields(parameter: Parameter, value: Value) -> list[Field]:
    """The fields of a config or value: those that its ``space`` names, or every number and truth value if it has no space.

    A space maps a field (``"a.b"`` for nested ones, ``""`` for a value) to ``(low, high)``, a list of choices, or a mapping with
    ``low``, ``high``, ``log``, ``int``. Raises TaskError for any other.
    """
    leaves = dict(_leaves(value))
    if parameter.space is None:
        return [made for path, leaf in leaves.items() if (made := _unbounded(path, leaf))]
    fields: list[Field] = []
    for name, space in parameter.space.items():
        path = next((path for path in leaves if ".".join(str(step) for step in path) == name), None)
        if path is None:
            raise TaskError(
                f"parameter {parameter.name!r}: space names {name!r}, which the value does not have; use one of {_names(leaves)}"
            )
        fields.append(_spaced(path, leaves[path], space, f"parameter {parameter.name!r}: space[{name!r}]"))
    return fields


def replace_fields(value: Value, fields: Sequence[Field], values: Sequence[Any]) -> Value:
    """A copy of ``value`` with new values in the fields."""
    for field, new in zip(fields, values, strict=True):
        value = _put(value, field.path, new)
    return value


def perturb_field(field: Field, rng: Random) -> Any:
    """Another value nearby: another choice; a step of a tenth of the range, at times anywhere in it; else a lognormal factor."""
    if field.choices:
        others = [choice for choice in field.choices if choice != field.value]
        return rng.choice(others or field.choices)
    if field.is_bounded:
        unit = rng.random() if rng.random() < 0.1 else min(max(field.to_unit() + rng.gauss(0.0, 0.1), 0.0), 1.0)
        new = field.from_unit(unit)
        return field.fitted(field.value + rng.choice((-1, 1))) if field.whole and new == field.value else new
    if field.whole:
        return field.fitted(rng.choice((field.value + 1, field.value - 1, field.value * 2, field.value // 2)))
    return field.fitted(
        rng.gauss(0.0, 1.0) if field.value == 0 else field.value * rng.lognormvariate(0.0, 0.5) * rng.choice((1, 1, 1, 1, -1))
    )


def _names(leaves: Mapping[_Path, Any]) -> str:
    return ", ".join(repr(".".join(str(step) for step in path)) for path in leaves)


def _leaves(value: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(value, Mapping):
        for key, held in cast(Mapping[str, Any], value).items():
            yield from _leaves(held, (*path, key))
    elif isinstance(value, list):
        for index, held in enumerate(cast(list[Any], value)):
            yield from _leaves(held, (*path, index))
    else:
        yield path, value


def _put(value: Any, path: _Path, new: Any) -> Any:
    if not path:
        return new
    step = path[0]
    if isinstance(value, list):
        return [_put(held, path[1:], new) if index == step else held for index, held in enumerate(cast(list[Any], value))]
    return {key: _put(held, path[1:], new) if key == step else held for key, held in cast(Mapping[str, Any], value).items()}


def _unbounded(path: _Path, value: Any) -> Field | None:
    if isinstance(value, bool):
        return Field(path, value, choices=(False, True))
    if isinstance(value, int | float) and math.isfinite(value):
        return Field(path, value, whole=isinstance(value, int))
    return None


def _spaced(path: _Path, value: Any, space: Any, where: str) -> Field:
    match space:
        case tuple() if len(cast(tuple[Any, ...], space)) == 2:
            return _bounded(path, value, {"low": space[0], "high": space[1]}, where)
        case list() if space:
            return Field(path, value, choices=tuple(cast(list[Any], space)))
        case Mapping() if set(cast(Mapping[str, Any], space)) <= {"low", "high", "log", "int"}:
            return _bounded(path, value, cast(Mapping[str, Any], space), where)
        case _:
            raise TaskError(f"{where} is {space!r}; give (low, high), a list of choices or a mapping with low, high, log, int")


def _bounded(path: _Path, value: Any, space: Mapping[str, Any], where: str) -> Field:
    low, high, log = space.get("low", -math.inf), space.get("high", math.inf), bool(space.get("log", False))
    numbers = all(isinstance(number, int | float) and not isinstance(number, bool) for number in (low, high, value))
    if not numbers or not low < high:
        raise TaskError(f"{where}: low {low!r}, high {high!r} and the value {value!r} must be numbers with low < high")
    if log and not (low > 0 and math.isfinite(high)):
        raise TaskError(f"{where}: log needs low > 0 and a high, not {low!r} and {high!r}")
    return Field(path, value, float(low), float(high), log, bool(space.get("int", isinstance(value, int))))
