"""What a process and everything that came of it use together, seen from outside."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from agentopt.sandbox import kernel

__all__ = ["end_family", "family", "resident"]

_ROUNDS = 100


def family(pid: int) -> list[int]:
    """``pid`` and its descendants. Processes that come or go meanwhile may be missing."""
    found, waiting = list[int](), [pid]
    while waiting:
        found.append(parent := waiting.pop())
        waiting += _children(parent)
    return found


def end_family(pid: int) -> None:
    """Kill every descendant of a process, which may be stopped and adopts those whose parents end, but not the process itself."""
    for _ in range(_ROUNDS):
        doomed = [other for other in family(pid)[1:] if _lives(other)]
        if not doomed:
            return
        for other in doomed:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(other, signal.SIGKILL)
        for other in doomed:
            if (descriptor := kernel.watch_process(other)) is not None:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                poll.poll(1000)
                os.close(descriptor)


def _lives(pid: int) -> bool:
    """Not so what has ended and waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _children(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split())
        except OSError:
            continue


def resident(pids: Sequence[int]) -> int:
    """Bytes that the processes have resident together. What several share is divided among them, unless one hides its maps."""
    if len(pids) == 1:
        return _field(f"/proc/{pids[0]}/status", b"VmRSS:")
    return sum(_field(f"/proc/{pid}/smaps_rollup", b"Pss:") or _field(f"/proc/{pid}/status", b"VmRSS:") for pid in pids)


def _field(path: str, key: bytes) -> int:
    """A line of a file of /proc that gives kilobytes, in bytes; 0 for a process that has gone."""
    try:
        _, found, rest = Path(path).read_bytes().partition(b"\n" + key)
    except OSError:
        return 0
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else 0
