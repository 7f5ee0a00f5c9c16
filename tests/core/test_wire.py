"""Frames and values on the wire: what goes in comes out, and nothing hostile does more than raise WireError."""

from __future__ import annotations

import itertools
import json
import math
import socket
import struct
import threading
from enum import IntEnum
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.core import wire


def make_array(dtype, shape, data):
    return np.frombuffer(data, dtype).reshape(shape).copy()


def there_and_back(value, **options):
    return wire.decode(wire.encode(value), make_array, **options)


def spelled(text: str, tail: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + tail


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.just("$wire"), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back_equal(value):
    assert there_and_back(value) == value


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "<i8", ">f4", "f8", "c16"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_arrays_come_back_with_type_shape_and_bytes(dtype, shape):
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    back = there_and_back({"deep": [array]})["deep"][0]
    assert np.array_equal(back, array)
    if shape:
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.flags.writeable


def test_an_array_that_is_not_contiguous_crosses_as_what_it_shows():
    array = np.arange(12).reshape(3, 4)[:, ::2].T
    assert np.array_equal(there_and_back(array), array)


def test_numpy_scalars_become_plain_numbers():
    back = there_and_back([np.float32(0.5), np.int64(3), np.bool_(True), np.float64(2.0)])
    assert back == [0.5, 3, True, 2.0]
    assert [type(item) for item in back] == [float, int, bool, float]


def test_tuples_become_lists_and_mappings_dicts():
    assert there_and_back(((1, (2,)), MappingProxyType({"a": (3,)}), bytearray(b"x"))) == [[1, [2]], {"a": [3]}, b"x"]


def test_a_dict_may_use_our_own_tag():
    value = {"$wire": ["array", "<f8", [1], 8], "b": {"$wire": {"$wire": b"y"}}}
    assert there_and_back(value) == value


def test_enums_of_numbers_are_numbers():
    class Colour(IntEnum):
        RED = 3

    assert there_and_back([Colour.RED, [Colour.RED]]) == [3, [3]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1, 2}, "sorted list"),
        (object(), "a object cannot cross"),
        ({1: 2}, "keys must be text"),
        (1j, "a complex cannot cross"),
        (np.array([object()], dtype=object), "dtype object"),
        (np.array(["text"]), "cannot cross"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "cannot cross"),
        (np.datetime64("2020-01-01"), "cannot cross"),
        pytest.param(10**5000, "cannot cross", id="a long number"),
    ],
)
def test_what_cannot_cross_is_named(value, words):
    with pytest.raises(wire.WireError, match=words):
        wire.encode({"a": [value]})


def test_a_value_that_holds_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.encode(loop)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("-inf")], {"a": [{"b": float("nan")}]}])
def test_non_finite_numbers_have_an_error_of_their_own(value):
    data = wire.encode(value)
    with pytest.raises(wire.NonFiniteError):
        wire.decode(data, make_array)
    assert str(wire.decode(data, make_array, finite=False)) == str(value)


@pytest.mark.parametrize("text", ["1e999", "-1e999", "[1, 1e400]", '{"a":NaN}', "Infinity"])
def test_spelled_infinities_are_refused(text):
    with pytest.raises(wire.NonFiniteError):
        wire.decode(spelled(text), make_array)


def test_inside_an_array_nan_is_data():
    assert np.isnan(there_and_back(np.array([1.0, np.nan]))[1])


