"""A connection to one of our own processes on which frames come and go, for the controller's event loop."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from agentopt.core import wire

__all__ = ["Frame", "FrameConnection"]

Frame = tuple[dict[str, Any], memoryview]
_JOINED = 1 << 16


class FrameConnection(asyncio.BufferedProtocol):
    """One caller at a time waits for a frame."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._incoming = wire.Frames()
        self._frames: deque[Frame] = deque()
        self._waiter: asyncio.Future[Frame | None] | None = None
        self._lost = asyncio.get_running_loop().create_future()

    @classmethod
    async def over(cls, connection: socket.socket) -> FrameConnection:
        """Takes the socket over."""
        connection.setblocking(False)
        _, protocol = await asyncio.get_running_loop().create_unix_connection(cls, sock=connection)
        return protocol

    # --- for the user

    def send(self, control: Mapping[str, Any], body: bytes | memoryview = b"") -> None:
        """What does not fit into the socket goes as the loop runs. To a side that is gone, nothing happens."""
        assert self._transport is not None
        head = wire.pack_head(control, len(body))
        if len(body) <= _JOINED:
            self._transport.write(b"".join((head, body)))
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def receive(self, seconds: float) -> Frame | None:
        """The next frame; None when the other side is gone. Raises TimeoutError."""
        if self._frames:
            return self._frames.popleft()
        if self._lost.done():
            return None
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        alarm = loop.call_later(seconds, _expire, waiter)
        try:
            return await waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def hang_up(self) -> None:
        """Say that nothing more will come."""
        assert self._transport is not None
        if not self._transport.is_closing():
            with suppress(OSError):
                self._transport.write_eof()

    async def end(self, seconds: float) -> None:
        """Hang up, and wait until the other side has closed. Raises TimeoutError. May be called twice."""
        self.hang_up()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._lost)
        finally:
            await self.abort()

    async def abort(self) -> None:
        """Close at once; on return the descriptor is given back."""
        assert self._transport is not None
        self._transport.abort()
        await asyncio.shield(self._lost)

    # --- for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._incoming.room()

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.filled(nbytes)
        while (frame := self._incoming.take()) is not None:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(frame)
            else:
                self._frames.append(frame)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set_result(None)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: asyncio.Future[Frame | None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
