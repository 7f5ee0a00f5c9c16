"""What the guard asks of the operating system. Where it is not Linux, the answers are weaker but never an error."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = [
    "Closed",
    "PeakMemory",
    "become_subreaper",
    "children",
    "cpu_seconds",
    "die_with_any_parent",
    "die_with_parent",
    "end_children",
    "ended_by_itself",
    "hide_memory",
    "libc",
    "no_new_privileges",
    "plain_fork",
    "thread_count",
    "watch_process",
]

LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38


@cache
def libc() -> ctypes.CDLL:
    """The functions that a box needs are looked up here, for all boxes that are forked from this process."""
    library = ctypes.CDLL(None, use_errno=True)
    for name in ("capset", "fork", "prctl", "syscall") if LINUX else ():
        getattr(library, name)
    return library


@cache
def _libc_with_lock() -> ctypes.PyDLL:
    """Calls through it keep the interpreter's lock."""
    return ctypes.PyDLL(None, use_errno=True)


def plain_fork() -> int:
    """``os.fork`` without what Python does in the child about other threads, of which our processes have none. Raises OSError.

    That work, with ``random`` seeding itself anew and locks being made again, is half of what a fork costs.
    """
    if not LINUX:
        return os.fork()
    pid = _libc_with_lock().fork()
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def _prctl(option: int, value: int) -> None:
    if LINUX and libc().prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when ``parent`` ends; at once if it has ended already."""
    die_with_any_parent()
    if os.getppid() != parent:
        os._exit(1)


def die_with_any_parent() -> None:
    """The same where the parent cannot be seen; that it lives is for the caller to find out."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become_subreaper() -> None:
    """Grandchildren whose parent ends become children of this process, whatever session they moved to."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory(hidden: bool) -> None:
    """From processes of the same user, ``root`` excepted: whether they may trace this one, read or change its memory. Forks inherit it."""
    _prctl(_PR_SET_DUMPABLE, int(not hidden))


def no_new_privileges() -> None:
    """Nothing this process executes gets more rights than it has. Asked for by landlock and seccomp."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


class Closed:
    """While one of these is held, no other process of the same user can look into this one or trace it.

    The price: debuggers cannot either, and what this process asks /proc about itself belongs to root.
    """

    _held = 0

    def __init__(self) -> None:
        self._on = True
        if Closed._held == 0:
            _prctl(_PR_SET_DUMPABLE, 0)
        Closed._held += 1

    def end(self) -> None:
        """May be called twice."""
        if self._on:
            self._on = False
            Closed._held -= 1
            if Closed._held == 0:
                _prctl(_PR_SET_DUMPABLE, 1)


def watch_process(pid: int) -> int | None:
    """A descriptor that turns readable when ``pid`` ends; None where the system has no such thing."""
    try:
        return os.pidfd_open(pid) if LINUX else None
    except OSError:
        return None


def ended_by_itself(pid: int, seconds: float) -> bool:
    """Whether child ``pid`` ends within ``seconds``; it is not reaped."""
    descriptor = watch_process(pid)
    if descriptor is None:
        return _wait_without_descriptor(pid, seconds)
    try:
        poll = select.poll()  # select() knows descriptors below 1024 only
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def _wait_without_descriptor(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.005)
    return False


def thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def children() -> list[int]:
    """Direct children of this single-threaded process, adopted ones included; empty where the system cannot tell."""
    pid = os.getpid()
    try:
        descriptor = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY)
    except OSError:
        return [other for other in _all_processes() if _parent_of(other) == pid]
    found = b""
    while part := os.read(descriptor, 1 << 12):
        found += part
    os.close(descriptor)
    return [int(child) for child in found.split()]


def _all_processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def end_children(spare: Collection[int] = ()) -> None:
    """Kill and reap every child but ``spare``, then whatever was adopted by that, until nothing is left."""
    while doomed := [pid for pid in children() if pid not in spare]:
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in doomed:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def cpu_seconds(pid: int) -> float:
    """CPU seconds of all threads of ``pid``; 0 where the system cannot tell or the process has ended."""
    if not LINUX:
        return 0.0
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


class PeakMemory:
    """The largest resident size of another process between ``restart`` and ``read``."""

    def __init__(self, pid: int) -> None:
        self._status = self._open(f"/proc/{pid}/status", os.O_RDONLY)
        self._reset = self._open(f"/proc/{pid}/clear_refs", os.O_WRONLY)

    @staticmethod
    def _open(path: str, mode: int) -> int | None:
        try:
            return os.open(path, mode | os.O_CLOEXEC)
        except OSError:
            return None

    def close(self) -> None:
        for descriptor in (self._status, self._reset):
            if descriptor is not None:
                os.close(descriptor)

    def restart(self) -> None:
        if self._reset is not None:
            with suppress(OSError):
                os.pwrite(self._reset, b"5", 0)

    def read(self) -> int | None:
        """Bytes; 0 where the system cannot tell; None for a process that has ended, or whose first thread has."""
        if self._status is None:
            return 0
        try:
            _, mark, rest = os.pread(self._status, 4096, 0).partition(b"VmHWM:")
        except OSError:
            return None
        return int(rest.split(maxsplit=1)[0]) * 1024 if mark else None
