"""What no limit of the kernel bounds for one process is looked at now and then: its threads, and all that it keeps in its folder."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["Watch", "disk_use"]

_SECONDS = 0.25
_THREADS = 512
_PER_ENTRY = 16 << 10
_DEEPEST = 64


class Watch:
    """Over a box. ``folder`` is "" where the kernel bounds its size."""

    def __init__(self, pid: int, folder: str = "", size: int = 0) -> None:
        self._pid = pid
        self._folder = folder
        self._size = size
        self._next = 0.0

    def look(self, at_once: bool = False) -> str:
        """What the box has too much of; empty if nothing, or if the last look was a moment ago and this is not to be ``at_once``."""
        now = time.monotonic()
        if now < self._next and not (at_once and self._folder):
            return ""
        self._next = now + _SECONDS
        if _threads(self._pid) > _THREADS:
            return f"it started more than {_THREADS} threads"
        if self._folder and disk_use(self._folder, self._size) + _unlinked(self._pid) > self._size:
            return f"its files take more than limits.scratch_mb: {self._size} bytes"
        return ""


def _threads(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2
    except OSError:
        return 0


def disk_use(folder: str, enough: int) -> int:
    """Bytes in a folder that may be changing; each entry counts for 16 KiB at least. Counting ends above ``enough``.

    What cannot be looked into, or lies too deep, is taken for too much.
    """
    total = 0
    waiting = [(folder, 0)]
    while waiting and total <= enough:
        path, depth = waiting.pop()
        try:
            for entry, size in _sizes(path):
                total += size
                if entry:
                    waiting.append((entry, depth + 1))
        except FileNotFoundError:
            continue
        except OSError:
            return enough + 1
        if depth > _DEEPEST:
            return enough + 1
    return total


def _sizes(path: str) -> Iterator[tuple[str, int]]:
    """Per entry its size and, if it is a folder, its path."""
    with os.scandir(path) as found:
        for entry in found:
            with suppress(FileNotFoundError):
                taken = max(_PER_ENTRY, entry.stat(follow_symlinks=False).st_blocks * 512)
                yield (entry.path if entry.is_dir(follow_symlinks=False) else ""), taken


def _unlinked(pid: int) -> int:
    """Bytes of files that have no name any more, but are open."""
    total = 0
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{name}")
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                    total += found.st_blocks * 512
    return total
