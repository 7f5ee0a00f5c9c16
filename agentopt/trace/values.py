"""What a trace keeps of values: themselves where nobody can change them, and for builtin containers also a copy of what they held then."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Literal, cast

__all__ = ["ATOMS", "ITEMS", "Keep", "Linked", "More", "Outline", "Proxy", "Snapshot", "changed", "keeper", "same", "text_of", "type_of"]

Keep = Literal["ref", "repr", "deepcopy"]
"""What a graph shows of a value: the value (of builtin containers a copy of what they held then, cut after ``ITEMS``), its text, or a
deep copy."""
ATOMS = frozenset({int, float, complex, bool, str, bytes, type(None), type, range, type(len), type(lambda: 0)})
"""Types whose values do not change, and whose insides lead nowhere."""
ITEMS = 1024
"""So many items of a container are kept, those of containers inside it included."""
type_of: Callable[[Any], Any] = type
"""``type``, of which type checkers do not ask of what."""
_BYTES = 1 << 16
_TEXT = 500
_DEPTH = 8


class Proxy:
    """Base of objects that know what made them, as ``node`` gives them."""

    __slots__ = ()
    value: Any


class More:
    """In place of the items that were not kept."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count

    def __repr__(self) -> str:
        return f"<{self.count} more>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, More) and other.count == self.count

    def __hash__(self) -> int:
        return hash(("More", self.count))


class Outline:
    """In place of a value that was not kept: its type, and text that says something of it."""

    __slots__ = ("text", "type")

    def __init__(self, type: str, text: str) -> None:
        self.type, self.text = type, text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outline) and (other.type, other.text) == (self.type, self.text)

    def __hash__(self) -> int:
        return hash((self.type, self.text))


class Snapshot:
    """A value, and what of it is shown. ``parts`` are the containers inside it, themselves; ``policy`` is how ``copy`` came about."""

    __slots__ = ("copy", "parts", "policy", "value")

    def __init__(self, value: Any, copy: Any, parts: Sequence[Any] = (), policy: Keep = "ref") -> None:
        self.value, self.copy, self.parts, self.policy = value, copy, parts, policy


class Linked:
    """An argument of which it is known that the row ``number`` made it. For those who know more than the identity of objects tells."""

    __slots__ = ("number", "value")

    def __init__(self, number: int, value: Any) -> None:
        self.number, self.value = number, value


class _Room:
    """What may still be copied, and the containers that were met."""

    __slots__ = ("left", "parts")

    def __init__(self) -> None:
        self.left = ITEMS
        self.parts: list[Any] = []


def keeper(policy: Keep) -> Callable[[Any], Any]:
    """The function that turns a value into what a row holds. Raises ValueError for a policy that does not exist."""
    found = {"ref": _by_reference, "repr": _as_text, "deepcopy": _copied}.get(policy)
    if found is None:
        raise ValueError(f"values={policy!r} is none of 'ref', 'repr' and 'deepcopy'")
    return found


def _by_reference(value: Any) -> Any:
    kind = type_of(value)
    if kind in ATOMS or not (kind in _COPIERS or kind.__module__ == "numpy"):
        return value
    room = _Room()
    copied = _copy(value, room, 0)
    return value if copied is value else Snapshot(value, copied, tuple(room.parts))


def _as_text(value: Any) -> Any:
    return value if type(value) in _SHORT else Snapshot(value, Outline(type(value).__name__, text_of(value)), policy="repr")


def _copied(value: Any) -> Any:
    if type(value) in ATOMS:
        return value
    try:
        return Snapshot(value, copy.deepcopy(value), policy="deepcopy")
    except Exception:  # locks, sockets, clients: what cannot be copied is described
        return _as_text(value)


def text_of(value: Any, limit: int = _TEXT) -> str:
    """``repr(value)``, cut after ``limit`` characters. Says so if ``repr`` itself fails."""
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def _copy(value: Any, room: _Room, depth: int) -> Any:
    kind = type_of(value)
    copier = _COPIERS.get(kind)
    if copier is None:
        return _copy_array(value) if kind.__module__ == "numpy" else value
    if depth > _DEPTH or (room.left <= 0 and len(value)):
        return More(len(value))
    if depth and kind is not tuple:
        room.parts.append(value)
    try:
        return copier(value, room, depth + 1)
    except RuntimeError:  # another thread changed it meanwhile
        return Outline(kind.__name__, text_of(value))


