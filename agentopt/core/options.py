"""Options of optimizers and archives: a frozen dataclass per implementation, filled from a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from agentopt.core.errors import ConfigError

__all__ = ["read_options", "split_options"]

_Options = TypeVar("_Options")


def read_options(schema: type[_Options], given: Mapping[str, Any], where: str) -> _Options:
    """An instance of the dataclass ``schema``; ConfigError names an unknown key or a value of another type than the default's."""
    defaults: dict[str, Any] = {item.name: item.default for item in fields(cast(Any, schema))}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            raise ConfigError(f"{where}.{key} is unknown; the options are: {known}")
        values[key] = _typed(value, defaults[key].__class__, f"{where}.{key}")
    return schema(**values)


def split_options(options: Mapping[str, Any], parts: Iterable[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """``{"floor": .1, "tune.sigma": .5}`` -> own options, and those of each of the named parts."""
    own: dict[str, Any] = {}
    found: dict[str, dict[str, Any]] = {name: {} for name in parts}
    for key, value in options.items():
        # names may hold dots themselves: package.module:Name
        name = max((name for name in found if key.startswith(f"{name}.")), key=len, default="")
        if name:
            found[name][key[len(name) + 1 :]] = value
        else:
            own[key] = value
    return own, found


def _typed(value: Any, kind: type, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}; it must be of type {kind.__name__}")
    return value
