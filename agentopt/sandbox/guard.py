"""The guard: a trusted process, the only door between the controller and a box. It serves one candidate after another.

It has the box forked, passes requests in and replies out, measures, and takes everything the candidate started down with
the box. It never runs candidate code and never reads an output.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agentopt.core import wire
from agentopt.sandbox import kernel
from agentopt.sandbox.door import Abandoned, Door, Ended, Measure, Reply
from agentopt.sandbox.harness import Work, serve
from agentopt.sandbox.scratch import Scratch
from agentopt.sandbox.spare import Spare
from agentopt.sandbox.walls import Caps, Walls

if TYPE_CHECKING:
    from agentopt.sandbox.programs import Programs

__all__ = ["Host", "guard"]

_LOADED = Reply("ok", "", b"")
_READY = struct.Struct("=i")
"""What a box says when its walls stand: the pid of the spare after it."""
_ENOUGH = 1 << 20
"""Bytes of answers after which the rest of the calls has to be asked for again."""


class Host(NamedTuple):
    """What the zygote hands down to its guards. ``controller`` is a descriptor that turns readable when the controller ends."""

    load_work: Callable[[], Work]
    controller: int | None
    walls: Walls
    folder: Path
    """Where the scratch folders are made."""
    programs: Mapping[str, Any] | None = None
    """The task's ``build`` and ``command`` where candidates are whole programs (level L3)."""


def guard(control: wire.FrameSocket, host: Host) -> None:
    """The life of a guard; ``control`` leads to the controller."""
    os.setsid()
    kernel.become_subreaper()
    try:
        spare = Spare(partial(_live, host, os.getpid()), control.fileno()) if host.programs is None else None
    except OSError as error:
        control.send({"error": f"a box could not be forked: {error}"})
        return
    scratch = Scratch(host.folder, host.walls)
    try:
        while (request := control.receive()) is not None and _serve_candidate(control, host, spare, scratch, *request):
            control.send({"closed": True})
    except ConnectionError:
        return  # the controller is gone: nobody is left to be told
    finally:
        scratch.close()


def _serve_candidate(
    control: wire.FrameSocket, host: Host, spare: Spare | None, scratch: Scratch, options: Mapping[str, Any], spec: memoryview
) -> bool:
    """From the opening of the box to its end; whether the controller ended it in good order."""
    door: Door | Programs | None = None
    try:
        caps = Caps(*options["caps"])
        door = _open(control, host, spare, scratch.open(caps.scratch, options["box_files"]), caps)
        control.send({"guard": os.getpid()})
        return _answer(control, door, spec)
    except ConnectionError:
        raise
    except OSError as error:
        control.send({"error": f"the box could not be set up: {error}"})
        return False
    finally:
        kernel.end_children([spare.pid] if spare else [])
        if door is not None:
            door.close()  # not before: the box would wake up to hear of it
        scratch.clear()


def _open(control: wire.FrameSocket, host: Host, spare: Spare | None, scratch: str, caps: Caps) -> Door | Programs:
    if spare is not None:
        return _open_box(control, host, spare, scratch, caps)
    from agentopt.sandbox.programs import Programs

    assert host.programs is not None
    return Programs(Path(scratch), caps, host.programs, _controllers(control, host))


def _controllers(control: wire.FrameSocket, host: Host) -> list[int]:
    return [control.fileno()] if host.controller is None else [control.fileno(), host.controller]


def _open_box(control: wire.FrameSocket, host: Host, spare: Spare, scratch: str, caps: Caps) -> Door:
    outside, inside = socket.socketpair()
    printed, writer = os.pipe()
    with inside:
        orders = {"scratch": scratch, "caps": tuple(caps), "environment": {"HOME": scratch, "TMPDIR": scratch}}
        spare.become_box(orders, inside, writer)
    os.close(writer)
    ready = outside.recv(_READY.size, socket.MSG_WAITALL)
    if not ready and (refusal := spare.refusal()):
        raise OSError(refusal)
    pid = spare.pid
    (spare.pid,) = _READY.unpack(ready) if ready else (0,)
    door = Door(pid, outside, printed, caps, _controllers(control, host), spare.pid)
    if not ready:
        door.end()
        words = door.take_printed().decode(errors="replace")
        door.close()
        raise OSError(words)
    door.watch = host.walls.watch(pid, scratch, caps.scratch)
    return door


