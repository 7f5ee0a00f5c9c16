"""Does anything pile up over thousands of evaluations, a tenth of them hostile? Descriptors, processes, files, memory.

    python -m benchmarks.sandbox.leaks --evaluations 10000 --save

from the root of the checkout. The real executor at the machine's best level, two candidates at a time. Counts are taken after the first
tenth and after the last, when no candidate runs; memory is the median over the samples of those two tenths. Ends with status 1 if
anything was left behind, or if a candidate did not end as the kind of failure it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import psutil

from agentopt.executors.boxed import Boxed
from benchmarks.rows import append
from benchmarks.sandbox.ours import candidate, context, make_task
from benchmarks.sandbox.tree import resident_bytes

WORKERS = 2
_LIMITS = {"seconds": 1.0, "memory_mb": 256, "printed_mb": 1.0, "output_mb": 1.0, "file_mb": 8.0}
_EVERY = 25
"""Evaluations between two looks at the memory."""

P = "import os, sys, time, threading, socket\n"
FORGED = (
    P
    + "from agentopt.core import wire\ndef f(x):\n frame = wire.pack({'nonce': '0' * 16, 'status': 'ok', 'message': ''}, wire.encode(4))\n"
    " for fd in range(300):\n  try: os.write(fd, frame)\n  except OSError: pass\n return 0\n"
)
HOSTILE = {
    "crash": (P + "def f(x): os._exit(0)", "crash"),
    "segfault": ("import ctypes\ndef f(x): ctypes.string_at(0)", "crash"),
    "memory": ("def f(x): return len(bytearray(4 << 30))", "memory"),
    "output": ("def f(x): return 'x' * (8 << 20)", "oversize"),
    "printing": ("def f(x):\n for _ in range(8): print('x' * (1 << 20))", "oversize"),
    "forged frames": (FORGED, "cheat"),
    "forks": (P + "def f(x):\n for _ in range(20):\n  if os.fork() == 0: os.setsid(); time.sleep(600)\n os._exit(1)", "crash"),
    "descriptors": (P + "def f(x):\n kept = [socket.socketpair() for _ in range(1000)]", "crash"),
    "files": (P + "def f(x):\n for k in range(50):\n  os.makedirs(f'a{k}/b'); open(f'a{k}/b/c', 'w').write('x' * 999)\n return x * 2", ""),
    "locked files": (P + "def f(x):\n os.makedirs('a/b'); os.symlink('/', 'link'); os.chmod('a', 0)\n os._exit(1)", "crash"),
    "threads": (
        P + "def f(x):\n for _ in range(20): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n return x * 2",
        "",
    ),
    "closed socket": (P + "def f(x): os.close(3); time.sleep(600)", "crash"),
    "abort": (P + "def f(x): os.abort()", "crash"),
    "syntax": ("def f(x) return", "syntax"),
    "build": ("g = 1\n", "build"),
}
TIMEOUT = ("def f(x):\n while True: pass", "timeout")
_TIMEOUT_EVERY = 500
"""They take a second each."""


def sources(count: int, rng: Random) -> Iterator[tuple[str, str]]:
    """Source and expected failure; "" for a right answer. Every tenth is hostile."""
    names = sorted(HOSTILE)
    for k in range(count):
        if k % _TIMEOUT_EVERY == _TIMEOUT_EVERY // 2:
            yield TIMEOUT
        elif k % 10 == 5:
            yield HOSTILE[names[k // 10 % len(names)]]
        else:
            yield f"def f(x):\n    return x * 2 + {rng.random()!r} * 0\n", ""


class Household:
    """The executor's processes, told apart by whose child they are."""

    def __init__(self, executor: Boxed, folder: Path) -> None:
        self._executor = executor
        self._folder = folder

    def members(self) -> dict[str, list[psutil.Process]]:
        ours = psutil.Process()
        zygote = psutil.Process(self._executor._boxes.zygote.pid)
        inside = zygote.children() if "namespaces" in self._executor.sandbox else [zygote]
        guards = [guard for first in inside for guard in first.children()]
        return {
            "controller": [ours],
            "zygote": inside,
            "guards": guards,
            "spares": [spare for guard in guards for spare in guard.children(recursive=True)],
            "scorers": [child for child in ours.children() if child.pid != zygote.pid],
        }

    def memory(self) -> dict[str, int]:
        """Resident bytes, of the largest of its kind."""
        return {name: max(resident_bytes(process.pid) for process in found) for name, found in self.members().items() if found}

    async def counts(self) -> dict[str, Any]:
        """When no candidate runs. A guard may still be on its last step, which is to end; that is waited for."""
        for _ in range(100):
            found = self._counts()
            await asyncio.sleep(0.02)
            if found == self._counts():
                break
        return found

    def _counts(self) -> dict[str, Any]:
        members = self.members()
        family = psutil.Process().children(recursive=True)
        return {
            "processes": {name: len(found) for name, found in members.items()},
            "zombies": sum(process.status() == psutil.STATUS_ZOMBIE for process in family),
            "descriptors": {name: max(process.num_fds() for process in found) for name, found in members.items() if found},
            "files": sum(len(files) + len(folders) for _, folders, files in os.walk(self._folder)),
        }


