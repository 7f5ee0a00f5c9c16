"""The ways to evaluate a candidate that are compared, each in a process of its own that is told what to do, line by line.

``python -c "from benchmarks.sandbox.ways import main; main()" WAY MODULE`` answers each line of JSON on its stdin with one on its stdout.
What only one way needs is imported there, so that a bare fork is the fork of a bare process.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["WAYS", "main"]

STEADY = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")}
FRESH = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
scope = {}
exec(sys.stdin.read(), scope)
print(json.dumps(scope["f"](2)))
"""


def source(k: int) -> str:
    """A candidate that no other evaluation has seen; ``f(2)`` is 4."""
    return f"def f(x):\n    return x * 2 + {k} - {k}\n"


class Fresh:
    """A new interpreter that imports the module."""

    def __init__(self, module: str) -> None:
        import subprocess

        self._run, self._module = subprocess.run, module

    def evaluate(self, text: str) -> None:
        done = self._run([sys.executable, "-I", "-c", FRESH, self._module], input=text, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == 4


class ForkServer:
    """``multiprocessing`` with a server that has imported the module."""

    def __init__(self, module: str) -> None:
        from multiprocessing import get_context

        from benchmarks.sandbox.child import answer

        self._context = get_context("forkserver")
        self._context.set_forkserver_preload([module, "benchmarks.sandbox.child"])
        self._answer = answer

    def evaluate(self, text: str) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=self._answer, args=(theirs, text))
        process.start()
        theirs.close()
        assert ours.recv() == 4
        process.join()
        process.close()
        ours.close()


class BareFork:
    """A fork of a process that has imported the module: the floor of everything that isolates candidates from each other."""

    def __init__(self, module: str) -> None:
        import gc

        importlib.import_module(module)
        gc.collect()
        gc.freeze()

    def evaluate(self, text: str) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            scope: dict[str, Any] = {}
            exec(theirs.recv(1 << 16).decode(), scope)
            theirs.sendall(json.dumps(scope["f"](2)).encode())
            os._exit(0)
        theirs.close()
        ours.sendall(text.encode())
        assert json.loads(ours.recv(1 << 16)) == 4
        os.waitpid(pid, 0)
        ours.close()


WAYS: dict[str, Callable[[str], Any]] = {"fresh": Fresh, "forkserver": ForkServer, "bare fork": BareFork}


def main() -> None:
    way, module = sys.argv[1:]
    os.environ.update(STEADY)
    if way in WAYS:
        block = _block_of(WAYS[way](module))
    else:
        from benchmarks.sandbox.ours import Ours

        block = Ours(way, module).answer
    for line in sys.stdin:
        print(json.dumps(block(json.loads(line))), flush=True)


def _block_of(way: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    from benchmarks.sandbox.tree import cpu_seconds

    made = 0

    def block(order: dict[str, Any]) -> dict[str, Any]:
        nonlocal made
        before, walls = cpu_seconds(), []
        for _ in range(order["evaluations"]):
            made += 1
            begun = time.perf_counter()
            way.evaluate(source(made))
            walls.append(time.perf_counter() - begun)
        used = cpu_seconds()
        used.subtract(before)
        return {"cpu": used, "walls": walls}

    return block
