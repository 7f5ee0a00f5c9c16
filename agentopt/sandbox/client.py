"""The controller's side of the sandbox: a zygote per executor, a box per candidate."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from agentopt.core import wire
from agentopt.core.boot import boot_command
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Failure, Measured
from agentopt.sandbox.walls import Caps, Level, environment

__all__ = ["Box", "BoxPlan", "Report", "Zygote"]

_STREAM_LIMIT = 1 << 20
_IMPORT_SECONDS = 300.0
_OPEN_SECONDS = 30.0
_GRACE_SECONDS = 5.0
"""What the guard gets on top of a deadline before it counts as lost."""


@dataclass(frozen=True)
class BoxPlan:
    """What is the same for all boxes of an executor."""

    task: str
    level: Level
    path: Sequence[str]
    imports: Sequence[str]
    box_files: Sequence[str]
    caps: Caps
    work: bytes
    """The task's functions, pickled."""


@dataclass(frozen=True)
class Report:
    """What the guard says of one rollout."""

    failure: Failure | None
    output: bytes
    printed: bytes
    measured: Measured
    alive: bool
    """Whether the box takes another rollout."""


class Zygote:
    """Starts on first use, and again when it was killed."""

    def __init__(self, plan: BoxPlan) -> None:
        self._plan = plan
        self._lock = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def open(self, spec: bytes) -> Box:
        """A box for the candidate in ``spec``. Raises TaskError for unusable imports, InfrastructureError when the machine fails."""
        for _ in range(2):
            async with self._lock:
                door = await self._running()
                process = self._process
            box = await self._request(door, spec)
            if box is not None:
                return box
            async with self._lock:
                if self._process is process:  # else another session has replaced it already
                    await self.close()
        raise InfrastructureError("the process that opens boxes died twice in a row")

    async def _request(self, door: socket.socket, spec: bytes) -> Box | None:
        """None when the zygote is gone."""
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(door, [b"\0"], [theirs.fileno()])
        except OSError:
            ours.close()
            return None
        finally:
            theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_STREAM_LIMIT)
        box = Box(reader, writer)
        try:
            plan = self._plan
            writer.write(wire.pack({"level": plan.level, "caps": plan.caps, "box_files": list(plan.box_files)}, spec))
            async with asyncio.timeout(_OPEN_SECONDS):
                hello = await wire.read_frame(reader)
        except TimeoutError:
            await box.close()
            raise InfrastructureError(f"a box did not open within {_OPEN_SECONDS:g} s") from None
        except BaseException:
            writer.transport.abort()
            raise
        if hello is None:
            await box.close()
            return None
        if "error" in hello[0]:
            await box.close()
            raise InfrastructureError(hello[0]["error"])
        box.guard_pid = hello[0]["guard"]
        return box

    async def _running(self) -> socket.socket:
        if self._process is not None and self._socket is not None and self._process.poll() is None:
            return self._socket
        await self.close()
        await self._start()
        assert self._socket is not None
        return self._socket

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as log:
            with theirs:
                self._socket, self._process = ours, self._spawn(theirs.fileno(), log)
            try:
                hello = await _first_frame(ours, _IMPORT_SECONDS)
                if hello is None:
                    raise InfrastructureError(f"the process that opens boxes did not start: {_last_words(log)}")
                if "error" in hello:
                    raise TaskError(f"task {self._plan.task!r}: {hello['error']}")
            except BaseException:
                await self.close()
                raise

    def _spawn(self, descriptor: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        plan = self._plan
        with tempfile.TemporaryFile() as orders:
            orders.write(wire.pack({"path": list(plan.path), "imports": list(plan.imports)}, plan.work))
            orders.seek(0)
            return subprocess.Popen(
                boot_command("agentopt.sandbox.zygote", str(descriptor)),
                env=environment(plan.level),
                cwd="/",
                stdin=orders,
                stdout=log,
                stderr=log,
                pass_fds=[descriptor],
                start_new_session=True,
            )

    async def close(self) -> None:
        """Ends the zygote; boxes that are open live on until they are closed."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-2000:].decode(errors="replace").strip()


async def _first_frame(connection: socket.socket, seconds: float) -> dict[str, Any] | None:
    """One frame without a body, read so that not a byte more is taken."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    data = b""
    try:
        async with asyncio.timeout(seconds):
            needed = wire.HEADER.size
            while len(data) < needed:
                more = await loop.sock_recv(connection, needed - len(data))
                if not more:
                    return None
                data += more
                if len(data) == wire.HEADER.size:
                    needed += wire.parse_header(data)[0]
    except ConnectionError:
        return None
    except TimeoutError:
        raise InfrastructureError(f"the task's imports took longer than {seconds:g} s") from None
    return wire.parse_control(data[wire.HEADER.size :])


class Box:
    """One candidate's box. Rollouts one after another; ``close`` returns when everything in it is dead."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.guard_pid: int | None = None
        self.usable = True

    async def rollout(self, seconds: float, rng_seed: int, data: bytes) -> Report:
        """Raises InfrastructureError when the guard is lost. After cancellation the box can only be closed."""
        self.usable = False
        self._writer.write(wire.pack({"seconds": seconds, "rng_seed": rng_seed}, data))
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                frame = await wire.read_frame(self._reader)
        except TimeoutError:
            raise InfrastructureError("the guard of a box does not answer") from None
        if frame is None:
            raise InfrastructureError("the guard of a box was killed")
        report = _report(*frame)
        self.usable = report.alive
        return report

    def hang_up(self) -> None:
        """Tell the guard that it is over; a rollout that waits for it ends with InfrastructureError."""
        self.usable = False
        with suppress(OSError):
            self._writer.write_eof()

    async def close(self) -> None:
        """May be called twice."""
        self.usable = False
        transport = self._writer.transport
        if transport.is_closing():
            return
        try:
            self.hang_up()
            async with asyncio.timeout(_GRACE_SECONDS):
                while await self._reader.read(_STREAM_LIMIT):
                    pass
        except TimeoutError:
            if self.guard_pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(self.guard_pid, signal.SIGKILL)
        except ConnectionError:
            pass
        finally:
            transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def _report(control: dict[str, Any], body: bytes) -> Report:
    split = len(body) - control["printed"]
    status = control["status"]
    return Report(
        failure=None if status == "ok" else Failure(status, control["message"]),
        output=body[:split],
        printed=body[split:],
        measured=Measured(*control["measured"]),
        alive=control["alive"],
    )