def _items(items: Sequence[Any], count: int, room: _Room, depth: int) -> list[Any]:
    """A copy of ``items``, the first of ``count``."""
    room.left -= len(items)
    kept = list(items) if ATOMS.issuperset(map(type, items)) else [_copy(item, room, depth) for item in items]
    if count > len(items):
        kept.append(More(count - len(items)))
    return kept


def _copy_list(value: list[Any], room: _Room, depth: int) -> Any:
    return _items(value[: room.left], len(value), room, depth)


def _copy_tuple(value: tuple[Any, ...], room: _Room, depth: int) -> Any:
    if ATOMS.issuperset(map(type, value[: room.left])) and len(value) <= room.left:
        return value
    kept = tuple(_items(value[: room.left], len(value), room, depth))
    return value if len(kept) == len(value) and all(a is b for a, b in zip(kept, value, strict=True)) else kept


def _copy_any(value: Any, room: _Room, depth: int) -> Any:
    return type(value)(_items(list(islice(value, room.left)), len(value), room, depth))


def _copy_set(value: Any, room: _Room, depth: int) -> Any:
    return value.copy() if len(value) <= room.left else {*islice(value, room.left), More(len(value) - room.left)}


def _copy_dict(value: dict[Any, Any], room: _Room, depth: int) -> Any:
    held = dict(value) if len(value) <= room.left else dict(islice(value.items(), room.left))
    room.left -= len(held)
    if not ATOMS.issuperset(map(type, held.values())):
        for key, item in held.items():
            held[key] = _copy(item, room, depth)
    if len(held) < len(value):
        held[More(len(value) - len(held))] = None
    return held


def _copy_bytes(value: bytearray, room: _Room, depth: int) -> Any:
    return bytearray(value) if len(value) <= _BYTES else Outline("bytearray", f"<bytearray of {len(value)} bytes>")


_COPIERS: dict[type, Callable[[Any, _Room, int], Any]] = {
    list: _copy_list,
    tuple: _copy_tuple,
    dict: _copy_dict,
    OrderedDict: _copy_dict,
    defaultdict: _copy_dict,
    Counter: _copy_dict,
    set: _copy_set,
    deque: _copy_any,
    bytearray: _copy_bytes,
}
_SHORT = ATOMS - {str, bytes}


def _copy_array(value: Any) -> Any:
    """A copy of a numpy array; of a large one its shape, type and some hundred of its numbers."""
    if type(value).__name__ != "ndarray":
        return value
    if value.nbytes <= _BYTES and not value.dtype.hasobject:
        return value.copy()
    some = value.flat[:: max(1, value.size // _TEXT)].tolist()[:_TEXT]
    return Outline("ndarray", f"<ndarray {value.dtype} {value.shape}: {text_of(some)}>")


def changed(snapshot: Snapshot) -> bool:
    """Whether the value is another now than when it was recorded. Containers and arrays; what they hold counts as far as it was kept."""
    if snapshot.policy == "repr":
        return text_of(snapshot.value) != snapshot.copy.text
    if snapshot.policy == "deepcopy":
        return False  # nobody knows what it means for two of them to be equal
    return not same(_copy(snapshot.value, _Room(), 0), snapshot.copy)


def same(one: Any, other: Any) -> bool:
    """Equal without asking objects of other classes, which are only the same if they are one."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return _all_same(cast("dict[Any, Any]", one).items(), cast("dict[Any, Any]", other).items())
    if isinstance(one, list | tuple | deque):
        return _all_same(cast("Iterable[Any]", one), cast("Iterable[Any]", other))
    if hasattr(one, "tobytes"):
        return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return type(one) in _COMPARED and (one == other or one != one)


_COMPARED = (ATOMS | {set, frozenset, bytearray, More, Outline}) - {type, type(len), type(lambda: 0)}


def _all_same(some: Iterable[Any], others: Iterable[Any]) -> bool:
    mine, theirs = list(some), list(others)
    return len(mine) == len(theirs) and all(same(a, b) for a, b in zip(mine, theirs, strict=True))
