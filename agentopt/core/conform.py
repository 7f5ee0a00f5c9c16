"""A proposed value as it may be tried: projected, and within its space. What cannot be brought there is refused, with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from agentopt.core.errors import TaskError
from agentopt.core.task import Parameter, Value, Values

__all__ = ["conform", "conform_all"]


def conform_all(values: Values, parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    """``values``, each as ``conform`` gives it. What a task began with is not looked at again. Raises ValueError and TaskError."""
    return {
        name: value if value == parameters[name].initial else conform(parameters[name], value)  # the seed is the user's word
        for name, value in values.items()
    }


def conform(parameter: Parameter, value: Value) -> Value:
    """What of ``value`` is tried: what the parameter's ``project`` makes of it, if that lies in its ``space``.

    Raises ValueError, with a sentence for whoever proposed the value, where it is refused; TaskError where the projection itself fails.
    """
    if parameter.project is not None:
        value = _projected(parameter, value)
    for place, allowed, found in _spaced(parameter, value):
        if why := _outside(allowed, found):
            where = f"field {place!r} of {parameter.name!r}" if place else repr(parameter.name)
            raise ValueError(f"The value of {where} is {found!r}; {why}.")
    return value


def _projected(parameter: Parameter, value: Value) -> Value:
    assert parameter.project
    try:
        projected = parameter.project(value)
    except ValueError as error:
        raise ValueError(f"The value of {parameter.name!r} is refused: {error}") from None
    except Exception as error:
        raise TaskError(f"parameter {parameter.name!r}: its projection failed with {type(error).__name__}: {error}") from error
    if not parameter.holds(projected):
        raise TaskError(f"parameter {parameter.name!r}: its projection gave a {type(projected).__name__} for a {parameter.kind}")
    return projected


def _spaced(parameter: Parameter, value: Value) -> Iterator[tuple[str, Any, Any]]:
    """(field, what is allowed there, what is there), as far as the value has the fields that the space names."""
    for place, allowed in (parameter.space or {}).items():
        found = value
        for key in place.split(".") if place else ():
            found = cast(Mapping[str, Any], found).get(key) if isinstance(found, Mapping) else None
        if found is not None:
            yield place, allowed, found


def _outside(allowed: Any, found: Any) -> str:
    """Why ``found`` is not allowed; empty if it is. A space that is none of these says nothing."""
    if isinstance(allowed, list):
        choices = cast(list[Any], allowed)
        return "" if found in choices else f"it must be one of {', '.join(map(repr, choices))}"
    if isinstance(allowed, tuple) and len(cast(tuple[Any, ...], allowed)) == 2:
        low, high = cast(tuple[Any, Any], allowed)
        allowed = {"low": low, "high": high}
    if not isinstance(allowed, Mapping):
        return ""
    bounds = cast(Mapping[str, Any], allowed)
    if not isinstance(found, int | float):
        return "it must be a number"
    if bounds.get("int") and found != int(found):
        return "it must be a whole number"
    low, high = bounds.get("low"), bounds.get("high")
    if (low is None or found >= low) and (high is None or found <= high):
        return ""
    return f"it must be {_range(low, high)}"


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at most {high:g}" if low is None else f"at least {low:g}"
    return f"between {low:g} and {high:g}"
