"""What it costs to call a code parameter behind walls.

    python -m benchmarks.trace.code_runner

from the root of the checkout. Each round opens a runner of its own and measures

- first     the first call of all: a process that opens boxes starts, and one box
- box       the first call of another code: one box more
- calls     small calls per second of one code, one after another from one thread, with the trainable around them
- at once   the same from 200 asyncio tasks
- arrays    calls per second that take and return a float64 array of 1 MB
- plain     the trainable without a runner: the user's own function, per second
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Any

from agentopt.core.protocols import Wish
from agentopt.core.running import RUNNER, CodeCall
from agentopt.sandbox.code_runner import BoxedCode, open_runner
from agentopt.trace.trainable import trainable
from benchmarks.rows import append, summary

CALLS, ARRAYS, TASKS = 2000, 100, 200


@trainable
def small(x):
    return x + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found = [_round() for _ in range(rounds)]
    units = {"first": "ms", "box": "ms"}
    rows: list[dict[str, Any]] = [
        {"what": f"code runner: {name}", "unit": units.get(name, "calls/s"), **summary([values[name] for values in found])}
        for name in found[0]
    ]
    append("trace", rows)


def _round() -> dict[str, float]:
    began = time.perf_counter()
    with open_runner(Wish(strangers=True)) as runner:
        runner.call(CodeCall("def f():\n    return 0\n", "f"))
        first = time.perf_counter() - began
        box = _seconds(lambda: runner.call(CodeCall("def f():\n    return 1\n", "f")))
        plain = CALLS / _seconds(lambda: [small(n) for n in range(CALLS)])
        token = RUNNER.set(runner)
        small(0)
        calls = CALLS / _seconds(lambda: [small(n) for n in range(CALLS)])
        RUNNER.reset(token)
        at_once = 10 * TASKS / _seconds(lambda: asyncio.run(_tasks(runner)))
        return {
            "first": first * 1e3,
            "box": box * 1e3,
            "calls": calls,
            "at once": at_once,
            "arrays": _arrays(runner),
            "plain": plain,
        }


async def _tasks(runner: BoxedCode) -> None:
    async def work(n: int) -> None:
        for k in range(10):
            await runner.acall(CodeCall("def f(x):\n    return x + 1\n", "f", (n + k,)))

    await asyncio.gather(*(work(n) for n in range(TASKS)))


def _arrays(runner: BoxedCode) -> float:
    import numpy

    call = CodeCall("def f(x):\n    return x\n", "f", (numpy.zeros(1 << 17),))
    runner.call(call)
    return ARRAYS / _seconds(lambda: [runner.call(call) for _ in range(ARRAYS)])


def _seconds(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