ARRAY = '{"$wire":["array",%s,%s,%s]}'
HOSTILE = {
    "empty": b"",
    "no text": b"\x00" * 8,
    "a length beyond the end": struct.pack("<Q", 2**63) + b"1",
    "no JSON": spelled("[1,"),
    "no UTF-8": struct.pack("<Q", 2) + b'"\xff',
    "two values": spelled("1 2"),
    "200 000 brackets": spelled("[" * 200_000),
    "200 000 closed brackets": spelled("[" * 200_000 + "]" * 200_000),
    "101 levels of lists": spelled("[" * 103 + "]" * 103),
    "a number of 5 000 digits": spelled("1" * 5000),
    "bytes that belong to nothing": spelled("1", b"x"),
    "an unknown tag": spelled('{"$wire":["pickle",3]}', b"abc"),
    "a tag that is no list": spelled('{"$wire":3}'),
    "an empty tag": spelled('{"$wire":[]}'),
    "a tag with company": spelled('{"$wire":["bytes",1],"a":1}', b"x"),
    "bytes that are not there": spelled('{"$wire":["bytes",4]}', b"abc"),
    "bytes of negative length": spelled('[{"$wire":["bytes",3]},{"$wire":["bytes",-2]}]', b"abc"),
    "bytes of a length that is no number": spelled('{"$wire":["bytes","3"]}', b"abc"),
    "an array of objects": spelled(ARRAY % ('"|O8"', "[1]", "8"), b"\0" * 8),
    "an array of text": spelled(ARRAY % ('"<U1"', "[1]", "4"), b"\0" * 4),
    "a dtype that is no text": spelled(ARRAY % ("3", "[1]", "8"), b"\0" * 8),
    "a dtype that does not exist": spelled(ARRAY % ('"<f3"', "[1]", "3"), b"\0" * 3),
    "a shape that is no list": spelled(ARRAY % ('"<f8"', "1", "8"), b"\0" * 8),
    "a negative side": spelled(ARRAY % ('"<f8"', "[-1,-1]", "8"), b"\0" * 8),
    "a side that is true": spelled(ARRAY % ('"<f8"', "[true]", "8"), b"\0" * 8),
    "40 dimensions": spelled(ARRAY % ('"<f8"', str([1] * 40), "8"), b"\0" * 8),
    "an enormous shape": spelled(ARRAY % ('"<f8"', "[1000000,1000000,1000000]", "8"), b"\0" * 8),
    "an empty array with enormous sides": spelled(ARRAY % ('"<f8"', f"[{2**62},{2**62},0]", "0")),
    "a bool array with the byte 255": spelled(ARRAY % ('"|b1"', "[2]", "2"), b"\x01\xff"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_raise_wire_error(name):
    with pytest.raises(wire.WireError):
        wire.decode(HOSTILE[name], make_array)


def crosses_again(data: bytes) -> bool:
    """Whether the bytes are a value; if they are, it goes through bytes unchanged."""
    try:
        value = wire.decode(data, make_array)
    except wire.WireError:
        return False
    encoded = wire.encode(value)
    assert wire.encode(wire.decode(encoded, make_array)) == encoded
    return True


@given(st.binary(max_size=200) | st.text(max_size=20).map(spelled) | plain.map(lambda value: spelled(json.dumps(value, default=repr))))
def test_any_bytes_raise_wire_error_or_are_a_value(data):
    if crosses_again(data):
        assert int.from_bytes(data[:8], "little") <= len(data) - 8


@given(plain | st.just(np.arange(3)), st.data())
def test_a_changed_byte_raises_wire_error_or_is_a_value(value, data):
    encoded = bytearray(wire.encode(value))
    assert crosses_again(bytes(encoded))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    crosses_again(bytes(encoded))


def test_running_out_of_memory_is_a_wire_error():
    def greedy(dtype, shape, data):
        raise MemoryError

    with pytest.raises(wire.WireError, match="too large"):
        wire.decode(wire.encode(np.ones(3)), greedy)


def test_frames_go_through_a_socket():
    ours, theirs = socket.socketpair()
    large = bytes(range(256)) * 1024
    with ours, theirs:
        sender, receiver = wire.FrameSocket(ours), wire.FrameSocket(theirs)
        assert receiver.fileno() == theirs.fileno()
        sender.send({"a": [1]}, b"body")
        sender.send({})
        thread = threading.Thread(target=lambda: sender.send({"b": 2}, memoryview(large)))
        thread.start()
        assert receiver.receive() == ({"a": [1]}, b"body")
        assert receiver.receive() == ({}, b"")
        assert receiver.receive() == ({"b": 2}, large)
        thread.join()
        sender.close()
        assert receiver.receive() is None


def test_half_a_frame_is_the_end():
    frame = wire.pack({"a": 1}, b"body")
    for cut in (4, 20, len(frame) - 1):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(frame[:cut])
            ours.close()
            assert wire.FrameSocket(theirs).receive() is None


def test_a_reset_connection_is_the_end():
    class Reset:
        def recv_into(self, view):
            raise ConnectionResetError

    assert wire.FrameSocket(Reset()).receive() is None  # type: ignore[arg-type]


def fed(frames: wire.Frames, data: bytes, sizes) -> list:
    """What comes out when ``data`` goes in by pieces of these sizes, over and over."""
    found, view = [], memoryview(data)
    for size in itertools.cycle(sizes):
        if not view:
            return found
        room = frames.room()
        count = min(size, len(room), len(view))
        room[:count] = view[:count]
        frames.filled(count)
        view = view[count:]
        while (frame := frames.take()) is not None:
            found.append((frame[0], bytes(frame[1])))


@given(st.lists(st.tuples(st.dictionaries(st.text(max_size=3), st.integers()), st.binary(max_size=300)), max_size=6), st.data())
def test_frames_come_out_as_they_went_in_however_the_bytes_arrive(sent, data):
    sizes = data.draw(st.lists(st.integers(1, 400), min_size=1, max_size=5))
    assert fed(wire.Frames(), b"".join(wire.pack(*frame) for frame in sent), sizes) == sent


def test_a_large_body_stays_what_it_was_while_more_comes():
    frames = wire.Frames()
    first, second = b"a" * 100_000, b"b" * 100_000
    room = None
    kept = []
    for body in (first, second):
        data = memoryview(wire.pack({}, body))
        while data:
            room = frames.room()
            count = min(len(room), len(data))
            room[:count] = data[:count]
            frames.filled(count)
            data = data[count:]
        kept.append(frames.take()[1])
    assert [bytes(body) for body in kept] == [first, second]


def test_nothing_is_set_aside_for_a_frame_beyond_the_caps():
    frames = wire.Frames(control_cap=10, body_cap=100)
    frames.room()[:16] = wire.HEADER.pack(b"aopt", 2, 1 << 60)
    frames.filled(16)
    with pytest.raises(wire.TooLargeError, match="more than 100 bytes"):
        frames.room()
    frames = wire.Frames(control_cap=10)
    frames.room()[:16] = wire.HEADER.pack(b"aopt", 11, 0)
    frames.filled(16)
    with pytest.raises(wire.WireError, match="control of a frame is too long"):
        frames.take()


@pytest.mark.parametrize("header", [b"x" * 16, wire.HEADER.pack(b"aopt", wire.CONTROL_CAP + 1, 0)])
def test_a_header_that_is_none_is_refused(header):
    with pytest.raises(wire.WireError, match="not a frame"):
        wire.parse_header(header)


@pytest.mark.parametrize("control", [b"[1]", b"3", b"{", b'{"a":NaN}', b"\xff"])
def test_a_control_is_a_strict_object(control):
    with pytest.raises(wire.WireError):
        wire.parse_control(control)
    assert wire.parse_control(json.dumps({"a": 1}).encode()) == {"a": 1}


@pytest.mark.parametrize("value", ["x" * 101, [["x" * 60], "x" * 60], b"x" * 101, [b"x" * 60, b"x" * 60], np.zeros(13), list(range(60))])
def test_a_value_above_the_cap_is_refused(value):
    with pytest.raises(wire.TooLargeError, match="more than 100 bytes"):
        wire.encode(value, cap=100)
    assert wire.encode("x" * 80, cap=100) == wire.encode("x" * 80)


@pytest.mark.thorough
def test_more_lists_than_memory_should_hold():
    """64 MB of them would take 3 GB in the process that judges."""
    text = b"[" + b"[]," * wire._MAX_NESTED + b"0]"
    with pytest.raises(wire.WireError, match="more than 4,000,000 lists and dicts; arrays hold more"):
        wire.decode(len(text).to_bytes(8, "little") + text, make_array)
    with pytest.raises(wire.WireError, match="more than 4,000,000 lists and dicts"):
        wire.encode([[]] * wire._MAX_NESTED)


def test_a_maker_of_arrays_may_overflow():
    def overflow(dtype, shape, data):
        raise OverflowError("Python int too large to convert to C long")

    with pytest.raises(wire.WireError, match="an array that cannot be made: Python int too large"):
        wire.decode(wire.encode(np.zeros(3)), overflow)


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize("text", ["1 2", "[]]", "{}{}", "null\n", '"a" '])
def test_a_value_that_something_follows_is_none(text, finite):
    with pytest.raises(wire.WireError, match="something follows it"):
        wire.decode(spelled(text), make_array, finite=finite)
