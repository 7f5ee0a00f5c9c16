"""Reading the clocks while a run passes its hundredth, thousandth, ... candidate.

A machine shared with others changes its speed by the second. So a fixed piece of work, the yardstick, is timed ten times within each
stretch: the cost of a candidate in yardsticks is the same on a fast and on a slow machine.
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["SIZES", "Marks", "rates", "stretch"]

SIZES = (100, 1_000, 10_000, 100_000)


def stretch(size: int) -> int:
    """How many candidates the rate at ``size`` is taken over: the last half of 100, the last tenth of more."""
    return max(50, size // 10)


@dataclass
class Marks:
    """Wall and CPU seconds and resident bytes at the ends of every stretch, without the yardsticks. Call ``count`` once per candidate."""

    seen: int = 0
    taken: dict[int, tuple[float, float, int]] = field(default_factory=dict[int, tuple[float, float, int]])
    yards: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    wall: float = 0.0
    cpu: float = 0.0

    def count(self) -> None:
        self.seen += 1
        if size := _YARDS.get(self.seen):
            wall, cpu = time.perf_counter(), cpu_seconds()
            yardstick()
            self.yards.setdefault(size, []).append(cpu_seconds() - cpu)
            self.wall, self.cpu = self.wall + time.perf_counter() - wall, self.cpu + cpu_seconds() - cpu
        if self.seen in _ENDS:
            self.taken[self.seen] = (time.perf_counter() - self.wall, cpu_seconds() - self.cpu, resident_bytes())


_ENDS = frozenset(SIZES) | {size - stretch(size) for size in SIZES}
_YARDS = {size - stretch(size) + k * stretch(size) // 10 + 1: size for size in SIZES for k in range(10)}


def cpu_seconds() -> float:
    return time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)


def yardstick() -> None:
    """About a millisecond of what an interpreter does all day."""
    for k in range(60):
        json.loads(json.dumps({f"key {j}": [j, str(j), k / (j + 1)] for j in range(5)}))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def rates(marks: Marks) -> dict[int, dict[str, Any]]:
    """Per size that was reached: candidates per second, CPU milliseconds and yardsticks per candidate, resident bytes."""
    found: dict[int, dict[str, Any]] = {}
    for size in SIZES:
        if size in marks.taken:
            last, first = marks.taken[size], marks.taken[size - stretch(size)]
            found[size] = {
                "rate": stretch(size) / (last[0] - first[0]),
                "cpu_ms": 1000 * (last[1] - first[1]) / stretch(size),
                "yards": (last[1] - first[1]) / stretch(size) / median(marks.yards[size]),
                "resident": last[2],
            }
    return found
