"""Looks for planted secrets from inside a box: in its environment, in all of its memory, in files and in other processes."""

from __future__ import annotations

import ctypes
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

__all__ = ["MARKER", "Found", "relatives", "search"]

MARKER = "agentopt-canary-"
_PATTERN = re.compile(MARKER.encode() + rb"[0-9a-f]{32}")
_LONGEST = len(MARKER) + 32
_PIECE = 1 << 16
_LARGEST_FILE = 1 << 20
_MOST_FILES = 1000


class Found(NamedTuple):
    """The canaries that were found, each with the place, and what was searched."""

    canaries: Sequence[tuple[str, str]]
    searched: str


def search(places: Sequence[str], processes: Sequence[int]) -> Found:
    """Files and folders in ``places``, and the memory and environment of other ``processes``, as far as they can be reached.

    Raises OSError where a process cannot tell what memory it has.
    """
    found: dict[str, str] = {}

    def look(data: bytes, where: str) -> None:
        for canary in _PATTERN.findall(data):
            found.setdefault(canary.decode(), where)

    look(repr(dict(os.environ)).encode(), "in the environment")
    size = 0
    for piece in _own_memory():
        size += len(piece)
        look(piece, "in memory")
    files = others = 0
    for name, data in _files(places):
        files += 1
        look(data, f"in {name}")
    for pid in processes:
        reached = False
        for piece in _other_memory(pid):
            reached = True
            look(piece, f"in the memory of process {pid}")
        others += reached
    parts = [
        f"{size >> 20} MB of its own memory",
        "its environment",
        f"{files} files of {len(places)} folders",
        f"the memory of {others} of {len(processes)} other processes",
    ]
    return Found(list(found.items()), ", ".join(parts))


def _own_memory() -> Iterator[bytes]:
    """In pieces that overlap, by a call that fails for what cannot be read, where reading it would end the process."""
    write = ctypes.CDLL(None).write
    write.restype = ctypes.c_ssize_t
    echo, mirror = os.pipe()
    try:
        for low, high in _regions("self"):
            for begin in range(low, high, _PIECE - _LONGEST):
                count = write(mirror, ctypes.c_void_p(begin), ctypes.c_size_t(min(_PIECE, high - begin)))
                if count > 0:
                    yield os.read(echo, count)
    finally:
        os.close(echo)
        os.close(mirror)


def _regions(process: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    with open(f"/proc/{process}/maps") as maps:
        for line in maps:
            span, mode = line.split()[:2]
            if mode.startswith("r") and "[v" not in line:
                low, high = (int(edge, 16) for edge in span.split("-"))
                found.append((low, high))
    return found


def _files(places: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Names and beginnings of the files at ``places`` and right in them, if they are folders; not of all, if there are very many."""
    for place in places:
        with suppress(OSError):
            inside = [os.path.join(place, name) for name in sorted(os.listdir(place))] if os.path.isdir(place) else [place]
            for path in inside[:_MOST_FILES]:
                with suppress(OSError):
                    if stat.S_ISREG(os.lstat(path).st_mode):
                        with open(path, "rb") as file:
                            yield path, file.read(_LARGEST_FILE)


def _other_memory(pid: int) -> Iterator[bytes]:
    """In pieces that overlap; none if it cannot be reached."""
    with suppress(OSError), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for low, high in _regions(str(pid)):
            for begin in range(low, high, _PIECE - _LONGEST):
                try:
                    memory.seek(begin)
                    yield memory.read(min(_PIECE, high - begin))
                except (OSError, OverflowError):
                    break


def relatives(controller: int) -> list[int]:
    """The processes that belong to a controller as far as they can be seen: itself, what it started, and who guards this one."""
    found = [controller]
    with suppress(OSError), open(f"/proc/{controller}/task/{controller}/children") as children:
        found += map(int, children.read().split())
    return [*found, os.getppid()]
