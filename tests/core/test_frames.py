"""Frames on the controller's event loop."""

from __future__ import annotations

import asyncio
import socket

import pytest

from agentopt.core import frames, wire
from agentopt.core.frames import FrameConnection


async def pair() -> tuple[FrameConnection, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    return await FrameConnection.over(ours), theirs


async def test_frames_go_both_ways_small_and_large():
    line, other = await pair()
    with other:
        echo = asyncio.create_task(asyncio.to_thread(_echo, other, 3))
        for body in (b"", b"small", b"large" * 100_000):
            line.send({"size": len(body)}, body)
            frame = await line.receive(5)
            assert frame is not None
            assert (frame[0], bytes(frame[1])) == ({"size": len(body)}, body)
        await echo
        await line.abort()


def _echo(connection: socket.socket, count: int) -> None:
    other = wire.FrameSocket(connection)
    for _ in range(count):
        frame = other.receive()
        assert frame is not None
        other.send(*frame)


async def test_frames_that_came_early_are_kept_in_order():
    line, other = await pair()
    with other:
        other.sendall(wire.pack({"n": 1}) + wire.pack({"n": 2}))
        assert await line.receive(5) == ({"n": 1}, b"")
        assert await line.receive(5) == ({"n": 2}, b"")
        await line.abort()


async def test_waiting_has_an_end():
    line, other = await pair()
    with other:
        with pytest.raises(TimeoutError):
            await line.receive(0.01)
        other.sendall(wire.pack({"late": True}))
        assert await line.receive(5) == ({"late": True}, b"")
        await line.abort()


async def test_a_deadline_that_comes_after_the_frame_changes_nothing():
    answered = asyncio.get_running_loop().create_future()
    answered.set_result(({}, b""))
    frames._expire(answered)
    assert answered.result() == ({}, b"")


async def test_a_frame_for_somebody_who_gave_up_is_for_the_next():
    line, other = await pair()
    with other:
        waiting = asyncio.create_task(line.receive(5))
        await asyncio.sleep(0)
        waiting.cancel()
        line.buffer_updated(_into(line, wire.pack({"n": 1})))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await line.receive(5) == ({"n": 1}, b"")
        await line.abort()


def _into(line: FrameConnection, data: bytes) -> int:
    line.get_buffer(-1)[: len(data)] = data
    return len(data)


@pytest.mark.parametrize("last", [b"", wire.pack({"a": 1}, b"cut off")[:-1], b"this is no frame"])
async def test_the_other_side_goes(last):
    line, other = await pair()
    waiting = asyncio.create_task(line.receive(5))
    await asyncio.sleep(0)
    other.sendall(last)
    other.close()
    assert await waiting is None
    assert await line.receive(5) is None
    line.hang_up()
    await line.end(1)
    await line.abort()


async def test_the_end_waits_for_the_other_side():
    line, other = await pair()
    ending = asyncio.create_task(line.end(5))
    assert await asyncio.to_thread(other.recv, 1) == b""
    assert not ending.done()
    other.close()
    await ending
    assert await line.receive(1) is None


async def test_an_end_that_nobody_hears_takes_no_longer_than_told():
    line, other = await pair()
    with other:
        with pytest.raises(TimeoutError):
            await line.end(0.01)
        assert await line.receive(1) is None


async def test_sending_to_one_that_is_gone_is_no_error():
    line, other = await pair()
    other.close()
    line.send({"to": "nobody"})
    await line.end(1)
    assert await line.receive(1) is None


async def test_hanging_up_on_one_that_is_gone_is_no_error():
    line, other = await pair()
    other.close()
    line.hang_up()
    await line.end(1)
    assert await line.receive(1) is None