def _live(host: Host, guard_pid: int, orders: Mapping[str, Any], inside: int, writer: int, heir: int) -> None:
    """The life of a box."""
    kernel.die_with_parent(guard_pid)
    scratch, caps = orders["scratch"], Caps(*orders["caps"])
    connection = _strip(inside, writer, scratch)
    host.walls.rise(caps, scratch, keep=connection.fileno())
    connection.sendall(_READY.pack(heir))
    serve(connection, host.load_work, scratch, caps.output)


def _strip(inside: int, writer: int, scratch: str) -> socket.socket:
    """In the box: hold nothing of the guard's but one socket, see nothing but the scratch folder."""
    os.setpgid(0, 0)
    # one that was opened before would be shared with other boxes, and so would be what fcntl sets on it
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.dup2(inside, 3)
    os.chdir(scratch)
    sys.path.insert(0, scratch)
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=3)


def _answer(control: wire.FrameSocket, door: Door | Programs, spec: memoryview) -> bool:
    """Serve the controller until it is done with the box; False when it hung up."""
    visit = _Visit(door, spec)
    while True:
        found = door.idle() if visit.alive else None
        request = control.receive()
        if request is None:
            return False
        options, data = request
        if "close" in options:
            return True
        try:
            reports, bodies = visit.calls(options["seconds"], options["calls"], data, found)
        except Abandoned:
            return False
        control.send({"reports": reports, "alive": visit.alive}, bodies[0] if len(bodies) == 1 else b"".join(bodies))


class _Visit:
    """One candidate in its box: loaded with the first call, called until something ends it."""

    def __init__(self, door: Door | Programs, spec: memoryview) -> None:
        self._door = door
        self._unloaded: memoryview | None = spec
        self.alive = True

    def calls(
        self, seconds: float, calls: Sequence[tuple[int, int]], data: memoryview, found: Ended | None
    ) -> tuple[list[Any], list[bytes | memoryview]]:
        """One call after another, each ``(rng_seed, size of its input)``, up to the first that fails or an answer of many bytes."""
        reports: list[Any] = []
        bodies: list[bytes | memoryview] = []
        begin = size = 0
        for rng_seed, length in calls:
            reply, measure = self._call(seconds, rng_seed, data[begin : begin + length], found)
            begin += length
            printed = self._door.take_printed()
            reports.append([reply.status, reply.message, measure, len(reply.body), len(printed), reply.artifacts])
            bodies += [reply.body, printed] if printed else [reply.body]
            size += len(reply.body)
            if reply.status != "ok" or size > _ENOUGH:
                break
        return reports, bodies

    def _call(self, seconds: float, rng_seed: int, data: memoryview, found: Ended | None) -> tuple[Reply, Measure]:
        """One rollout under its own deadline and clocks. Raises Abandoned."""
        door = self._door
        begun = time.monotonic()
        door.start_deadline(seconds)
        door.start_clocks()
        try:
            if found is not None:
                raise found
            reply = _LOADED
            if self._unloaded is not None:
                reply = door.exchange({}, self._unloaded)
                self._unloaded = None
                if reply.status == "ok":
                    door.start_clocks()
            if reply.status == "ok":
                reply = door.exchange({"rng_seed": rng_seed}, data)
            measure = door.read_clocks(answered=reply.status == "ok")
            self.alive = reply.status not in ("syntax", "build", "memory")
        except Ended as end:
            measure = door.read_clocks()._replace(wall=time.monotonic() - begun)
            reply, self.alive = Reply(end.kind, end.message, b""), False
        if not self.alive:
            door.end()
        return reply, measure
