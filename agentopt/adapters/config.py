"""The YAML files of other systems: what of them has a meaning here, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from agentopt.core.errors import TaskError

__all__ = ["Config", "find_config", "seconds_of"]


class Config:
    """A file's keys, dotted. Those that were asked for are known; the others are ``unused``."""

    def __init__(self, path: Path | None, data: Mapping[str, Any]) -> None:
        self.path = path
        self._data = data
        self._known: set[str] = set()

    def get(self, key: str, kind: type | tuple[type, ...] = object, default: Any = None) -> Any:
        """The value of a dotted key, ``default`` if it is not there or null. Raises TaskError for one of another kind."""
        self._known.add(key)
        value: Any = self._data
        for part in key.split("."):
            value = cast("Mapping[str, Any]", value).get(part) if isinstance(value, Mapping) else None
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool and kind is not object):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            raise TaskError(f"{self.path}: {key} is {value!r}; it is to be of the kind {' or '.join(one.__name__ for one in kinds)}")
        return value

    def unused(self) -> list[str]:
        """Dotted keys that nobody asked for; ``section (a, b)`` for several of a section."""
        left = [key for key in _leaves(self._data) if not any(key == known or key.startswith(f"{known}.") for known in self._known)]
        sections: dict[str, list[str]] = {}
        for key in left:
            head, _, rest = key.partition(".")
            sections.setdefault(head, []).append(rest)
        return [f"{head} ({', '.join(rest)})" if rest[0] else head for head, rest in sections.items()]

    def notes(self) -> list[str]:
        """One line on what is left, if there is something."""
        unused = self.unused()
        return [f"{self.path.name}: without a meaning here, and so ignored: {', '.join(unused)}"] if self.path and unused else []


def _leaves(data: Mapping[str, Any], before: str = "") -> list[str]:
    found: list[str] = []
    for key, value in data.items():
        name = f"{before}{key}"
        found += _leaves(cast("Mapping[str, Any]", value), f"{name}.") if isinstance(value, Mapping) and value else [name]
    return found


def find_config(folder: Path, names: Sequence[str]) -> Config:
    """The first of the names (patterns) that is there, or an empty one. Raises TaskError for what is no mapping."""
    for pattern in names:
        for path in sorted(folder.glob(pattern)):
            return Config(path, _read(path))
    return Config(None, {})


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise TaskError(f"{path}: not a YAML file: {said}") from None
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise TaskError(f"{path}: it holds a {type(data).__name__}; it is to hold keys and values")
    return cast("Mapping[str, Any]", data)


def seconds_of(text: str) -> float | None:
    """``"00:05:00"`` -> 300.0; None for what is no time."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        return None
    return sum(part * 60**k for k, part in enumerate(reversed(parts)))