async def work(executor: Boxed, task: Any, given: Iterator[tuple[str, str]], wrong: list[str], kinds: Counter[str]) -> None:
    for source, expected in given:
        session = await executor.open(candidate(task, source))
        rollout = await session.rollout("two", 0, 1)
        await session.close()
        kind = rollout.failure.kind if rollout.failure else ""
        kinds[kind or "right"] += 1
        if kind != expected or (not kind and rollout.scores != {"right": 1.0}):
            wrong.append(f"{source!r:.200}: {rollout.failure or rollout.scores}")


async def watched(executor: Boxed, task: Any, given: Iterator[tuple[str, str]], household: Household) -> dict[str, Any]:
    """Two at a time, with a look at the memory now and then."""
    wrong: list[str] = []
    kinds: Counter[str] = Counter()
    samples: list[dict[str, int]] = []
    over = False
    while not over:
        some = []
        while len(some) < _EVERY and not over:
            pair = next(given, None)
            over = pair is None
            some += [] if pair is None else [pair]
        iterator = iter(some)
        await asyncio.gather(*(work(executor, task, iterator, wrong, kinds) for _ in range(WORKERS)))
        samples.append(household.memory())
    return {"kinds": dict(kinds), "wrong": wrong, "memory": {name: median(s[name] for s in samples if name in s) for name in samples[0]}}


async def measure(evaluations: int, level: str, folder: Path) -> dict[str, Any]:
    """``folder`` is the temporary folder; nothing else may be in it."""
    task = make_task("", **_LIMITS)
    before = psutil.Process().num_fds()
    executor = Boxed(context(task, level, WORKERS))
    household = Household(executor, folder)
    tenth = max(1, evaluations // 10)
    begun = time.monotonic()
    try:
        given = sources(evaluations, Random(0))
        first = await watched(executor, task, (pair for _, pair in zip(range(tenth), given, strict=False)), household)
        counts = [await household.counts()]
        middle = await watched(executor, task, (pair for _, pair in zip(range(evaluations - 2 * tenth), given, strict=False)), household)
        last = await watched(executor, task, given, household)
        counts.append(await household.counts())
    finally:
        await executor.close()
    seconds = time.monotonic() - begun
    await asyncio.sleep(0.05)  # a transport gives its descriptor back in one of the loop's next turns
    kinds = sum((Counter(part["kinds"]) for part in (first, middle, last)), Counter[str]())
    return {
        "what": "leaks",
        "sandbox": executor.sandbox,
        "evaluations": evaluations,
        "seconds": round(seconds, 1),
        "kinds": dict(kinds),
        "wrong": first["wrong"] + middle["wrong"] + last["wrong"],
        "after_first_tenth": counts[0],
        "after_last_tenth": counts[1],
        "memory_first_tenth": first["memory"],
        "memory_last_tenth": last["memory"],
        "left_at_end": {
            "processes": len(psutil.Process().children(recursive=True)),
            "descriptors": psutil.Process().num_fds() - before,
            "files": len(os.listdir(folder)),
        },
    }


def faults(found: dict[str, Any]) -> list[str]:
    """What must not be: one sentence each."""
    said = [f"ended otherwise than expected: {words}" for words in found["wrong"]]
    first, last = found["after_first_tenth"], found["after_last_tenth"]
    for name, count in last["descriptors"].items():
        if count > first["descriptors"].get(name, count):
            said.append(f"descriptors of {name}: {first['descriptors'][name]}, then {count}")
    if last["processes"] != first["processes"] or last["zombies"]:
        said.append(f"processes: {first['processes']}, then {last['processes']} and {last['zombies']} zombies")
    if last["files"] > first["files"]:
        said.append(f"files: {first['files']}, then {last['files']}")
    said += [f"{what} left at the end: {count}" for what, count in found["left_at_end"].items() if count]
    for name, size in found["memory_last_tenth"].items():
        before = found["memory_first_tenth"][name]
        if size > 1.1 * before + (2 << 20):
            said.append(f"memory of {name}: {before} bytes, then {size}")
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--level", default="auto")
    parser.add_argument("--save", action="store_true", help="add the row to results/")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        found = asyncio.run(measure(given.evaluations, given.level, Path(folder)))
    found["faults"] = faults(found)
    if given.save:
        append("sandbox", [found])
    else:
        print(json.dumps(found))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
