"""The walls of each level: the environment the box starts with and what is taken from it before it meets a candidate."""

from __future__ import annotations

import math
import os
import resource
import tempfile
from typing import Literal, NamedTuple

from agentopt.core.boot import THREADS_ONE
from agentopt.core.task import Limits
from agentopt.sandbox import kernel

__all__ = ["Caps", "Level", "allow_cpu", "caps_of", "environment", "raise_walls"]

Level = Literal["worker", "L1"]
_MB = 1 << 20
_OPEN_FILES = 256
_CORES = os.cpu_count() or 1


class Caps(NamedTuple):
    """The limits of a task in the units in which guard and box need them (bytes)."""

    memory: int
    file: int
    output: int
    printed: int


def caps_of(limits: Limits) -> Caps:
    return Caps(int(limits.memory_mb * _MB), int(limits.file_mb * _MB), int(limits.output_mb * _MB), int(limits.printed_mb * _MB))


def environment(level: Level) -> dict[str, str]:
    """A worker keeps the user's environment; a box gets none of it, so no key of the user's is there to be read."""
    # one hash seed: a set of texts has the same order in every box. One arena: each would reserve 64 MB of address space.
    steady = {**THREADS_ONE, "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
    if level == "worker":
        return {**os.environ, **steady}
    home = tempfile.gettempdir()
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home, **steady}


def raise_walls(level: Level, caps: Caps) -> None:
    """Called in the box, after it is set up and before anything of the candidate's is there. The one seam for stronger levels."""
    if level == "worker":
        return
    # address space: the one limit that bounds arrays, shared maps and thread stacks alike
    _limit(resource.RLIMIT_AS, _address_space() + caps.memory)
    _limit(resource.RLIMIT_FSIZE, caps.file)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30


def allow_cpu(pid: int, seconds: float) -> None:
    """A second clock for ``pid``: that many CPU seconds from now on every core, kept by the kernel even if the guard is stopped."""
    if kernel.LINUX:
        soft = math.ceil(kernel.cpu_seconds(pid) + seconds * _CORES) + 1
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.prlimit(pid, resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
