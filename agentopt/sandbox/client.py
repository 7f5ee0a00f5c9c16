"""The controller's side of the sandbox: a zygote per executor, a guard per slot, a box per candidate."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from agentopt.core import wire
from agentopt.core.boot import boot_command
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Failure, Measured
from agentopt.core.frames import FrameConnection
from agentopt.sandbox import kernel, tree
from agentopt.sandbox.files import make_folder, remove_folder
from agentopt.sandbox.levels import Sandbox
from agentopt.sandbox.walls import Caps, environment

__all__ = ["Box", "BoxPlan", "Report", "Zygote"]

_IMPORT_SECONDS = 300.0
_OPEN_SECONDS = 30.0
_PATIENCE = 1.0
"""What the zygote gets to end by itself."""
_GRACE_SECONDS = 5.0
"""What the guard gets on top of a deadline before it counts as lost."""


@dataclass(frozen=True)
class BoxPlan:
    """What is the same for all boxes of an executor."""

    task: str
    sandbox: Sandbox
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
    output: memoryview
    artifacts: Mapping[str, bytes]
    printed: bytes
    measured: Measured


class Zygote:
    """Starts on first use, and again when it was killed."""

    def __init__(self, plan: BoxPlan) -> None:
        self._plan = plan
        self._lock = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._folder: Path | None = None
        self._free: list[FrameConnection] = []

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
            if not _is_closed(door):
                raise InfrastructureError("the guard of a box was killed")
            async with self._lock:
                if self._process is process:  # else another session has replaced it already
                    await self.close()
        raise InfrastructureError("the process that opens boxes died twice in a row")

    async def _request(self, door: socket.socket, spec: bytes) -> Box | None:
        """None when the guard is gone, or the zygote. A guard that was killed while it waited for a candidate is passed over."""
        while self._free:
            line = self._free.pop()
            self._order(line, spec)
            if (box := await self._opened(line)) is not None:
                return box
        ours, theirs = socket.socketpair()
        with theirs:
            line = await FrameConnection.over(ours)
            self._order(line, spec)  # before anybody is there: who refuses a guard and hangs up is heard out then
            try:
                socket.send_fds(door, [b"\0"], [theirs.fileno()])
            except OSError:
                await line.abort()
                return None
        return await self._opened(line)

    def _order(self, line: FrameConnection, spec: bytes) -> None:
        line.send({"caps": self._plan.caps, "box_files": list(self._plan.box_files)}, spec)

    async def _opened(self, line: FrameConnection) -> Box | None:
        """None when the guard is gone."""
        try:
            hello = await line.receive(_OPEN_SECONDS)
        except TimeoutError:
            await self._lose(line)
            raise InfrastructureError(f"a box did not open within {_OPEN_SECONDS:g} s") from None
        except BaseException:
            await line.abort()
            raise
        if hello is None:
            await self._lose(line)
            return None
        if "error" in hello[0]:
            await self._lose(line)
            raise InfrastructureError(hello[0]["error"])
        return Box(line, self._free.append, self._lose, hello[0]["guard"])

    async def _lose(self, line: FrameConnection) -> None:
        """End a guard that cannot be used again. One that does not end takes the zygote, and with it every box, along."""
        try:
            await line.end(_GRACE_SECONDS)
        except TimeoutError:
            await self.close()

    async def _running(self) -> socket.socket:
        if self._process is not None and self._socket is not None and self._process.poll() is None:
            return self._socket
        await self.close()
        await self._start()
        assert self._socket is not None
        return self._socket

    async def _start(self) -> None:
        self._folder = make_folder()
        ours, theirs = socket.socketpair()
        self._socket = ours
        with theirs, tempfile.TemporaryFile() as log:
            self._process = self._spawn(theirs.fileno(), log)
            theirs.close()  # so that the zygote's end is heard of
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
        control = {"path": list(plan.path), "imports": list(plan.imports), "walls": plan.sandbox.orders, "folder": str(self._folder)}
        with tempfile.TemporaryFile() as orders:
            orders.write(wire.pack(control, plan.work))
            orders.seek(0)
            return subprocess.Popen(
                boot_command("agentopt.sandbox.zygote", str(descriptor)),
                env=environment(plan.sandbox.level),
                cwd="/",
                stdin=orders,
                stdout=log,
                stderr=log,
                pass_fds=[descriptor],
                start_new_session=True,
            )

    async def close(self) -> None:
        """Ends the zygote. In namespaces every open box ends with it; elsewhere they live on until they are closed."""
        free, self._free = self._free, []
        for line in free:
            await line.abort()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is not None:
            if not await _ends(process.pid, _PATIENCE):
                tree.end_family(process.pid)  # stopped, it cannot do that itself
            process.kill()
            process.wait()
        if self._folder is not None:
            remove_folder(self._folder)
            self._folder = None


def _is_closed(door: socket.socket) -> bool:
    """Whether nobody is at the other end. A zygote that ends lets go of it before its guards notice anything."""
    try:
        return door.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def _ends(pid: int, seconds: float) -> bool:
    """Whether the child ends within so many seconds. Where the system cannot tell, it is not waited for."""
    descriptor = kernel.watch_process(pid)
    if descriptor is None:
        return False
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


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
    """One candidate's box. Rollouts one after another; ``close`` returns when everything in it is dead.

    ``keep`` takes the line back for the next candidate, ``lose`` ends it. ``guard_pid`` is as the guard itself sees it.
    """

    def __init__(
        self,
        line: FrameConnection,
        keep: Callable[[FrameConnection], None],
        lose: Callable[[FrameConnection], Awaitable[None]],
        guard_pid: int,
    ) -> None:
        self._line: FrameConnection | None = line
        self._keep = keep
        self._lose = lose
        self._in_order = True
        self.guard_pid = guard_pid
        self.usable = True

    async def rollouts(self, seconds: float, calls: Sequence[tuple[int, bytes]]) -> list[Report]:
        """Calls ``(rng_seed, encoded input)`` one after another, each within ``seconds``: a report for each up to the first failure.

        There may be fewer reports when answers are large, but always one. Raises InfrastructureError when the guard is lost. After
        cancellation the box can only be closed.
        """
        assert self._line is not None
        self.usable = self._in_order = False
        control = {"seconds": seconds, "calls": [(rng_seed, len(data)) for rng_seed, data in calls]}
        self._line.send(control, calls[0][1] if len(calls) == 1 else b"".join(data for _, data in calls))
        try:
            frame = await self._line.receive(seconds * len(calls) + _GRACE_SECONDS)
        except TimeoutError:
            raise InfrastructureError("the guard of a box does not answer") from None
        if frame is None:
            raise InfrastructureError("the guard of a box was killed")
        if "error" in frame[0]:
            raise InfrastructureError(frame[0]["error"])
        self._in_order = True
        self.usable = frame[0]["alive"]
        return _reports(*frame)

    def hang_up(self) -> None:
        """Tell the guard that it is over; a rollout that waits for it ends with InfrastructureError."""
        self.usable = False
        if self._line is not None and not self._in_order:
            self._line.hang_up()

    async def close(self) -> None:
        """May be called twice."""
        self.usable = False
        line, self._line = self._line, None
        if line is None:
            return
        if self._in_order and await _closed(line):
            self._keep(line)
        else:
            await self._lose(line)


async def _closed(line: FrameConnection) -> bool:
    """Whether the guard ended the box in good order."""
    line.send({"close": True})
    try:
        return await line.receive(_GRACE_SECONDS) is not None
    except TimeoutError:
        return False


def _reports(control: dict[str, Any], body: memoryview) -> list[Report]:
    reports: list[Report] = []
    place = 0
    for status, message, measured, answer, printed, named in control["reports"]:
        failure = None if status == "ok" else Failure(status, message)
        middle, end = place + answer, place + answer + printed
        artifacts: dict[str, bytes] = {}
        begin = middle - sum(size for _, size in named)
        output = body[place:begin]
        for name, size in named:
            artifacts[name] = bytes(body[begin : begin + size])
            begin += size
        reports.append(Report(failure, output, artifacts, bytes(body[middle:end]), Measured(*measured)))
        place = end
    return reports
