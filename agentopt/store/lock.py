"""One writer per run: an exclusive flock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from agentopt.core.errors import StoreError

__all__ = ["RunLock", "holder"]

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


class RunLock:
    """Holds ``path`` until ``release`` or the end of the process. Raises StoreError when another process holds it."""

    def __init__(self, path: Path) -> None:
        self._fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"run {path.parent} cannot be locked: {error.strerror}; make the folder writable") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            number = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            who = "this process" if number == str(os.getpid()) else f"process {number or 'unknown'}"
            raise StoreError(f"run {path.parent} is being worked on by {who}; wait until it ends, or stop it") from error
        self._fd = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Give the run free. May be called twice."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(path: Path) -> str | None:
    """The id of the process that holds the lock, as text; None when nobody does, also after a holder was killed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        written = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        # a clean end leaves nothing written; only after a kill must the lock itself be asked, which is free again at once
        if not written:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return written
        return None
    finally:
        os.close(fd)


def _drop_in_child() -> None:
    # a flock belongs to the open file, which a forked child shares: without this, a child that outlives us would keep the run locked
    for lock in list(_held):
        lock._close()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_drop_in_child)
