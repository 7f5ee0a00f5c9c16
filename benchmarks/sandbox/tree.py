"""What a process and everything it started has used so far."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from pathlib import Path

import psutil

__all__ = ["cpu_seconds", "family", "resident_bytes"]

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()


def cpu_seconds() -> Counter[str]:
    """CPU seconds of this process and its family, by part: ``ours`` (this process), ``scorer`` and ``rest``.

    Children that were reaped count with whoever reaped them. The clocks of living processes are exact; what a process in the family
    has reaped comes in ticks of 10 ms, an error that does not add up over a block of evaluations.
    """
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = Counter(ours=time.process_time(), rest=reaped.ru_utime + reaped.ru_stime)
    for pid, part in family().items():
        try:
            found[part] += time.clock_gettime((~pid << 3) | 2) + _reaped_by(pid)
        except OSError:
            continue  # it has just ended, and counts with its parent from now on
    return found


def family() -> dict[int, str]:
    """The living descendants of this process, and which part each belongs to."""
    found: dict[int, str] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            found[process.pid] = "scorer" if "agentopt.scoring.process" in process.cmdline() else "rest"
        except psutil.NoSuchProcess:
            continue
    return found


def _reaped_by(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICK


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
