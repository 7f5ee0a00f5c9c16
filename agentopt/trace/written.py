"""Values as text of one line: as Python would write them, of a bounded length, the same each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, cast

from agentopt.core.quoting import defused
from agentopt.trace.graph import Node

__all__ = ["cut", "error_text", "raised", "written"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 4
_BRACKETS: dict[Any, str] = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}


def written(value: Any, limit: int) -> str:
    """At most about ``limit`` characters; what is missing of a text or a container is counted in its place."""
    return defused(_written(value, limit, 0)).replace("\n", " ")


def cut(text: str, limit: int) -> str:
    """``text`` with its middle left out, if that makes it shorter; two thirds of what stays are its head."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    head = limit - tail
    short = f"{text[:head]}[... {len(text) - limit:,} characters left out ...]{text[len(text) - tail :] if tail else ''}"
    return short if len(short) < len(text) else text


def error_text(value: Any) -> str:
    """``ValueError: no such city``"""
    if isinstance(value, BaseException):
        name, said = type(value).__name__, _safely(str, value)
        return defused(f"{name}: {said}" if said else name)
    return defused(value if isinstance(value, str) else written(value, 2000))


def raised(node: Node) -> str:
    """What an ``exception`` node raised, as ``error_text``: of loaded traces only what was noted when it was recorded."""
    said = ": ".join(str(node.meta[key]) for key in ("error", "message") if node.meta.get(key))
    return defused(said) if said else error_text(node.value)


def _written(value: Any, room: int, depth: int) -> str:
    if isinstance(value, str):
        return repr(cut(value, room))
    if isinstance(value, bytes | bytearray):
        left = len(value) - room
        return f"{bytes(value[:room])!r}" + (f"[... {left:,} bytes left out ...]" if left > 0 else "")
    if type(value) is dict:
        return _listed("{}", _pairs(cast("Mapping[Any, Any]", value), depth), len(cast("dict[Any, Any]", value)), room)
    brackets = _BRACKETS.get(type(value))
    if brackets:
        items = cast("Iterable[Any]", value) if depth < _DEEPEST else ()
        if brackets == "{}":
            items = sorted(items, key=lambda item: _safely(repr, item))
        return _listed(brackets, (partial(_written, item, depth=depth + 1) for item in items), len(value), room)
    return cut(_ADDRESS.sub("", _safely(repr, value)), room)


def _pairs(value: Mapping[Any, Any], depth: int) -> Iterator[Callable[[int], str]]:
    items = value.items() if depth < _DEEPEST else ()
    return (partial(_pair, key, item, depth=depth + 1) for key, item in items)


def _pair(key: Any, value: Any, room: int, depth: int) -> str:
    return f"{_written(key, room, depth)}: {_written(value, room, depth)}"


def _listed(brackets: str, items: Iterable[Callable[[int], str]], total: int, room: int) -> str:
    """Items while there is room, and how many more there are."""
    parts: list[str] = []
    left = room
    for write in islice(items, 1 + room // 3):
        if left <= 0:
            break
        parts.append(write(max(left, 12)))
        left -= len(parts[-1]) + 2
    if len(parts) < total:
        parts.append(f"... {total - len(parts):,} more")
    elif brackets == "()" and total == 1:
        parts[0] += ","
    return f"{brackets[0]}{', '.join(parts)}{brackets[1]}"


def _safely(describe: Any, value: Any) -> str:
    """What a value of a stranger says of itself."""
    try:
        return str(describe(value))
    except Exception as error:
        return f"<{type(value).__name__}: not shown, for its description raises {type(error).__name__}>"
