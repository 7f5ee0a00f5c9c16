"""The zygote: imports a task's modules once and forks guards. It sees no candidate's bytes.

Started by ``client`` with its orders on stdin; each byte on its socket brings the descriptor of a new guard's controller.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentopt.core import wire
from agentopt.sandbox import kernel, large_pages
from agentopt.sandbox.files import remove_folder
from agentopt.sandbox.guard import Host, guard
from agentopt.sandbox.harness import Work, seed_everything, takes_context
from agentopt.sandbox.rehearsal import rehearse
from agentopt.sandbox.walls import Walls

__all__ = ["main"]

# modules that libraries load on first use: here they are loaded for all candidates
_ON_FIRST_USE = {"numpy": "numpy.random"}
_PATIENCE = 0.5


class _Unusable(Exception):
    """The task's imports cannot be used in a box."""


def main(descriptor: str) -> None:
    connection = socket.socket(fileno=int(descriptor))
    controller = kernel.watch_process(os.getppid())
    orders, pickled = _split(sys.stdin.buffer.read())
    walls = Walls(orders["walls"])
    walls.move()
    kernel.hide_memory(True)  # guards inherit it
    kernel.become_subreaper()
    try:
        host = Host(_prepare(orders, pickled), controller, walls, Path(orders["folder"]), orders["walls"].get("programs"))
        walls.prepare()
    except _Unusable as error:
        connection.sendall(wire.pack({"error": str(error)}))
        return
    connection.sendall(wire.pack({"ready": True}))
    _Nursery(connection, host).serve()


def _split(orders: bytes) -> tuple[dict[str, Any], bytes]:
    control_length, _ = wire.parse_header(orders[: wire.HEADER.size])
    start = wire.HEADER.size + control_length
    return wire.parse_control(orders[wire.HEADER.size : start]), orders[start:]


def _prepare(orders: Mapping[str, Any], pickled: bytes) -> Callable[[], Work]:
    sys.path[:0] = orders["path"]
    for name in orders["imports"]:
        _import(name)
    load_work = _loader(pickled)
    for name, more in _ON_FIRST_USE.items():
        if name in sys.modules:
            importlib.import_module(more)
    _check_forkable(orders["imports"])
    _open_streams()
    rehearse()
    seed_everything(0)  # what a candidate draws while it is loaded is the same in every box
    gc.collect()
    gc.freeze()
    large_pages.collapse()
    return load_work


def _open_streams() -> None:
    """The streams of the boxes to be: here they lead to the log, in a box to its guard."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what is left in them would come out of every box
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    faulthandler.enable(file=2)
    sys.argv = [""]
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None  # a box has one of its own


def _check_forkable(imports: Sequence[str]) -> None:
    """Threads do not come along in a fork, and neither does an initialised GPU. Raises _Unusable."""
    if (threads := kernel.thread_count()) != 1:
        raise _Unusable(f"imports: the modules {imports} (or warm) start {threads - 1} threads; a box cannot be forked then")
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise _Unusable(f"imports: the modules {imports} (or warm) initialise CUDA; a box cannot be forked then")


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        raise _Unusable(f"imports: {name!r} cannot be imported in the box: {type(error).__name__}: {error}") from None


def _loader(pickled: bytes) -> Callable[[], Work]:
    """Unpickle the task's functions here, once for all. What is missing may be a file that only a box has: try again there."""

    def load() -> Work:
        work = Work(*pickle.loads(pickled))
        if work.warm is not None:
            _warm(work.warm)
        return work

    try:
        work = load()
    except _WarmError as error:
        raise _Unusable(str(error)) from None
    except ImportError:
        return load
    if work.run is not None:
        takes_context(work.run)
    return lambda: work


class _WarmError(ImportError):
    """To the box, warm is a part of loading."""


def _warm(warm: Callable[[], Any]) -> None:
    try:
        warm()
    except Exception as error:
        raise _WarmError(f"warm failed: {type(error).__name__}: {error}") from None


class _Nursery:
    """Forks guards, reaps them, and cleans up after one that was killed."""

    def __init__(self, connection: socket.socket, host: Host) -> None:
        self._connection = connection
        self._host = host
        self._guards: set[int] = set()
        self._woken, self._wake = os.pipe()
        for descriptor in (self._woken, self._wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)

    def serve(self) -> None:
        poll = select.poll()
        controllers = [self._connection.fileno()] + ([] if self._host.controller is None else [self._host.controller])
        for descriptor in (*controllers, self._woken):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._woken in ready:
                os.read(self._woken, 512)
                self._reap()
            if self._host.controller in ready or (self._connection.fileno() in ready and not self._fork()):
                return self._end()

    def _end(self) -> None:
        """The guards have noticed too and tidy up; those that take too long are ended here."""
        deadline = time.monotonic() + _PATIENCE
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        while self._guards and (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._reap()
        kernel.end_children()
        for scratch in self._host.folder.iterdir():
            self._host.walls.clear(str(scratch))
        remove_folder(self._host.folder)

    def _fork(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._connection, 1, 1)
        if not message:
            return False
        if not descriptors:
            return False  # nothing can be opened here any more; a new zygote starts with a clean slate
        try:
            pid = kernel.plain_fork()
        except OSError as error:
            with socket.socket(fileno=descriptors[0]) as line:
                line.sendall(wire.pack({"error": f"a guard could not be forked: {error}"}))
            return True
        if pid == 0:
            self._become_guard(descriptors[0])
        os.close(descriptors[0])
        self._guards.add(pid)
        return True

    def _become_guard(self, descriptor: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._connection.close()
            os.close(self._woken)
            os.close(self._wake)
            guard(wire.FrameSocket(socket.socket(fileno=descriptor)), self._host)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _reap(self) -> None:
        while self._guards:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in self._guards:
                self._guards.discard(pid)
                if status != 0:
                    self._clean_up_after(pid)

    def _clean_up_after(self, guard_pid: int) -> None:
        """A guard that was killed leaves its box's offspring to us, and its folder."""
        kernel.end_children(spare=self._guards)
        for scratch in self._host.folder.glob(f"{guard_pid}-*"):
            self._host.walls.clear(str(scratch))
            remove_folder(scratch)


def _ignore(_number: int, _frame: Any) -> None:
    """A handler of one's own is what makes the wakeup descriptor work."""
