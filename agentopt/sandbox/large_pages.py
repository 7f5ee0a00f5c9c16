"""Large pages for the zygote: a fork copies, and an end gives back, one entry for each instead of 512."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

from agentopt.sandbox.kernel import libc

__all__ = ["collapse"]

_MADV_COLLAPSE = 25
_SIZE = 2 << 20


def collapse() -> None:
    """Move this process's own memory into large pages, as far as the kernel does that (since Linux 6.1).

    What is reserved but hardly used is left alone, for it would be filled.
    """
    for first, last in _filled():
        low, high = -(-first // _SIZE) * _SIZE, last // _SIZE * _SIZE
        if low < high:
            libc().madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), _MADV_COLLAPSE)


def _filled() -> Iterator[tuple[int, int]]:
    """Where memory lies that is this process's own, belongs to no file and is in use for the most part: first and last address."""
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return
    low = high = size = 0
    ours = False
    for line in lines:
        key, *rest = line.split()
        if not key.endswith(":"):
            low, high = (int(edge, 16) for edge in key.split("-"))
            ours = rest[0] == "rw-p" and rest[4:] in ([], ["[heap]"])
        elif key == "Size:":
            size = int(rest[0])
        elif key == "Anonymous:" and ours and 4 * int(rest[0]) > 3 * size:
            yield low, high
