"""What crosses between processes: frames, and values in them. Nothing that comes from a candidate is ever unpickled.

A frame is a fixed header, a JSON object (the control) and raw bytes (the body). A value becomes JSON followed by the raw bytes
of its arrays, so numbers in bulk cross without being spelled out.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from socket import socket
from typing import Any, NoReturn, cast

__all__ = [
    "CONTROL_CAP",
    "HEADER",
    "FrameSocket",
    "Frames",
    "NonFiniteError",
    "TooLargeError",
    "WireError",
    "decode",
    "encode",
    "pack",
    "pack_head",
    "parse_control",
    "parse_header",
]

HEADER = struct.Struct("<4sIQ")
CONTROL_CAP = 1 << 20
_MAGIC = b"aopt"
_ROOM = 1 << 16
_FIRST_ROOM = 1 << 12
_TEXT_LENGTH = struct.Struct("<Q")
_MAX_DEPTH = 100
_MAX_NESTED = 4_000_000
"""Lists and dicts in one value: a byte that opens one takes a hundred in memory."""
_MAX_DIMENSIONS = 32
_TAG = "$wire"
_DTYPE = re.compile(r"[<>|=]?([biufc])(\d{1,2})")
_SCALARS = {int, float, str, bool, type(None)}
_NESTED = {list, dict}
_COMPACT = json.JSONEncoder(separators=(",", ":")).encode

MakeArray = Callable[[str, tuple[int, ...], memoryview], Any]
"""``make_array(dtype, shape, data)``; what it gets has been checked: ``data`` has the length the other two ask for."""


class WireError(ValueError):
    """Bytes that are no frame or no value, or a value that has no bytes."""


class TooLargeError(WireError):
    """A value that has more bytes than it may."""


class NonFiniteError(WireError):
    """A number that is NaN or infinite where only finite ones may be."""


# --- frames


def pack(control: Mapping[str, Any], body: bytes | memoryview = b"") -> bytes:
    """One frame."""
    return b"".join((pack_head(control, len(body)), body))


def pack_head(control: Mapping[str, Any], body_length: int) -> bytes:
    """A frame up to its body."""
    text = _COMPACT(control).encode()
    return HEADER.pack(_MAGIC, len(text), body_length) + text


def parse_header(header: bytes | bytearray | memoryview) -> tuple[int, int]:
    """The lengths of control and body. Raises WireError."""
    magic, control, body = HEADER.unpack(header)
    if magic != _MAGIC or control > CONTROL_CAP:
        raise WireError("these bytes are not a frame")
    return control, body


def parse_control(text: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The control of a frame, an object of strict JSON. Raises WireError."""
    control = _parse_json(bytes(text), finite=True)
    if not isinstance(control, dict):
        raise WireError("the control of a frame is not an object")
    return cast(dict[str, Any], control)


class Frames:
    """Bytes in, frames out: fill ``room()``, say how much with ``filled``, then ``take`` while there is something to take.

    A large frame gets memory of its own, which its body keeps: its bytes are copied once. Nothing is set aside for a frame that
    promises more than ``control_cap`` or ``body_cap`` bytes.
    """

    def __init__(self, control_cap: int = CONTROL_CAP, body_cap: int | None = None) -> None:
        self._control_cap = control_cap
        self._body_cap = body_cap
        self._data = bytearray(_FIRST_ROOM)
        self._filled = 0
        self._lengths: tuple[int, int] | None = None

    def room(self) -> memoryview:
        """Where the next bytes go; never empty. Raises WireError, and TooLargeError for a body beyond the cap."""
        needed = self._needed()
        if needed > len(self._data):
            data = bytearray(max(needed, _ROOM))
            data[: self._filled] = memoryview(self._data)[: self._filled]
            self._data = data
        return memoryview(self._data)[self._filled :]

    def filled(self, count: int) -> None:
        self._filled += count

    def take(self) -> tuple[dict[str, Any], memoryview] | None:
        """A frame if all of it is there. Raises as ``room`` does."""
        needed = self._needed()
        if self._lengths is None or self._filled < needed:
            return None
        start = HEADER.size + self._lengths[0]
        whole = memoryview(self._data)
        control = parse_control(whole[HEADER.size : start])
        rest = whole[needed : self._filled]
        body = whole[start:needed]
        if len(body) > _ROOM // 8:
            self._data = bytearray(_ROOM)
        else:
            body = memoryview(bytes(body))
        self._data[: len(rest)] = bytes(rest)
        self._filled, self._lengths = len(rest), None
        return control, body

    def _needed(self) -> int:
        """How many bytes make the present frame, as far as is known."""
        if self._lengths is None:
            if self._filled < HEADER.size:
                return HEADER.size
            self._lengths = parse_header(memoryview(self._data)[: HEADER.size])
        control, body = self._lengths
        if control > self._control_cap:
            raise WireError("the control of a frame is too long")
        if self._body_cap is not None and body > self._body_cap:
            raise TooLargeError(f"a frame has a body of more than {self._body_cap} bytes")
        return HEADER.size + control + body


