"""Reading the clocks while a run passes its hundredth, thousandth, ... candidate."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SIZES", "Marks", "rates", "stretch"]

SIZES = (100, 1_000, 10_000, 100_000)


def stretch(size: int) -> int:
    """How many candidates the rate at ``size`` is taken over: the last half of 100, the last tenth of more."""
    return max(50, size // 10)


@dataclass
class Marks:
    """Wall and CPU seconds and resident bytes at the ends of every stretch. Call ``count`` once per candidate."""

    seen: int = 0
    taken: dict[int, tuple[float, float, int]] = field(default_factory=dict[int, tuple[float, float, int]])

    def count(self) -> None:
        self.seen += 1
        if self.seen in _ENDS:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            self.taken[self.seen] = (time.perf_counter(), usage.ru_utime + usage.ru_stime, resident_bytes())


_ENDS = frozenset(SIZES) | {size - stretch(size) for size in SIZES}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def rates(marks: Marks) -> dict[int, dict[str, Any]]:
    """Per size that was reached: candidates per second, CPU milliseconds per candidate, resident bytes at its end."""
    found: dict[int, dict[str, Any]] = {}
    for size in SIZES:
        if size in marks.taken:
            last, first = marks.taken[size], marks.taken[size - stretch(size)]
            found[size] = {
                "rate": stretch(size) / (last[0] - first[0]),
                "cpu_ms": 1000 * (last[1] - first[1]) / stretch(size),
                "resident": last[2],
            }
    return found
