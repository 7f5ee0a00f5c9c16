"""The walls of each level: the environment a box starts with, and what is taken from it before it meets a candidate."""

from __future__ import annotations

import math
import os
import platform
import resource
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from agentopt.core.boot import THREADS_ONE
from agentopt.core.task import Limits
from agentopt.sandbox import kernel, seccomp, semaphores
from agentopt.sandbox.landlock import Rules
from agentopt.sandbox.namespaces import drop_capabilities, mount_folder, move_in, unmount_folder
from agentopt.sandbox.watch import Watch

__all__ = ["Caps", "CpuClock", "Level", "WallError", "Walls", "caps_of", "environment"]

Level = Literal["worker", "L0", "L1", "L2", "L3"]
_MB = 1 << 20
_OPEN_FILES = 256
# what libraries read of their own process: how large it is, and what they are made of
_ABOUT_ITSELF = ("/proc/self/maps", "/proc/self/stat", "/proc/self/statm", "/proc/self/status")
_CORES = os.cpu_count() or 1


class WallError(Exception):
    """A wall that should stand does not."""


class Caps(NamedTuple):
    """The limits of a task in the units in which guard and box need them (bytes)."""

    memory: int
    file: int
    output: int
    printed: int
    scratch: int
    artifacts: int


def caps_of(limits: Limits) -> Caps:
    sizes = (limits.memory_mb, limits.file_mb, limits.output_mb, limits.printed_mb, limits.scratch_mb, limits.artifacts_mb)
    return Caps(*(int(size * _MB) for size in sizes))


def environment(level: Level) -> dict[str, str]:
    """A worker keeps the user's environment; a box gets none of it, so no key of the user's is there to be read."""
    import tempfile

    # one hash seed: a set of texts has the same order in every box. One arena: each would reserve 64 MB of address space.
    steady = {**THREADS_ONE, "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
    if level in ("worker", "L0"):
        return {**os.environ, **steady}
    home = tempfile.gettempdir()
    who = {"USER": "agentopt", "LOGNAME": "agentopt", "HOME": home, "TMPDIR": home}
    if level == "L2":
        who["JOBLIB_MULTIPROCESSING"] = "0"  # else it tries, and fails
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **who, **steady}


class Walls:
    """What is the same for all boxes of a zygote, made in it: at L2 the readable paths are opened here, once.

    ``orders`` is ``{"level", "namespaces", "uid", "readable"}``: ``uid`` is the spare user that the box becomes, or None.
    """

    def __init__(self, orders: Mapping[str, Any]) -> None:
        self.level: Level = orders["level"]
        self._uid: int | None = orders["uid"]
        self._namespaces: bool = orders["namespaces"]
        self._rules: Rules | None = None
        self._filter: seccomp.Filter | None = None
        self._address_space = 0
        self._readable: Sequence[str] = orders["readable"]

    def move(self) -> None:
        """Into namespaces, if the machine has them for us. Call it before anything is imported: it forks."""
        if self._namespaces:
            move_in()

    def prepare(self) -> None:
        """What is the same for every box: what it may read, and the filter of its calls."""
        if self.level == "L2":
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a large environment has more packages than is usual to open
            self._rules = Rules(self._readable, [os.devnull])
            semaphores.install()
            self._filter = seccomp.Filter(seccomp.python_filter(platform.machine(), seccomp.ANYBODY))
        self._address_space = _address_space()

    @property
    def bounded(self) -> bool:
        """Whether scratch folders are file systems of their own."""
        return self._namespaces

    def furnish(self, scratch: str, size: int) -> None:
        """In the guard: bound what the folder can hold, if the machine does that for us."""
        if self._namespaces:
            mount_folder(scratch, size)

    def watch(self, pid: int, scratch: str, size: int) -> Watch | None:
        """Over what the machine does not bound; None where nothing is."""
        return Watch(pid, "" if self._namespaces else scratch, size) if self.level in ("L1", "L2") else None

    def clear(self, scratch: str) -> None:
        """Let go of what ``furnish`` made; the folder is empty then."""
        if self._namespaces:
            unmount_folder(scratch)

    def own(self, scratch: str) -> None:
        """In the guard: the folder goes to whom the box will be."""
        if self._uid is not None:
            for folder, _, files in os.walk(scratch):
                for path in (folder, *(os.path.join(folder, file) for file in files)):
                    os.chown(path, self._uid, self._uid)

    def rise(self, caps: Caps, scratch: str, keep: int) -> None:
        """In the box, after it is set up and before anything of the candidate's is there.

        Descriptors above ``keep`` are closed. Raises WallError if a wall is not felt when it should be.
        """
        limited = self.level in ("L1", "L2")
        if limited:
            self._set_limits(caps)
        if self._rules is not None:
            self._become_nobody()
            self._rules.apply([scratch], _ABOUT_ITSELF)
        os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
        if limited:
            _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)  # not before: what is to be closed may lie above it
        if self._filter is not None:
            self._filter.install(os.getpid())
            feel()

    def _set_limits(self, caps: Caps) -> None:
        # address space: the one limit that bounds arrays, shared maps and thread stacks alike
        _limit(resource.RLIMIT_AS, self._address_space + caps.memory)
        _limit(resource.RLIMIT_FSIZE, caps.file)
        _limit(resource.RLIMIT_CORE, 0)

    def _become_nobody(self) -> None:
        if self._uid is not None:
            guard = os.getppid()
            os.setgroups([])
            os.setresgid(self._uid, self._uid, self._uid)
            os.setresuid(self._uid, self._uid, self._uid)
            kernel.die_with_parent(guard)  # once more: to become another user calls it off
        elif self._namespaces:
            drop_capabilities()


def feel() -> None:
    """Try what a box must not be able to do. Raises WallError when something works."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
        raise WallError("the folder / can be listed")
    except PermissionError:
        pass
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        raise WallError("a socket can be made")
    except PermissionError:
        pass
    pid = kernel.libc().fork()
    if pid == 0:
        os._exit(0)
    if pid > 0:
        raise WallError("a process can be forked")


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


def _address_space() -> int:
    try:
        descriptor = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return 1 << 30
    pages = int(os.read(descriptor, 256).split()[0])
    os.close(descriptor)
    return pages * resource.getpagesize()


class CpuClock:
    """A second clock for ``pid``, kept by the kernel even if the guard is stopped.

    Where it is not Linux there is none, nor for a box that became another user than a root without CAP_SYS_RESOURCE, as in containers.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._soft = 0

    def allow(self, seconds: float) -> None:
        """That many CPU seconds from now, on every core."""
        soft = math.ceil(kernel.cpu_seconds(self._pid) + seconds * _CORES) + 1
        if soft != self._soft and kernel.LINUX:
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            with suppress(PermissionError):
                resource.prlimit(self._pid, resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
            self._soft = soft