class FrameSocket:
    """Frames on a blocking socket, between processes that trust each other's lengths."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._frames = Frames()

    def receive(self) -> tuple[dict[str, Any], memoryview] | None:
        """The next frame; None when the other side is gone."""
        while (frame := self._frames.take()) is None:
            try:
                count = self._connection.recv_into(self._frames.room())
            except ConnectionError:
                return None
            if count == 0:
                return None
            self._frames.filled(count)
        return frame

    def send(self, control: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
        """Raises OSError when the other side is gone."""
        head = pack_head(control, len(body))
        if len(body) <= _ROOM:
            self._connection.sendall(b"".join((head, body)))
        else:
            self._connection.sendall(head)
            self._connection.sendall(body)

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()


# --- values


def encode(value: Any, cap: int | None = None) -> bytes:
    """Bytes for ``value``: None, bool, int, float, str, bytes, lists, dicts with text keys, arrays; tuples become lists.

    An array is anything with ``dtype``, ``shape`` and ``tobytes`` that holds bools, integers, floats or complex numbers.
    Raises WireError, naming what cannot cross, and TooLargeError for more than ``cap`` bytes.
    """
    writer = _Writer(cap)
    try:
        text = _COMPACT(writer.plain(value, 0)).encode()
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"this value cannot cross: {error}") from None
    _check_nested(text)
    writer.count(_TEXT_LENGTH.size + len(text))
    return b"".join((_TEXT_LENGTH.pack(len(text)), text, *writer.buffers))


class _Writer:
    """Turns a value into what JSON can hold and the bytes of its arrays."""

    def __init__(self, cap: int | None) -> None:
        self.buffers: list[bytes] = []
        self._cap = cap
        self._size = 0

    def count(self, size: int) -> None:
        self._size += size
        if self._cap is not None and self._size > self._cap:
            raise TooLargeError(f"this value has more than {self._cap} bytes")

    def plain(self, value: Any, depth: int) -> Any:
        if isinstance(value, str) and self._cap is not None and len(value) > self._cap:
            raise TooLargeError(f"this value has more than {self._cap} bytes")  # before spelling it out takes memory
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if depth >= _MAX_DEPTH:
            raise WireError(f"this value is nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, list | tuple):
            items = cast(list[Any], value)
            if set(map(type, items)) <= _SCALARS:
                return items
            return [self.plain(item, depth + 1) for item in items]
        if isinstance(value, Mapping):
            return self._mapping(cast(Mapping[Any, Any], value), depth)
        if isinstance(value, bytes | bytearray):
            return {_TAG: ["bytes", self._keep(len(value), lambda: bytes(value))]}
        return self._array(value)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        for key in value:
            if not isinstance(key, str):
                raise WireError(f"a dict with the key {key!r:.80} cannot cross: keys must be text")
        plain = {key: self.plain(item, depth + 1) for key, item in value.items()}
        return {_TAG: ["dict", plain]} if _TAG in plain else plain

    def _array(self, value: Any) -> Any:
        dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
        if dtype is None or shape is None or not hasattr(value, "tobytes"):
            hint = "; make it a sorted list" if type(value) in (set, frozenset) else ""
            raise WireError(f"a {type(value).__name__} cannot cross: use numbers, text, bytes, lists, dicts or numpy arrays{hint}")
        spelled = str(dtype.str)
        if _DTYPE.fullmatch(spelled) is None:
            raise WireError(f"an array of dtype {dtype!s:.80} cannot cross: only bool, integer, float and complex arrays can")
        if shape == () and isinstance(number := value.item(), bool | int | float):
            return number
        return {_TAG: ["array", spelled, list(shape), self._keep(math.prod(shape) * dtype.itemsize, value.tobytes)]}

    def _keep(self, size: int, make: Callable[[], bytes]) -> int:
        self.count(size)
        self.buffers.append(make())
        return size


def decode(data: bytes | memoryview, make_array: MakeArray, finite: bool = True) -> Any:
    """The value in ``data``, which may be hostile: whatever is wrong with it raises WireError.

    ``finite`` refuses NaN and infinity outside arrays with NonFiniteError; inside arrays they are the scorer's business.
    """
    view = memoryview(data)
    try:
        if len(view) < _TEXT_LENGTH.size:
            raise WireError("these bytes are not a value")
        (length,) = _TEXT_LENGTH.unpack(view[: _TEXT_LENGTH.size])
        start = _TEXT_LENGTH.size + length
        if start > len(view):
            raise WireError("these bytes are not a value")
        reader = _Reader(view[start:], make_array)
        text = bytes(view[_TEXT_LENGTH.size : start])
        _check_nested(text)
        value = reader.revive(_parse_json(text, finite), 0)
        reader.finish()
        return value
    except (RecursionError, MemoryError):
        raise WireError("this value is too large or nested too deeply") from None


def _check_nested(text: bytes) -> None:
    if text.count(b"[") + text.count(b"{") > _MAX_NESTED:
        raise WireError(f"this value has more than {_MAX_NESTED:,} lists and dicts; arrays hold more")


def _parse_json(text: bytes, finite: bool) -> Any:
    try:
        spelled = text.decode()
        value, end = (_STRICT if finite else _LENIENT)(spelled)
        if end != len(spelled):
            raise ValueError("something follows it")
        return value
    except NonFiniteError:
        raise
    except RecursionError:
        raise WireError("this value is nested too deeply") from None
    except ValueError as error:
        raise WireError(f"these bytes are not a value: {error!s:.200}") from None


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NonFiniteError(f"the number {text:.40} is not finite")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise NonFiniteError(f"the number {name} is not finite")


_LENIENT = json.JSONDecoder().raw_decode
_STRICT = json.JSONDecoder(parse_float=_finite_float, parse_constant=_refuse_constant).raw_decode


class _Reader:
    """Puts arrays and bytes back into their places; their buffers lie in the order in which they are met."""

    def __init__(self, buffers: memoryview, make_array: MakeArray) -> None:
        self._buffers = buffers
        self._used = 0
        self._make_array = make_array

    def finish(self) -> None:
        if self._used != len(self._buffers):
            raise WireError("this value has bytes that belong to nothing")

    def revive(self, value: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH + 1:
            raise WireError(f"this value is nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, list):
            items = cast(list[Any], value)
            if _NESTED.isdisjoint(map(type, items)):
                return items
            return [self.revive(item, depth + 1) for item in items]
        if isinstance(value, dict):
            members = cast(dict[str, Any], value)
            if _TAG in members:
                return self._tagged(members, depth)
            return {key: self.revive(item, depth + 1) for key, item in members.items()}
        return value

    def _tagged(self, members: dict[str, Any], depth: int) -> Any:
        tag: Any = members[_TAG]
        if len(members) == 1 and isinstance(tag, list):
            kind, *rest = cast(list[Any], tag) or [None]
            if kind == "dict" and len(rest) == 1 and isinstance(rest[0], dict):
                plain = cast(dict[str, Any], rest[0])
                return {key: self.revive(item, depth + 1) for key, item in plain.items()}
            if kind == "bytes" and len(rest) == 1:
                return bytes(self._take(rest[0]))
            if kind == "array" and len(rest) == 3:
                return self._array(*rest)
        raise WireError("this value has a tag that means nothing")

    def _array(self, dtype: Any, shape: Any, length: Any) -> Any:
        known = _DTYPE.fullmatch(dtype) if isinstance(dtype, str) else None
        if known is None or not _is_shape(shape):
            raise WireError("this value holds an array of an unknown type or shape")
        if math.prod(shape) * int(known[2]) != length:
            raise WireError("this value holds an array whose bytes do not fill its shape")
        data = self._take(length)
        if known[1] == "b" and bytes(data).translate(None, b"\0\1"):
            raise WireError("this value holds a bool array with other bytes than 0 and 1")
        try:
            return self._make_array(dtype, tuple(shape), data)
        except (TypeError, ValueError, OverflowError) as error:
            raise WireError(f"this value holds an array that cannot be made: {error!s:.200}") from None

    def _take(self, length: Any) -> memoryview:
        if type(length) is not int or length < 0 or self._used + length > len(self._buffers):
            raise WireError("this value promises more bytes than it has")
        end = self._used + length
        data = self._buffers[self._used : end]
        self._used = end
        return data


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(cast(list[Any], shape)) > _MAX_DIMENSIONS:
        return False
    return all(type(side) is int and side >= 0 for side in cast(list[Any], shape))
