"""The guard: a trusted process, the only door between the controller and a box. It serves one candidate after another.

It has the box forked, passes requests in and replies out, measures, and takes everything the candidate started down with
the box. It never runs candidate code and never reads an input or an output.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from agentopt.core import wire
from agentopt.sandbox import kernel
from agentopt.sandbox.door import Abandoned, Door, Ended, Reply
from agentopt.sandbox.files import copy_files, remove_folder
from agentopt.sandbox.harness import Work, serve
from agentopt.sandbox.spare import Spare
from agentopt.sandbox.walls import Caps, Walls

__all__ = ["Host", "guard"]

_LOADED = Reply("ok", "", b"")
_READY = b"R"


class Host(NamedTuple):
    """What the zygote hands down to its guards. ``controller`` is a descriptor that turns readable when the controller ends."""

    load_work: Callable[[], Work]
    controller: int | None
    walls: Walls
    folder: Path
    """Where the scratch folders are made."""


def guard(control: socket.socket, host: Host) -> None:
    """The life of a guard; ``control`` is the controller's socket."""
    os.setsid()
    kernel.become_subreaper()
    spare = Spare(partial(_live, host, os.getpid()), control.fileno())
    while (request := wire.receive(control)) is not None:
        try:
            if not _serve_candidate(control, host, spare, *request):
                return
            control.sendall(wire.pack({"closed": True}))
        except ConnectionError:
            return  # the controller is gone: nobody is left to be told


def _serve_candidate(control: socket.socket, host: Host, spare: Spare, options: Mapping[str, Any], spec: memoryview) -> bool:
    """From the opening of the box to its end; whether the controller ended it in good order."""
    scratch: Path | None = None
    door: Door | None = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=host.folder))
        copy_files(options["box_files"], scratch)
        host.walls.own(str(scratch))
        door = _open_box(control, host, spare, scratch, Caps(*options["caps"]))
        control.sendall(wire.pack({"guard": os.getpid()}))
        return _answer(control, door, spec)
    except ConnectionError:
        raise
    except OSError as error:
        control.sendall(wire.pack({"error": f"the box could not be set up: {error}"}))
        return False
    finally:
        if door is not None:
            door.close()
        kernel.end_children([spare.pid])
        if scratch is not None:
            remove_folder(scratch)


def _open_box(control: socket.socket, host: Host, spare: Spare, scratch: Path, caps: Caps) -> Door:
    outside, inside = socket.socketpair()
    printed, writer = os.pipe()
    with inside:
        pid = spare.become_box({"scratch": str(scratch), "caps": caps}, inside, writer)
    os.close(writer)
    controllers = [control.fileno()] if host.controller is None else [control.fileno(), host.controller]
    door = Door(pid, outside, printed, caps, controllers, spare.pid)
    if not door.opens(_READY):
        words = door.take_printed().decode(errors="replace")
        door.close()
        raise OSError(words)
    return door


def _live(host: Host, guard_pid: int, orders: Mapping[str, Any], inside: socket.socket, writer: int) -> None:
    """The life of a box."""
    kernel.die_with_parent(guard_pid)
    scratch, caps = Path(orders["scratch"]), Caps(*orders["caps"])
    connection = _strip(inside, writer, scratch)
    host.walls.rise(caps, str(scratch), keep=connection.fileno())
    connection.sendall(_READY)
    serve(connection, host.load_work, scratch, caps.output)


def _strip(inside: socket.socket, writer: int, scratch: Path) -> socket.socket:
    """In the box: hold nothing of the guard's but one socket, see nothing but the scratch folder."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.dup2(inside.detach(), 3)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    faulthandler.enable(file=2)
    os.environ.update(HOME=str(scratch), TMPDIR=str(scratch))
    tempfile.tempdir = None
    os.chdir(scratch)
    sys.path.insert(0, str(scratch))
    sys.argv = [""]
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=3)


def _answer(control: socket.socket, door: Door, spec: memoryview) -> bool:
    """Serve the controller until it is done with the box; False when it hung up."""
    unloaded: memoryview | None = spec
    alive = True
    while True:
        found = door.idle() if alive else None
        request = wire.receive(control)
        if request is None:
            return False
        options, data = request
        if "close" in options:
            return True
        begun = time.monotonic()
        door.start_deadline(options["seconds"])
        door.start_clocks()
        try:
            if found is not None:
                raise found
            reply = _LOADED if unloaded is None else door.exchange({}, unloaded)
            unloaded = None
            if reply.status == "ok":
                door.start_clocks()
                reply = door.exchange({"rng_seed": options["rng_seed"]}, data)
            measure = door.read_clocks()
            alive = reply.status not in ("syntax", "build", "memory")
        except Abandoned:
            return False
        except Ended as end:
            measure = door.read_clocks()._replace(wall=time.monotonic() - begun)
            reply, alive = Reply(end.kind, end.message, b""), False
        if not alive:
            door.end()
        printed = door.take_printed()
        report = {"status": reply.status, "message": reply.message, "measured": measure, "printed": len(printed), "alive": alive}
        control.sendall(wire.pack(report, reply.body + printed))
