"""What capture adds to calls of a model that take 50 ms: pairs of rounds, with and without, in alternating order.

    python benchmarks/trace/clients.py [--pairs 8] [--calls 40] [--delay 0.05]

Each call is made through the openai SDK to a server on loopback. Prints one line of JSON: per pair the difference of the wall seconds per
call, as a share of a plain call, and of the processor seconds of the calling thread.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from statistics import mean, median, stdev

from openai import OpenAI

from agentopt.testing import FakeLLM, Step
from agentopt.trace.clients import capture_clients
from agentopt.trace.params import Param
from agentopt.trace.recorder import record

SYSTEM = "You are a careful assistant. " * 20


def round_of(client: OpenAI, calls: int, captured: bool) -> tuple[float, float]:
    """Wall seconds and the calling thread's processor seconds per call."""
    system = Param(SYSTEM, "system")
    with ExitStack() as stack:
        if captured:
            stack.enter_context(capture_clients())
            stack.enter_context(record())
        wall, cpu = time.perf_counter(), time.thread_time()
        for number in range(calls):
            messages = [{"role": "system", "content": str(system)}, {"role": "user", "content": f"question {number}"}]
            client.chat.completions.create(model="m", messages=messages)  # pyright: ignore[reportArgumentType]
        return (time.perf_counter() - wall) / calls, (time.thread_time() - cpu) / calls


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--delay", type=float, default=0.05)
    given = parser.parse_args()
    walls: list[float] = []
    cpus: list[float] = []
    plains: list[float] = []
    with FakeLLM([Step("an answer of some words " * 20, delay=given.delay)]) as server, OpenAI(base_url=server.url, api_key="k") as client:
        round_of(client, 5, True)
        for pair in range(given.pairs):
            found = {captured: round_of(client, given.calls, captured) for captured in ((True, False) if pair % 2 else (False, True))}
            walls.append(found[True][0] - found[False][0])
            cpus.append(found[True][1] - found[False][1])
            plains.append(found[False][0])
    plain = median(plains)
    error = stdev(walls) / len(walls) ** 0.5
    print(
        json.dumps(
            {
                "plain_ms": round(1e3 * plain, 3),
                "added_us": round(1e6 * mean(walls), 1),
                "added_us_error": round(1e6 * error, 1),
                "added_cpu_us": round(1e6 * mean(cpus), 1),
                "added_share": round(mean(walls) / plain, 5),
                "pairs": given.pairs,
                "calls": given.calls,
            }
        )
    )


if __name__ == "__main__":
    main()
