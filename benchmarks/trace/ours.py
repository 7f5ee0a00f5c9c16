"""What recording costs: one process, plain calls and the floor beside ours; the figures are one JSON object on the last line.

Times are CPU time of this process, the least of alternating rounds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time
from typing import Any

from agentopt.trace.graph import Edge, Graph, Node
from agentopt.trace.jsonl import dump
from agentopt.trace.node import graph_of, node
from agentopt.trace.params import Param
from agentopt.trace.recorder import record
from agentopt.trace.traced import traced
from benchmarks.trace import floor

__all__ = ["costs", "linearity", "measure", "memory", "million", "no_cross_talk", "overhead"]

Figures = dict[str, float]


def plain_step(x: Any) -> Any:
    return x


step, floor_step = traced(plain_step), floor.recorded(plain_step)


@traced
async def async_step(x: Any) -> Any:
    await asyncio.sleep(0)
    return x


def _micros(call: Callable[[Any], Any], argument: Any, count: int) -> float:
    """Microseconds of one call, the loop around it not counted."""
    rounds = range(count)
    begin = process_time()
    for _ in rounds:
        call(argument)
    whole = process_time() - begin
    begin = process_time()
    for _ in rounds:
        pass
    return (whole - (process_time() - begin)) / count * 1e6


def costs(count: int = 20_000, rounds: int = 7) -> Figures:
    """Microseconds per call and per operation of proxies, and ratios to the floor: the least of ``rounds`` alternating rounds."""
    taken: dict[str, list[float]] = {}
    item, proxy, number = floor.Item(1.5), node(1.5), 1.5
    for _ in range(rounds):
        gc.collect()
        taken.setdefault("plain call", []).append(_micros(plain_step, number, count))
        taken.setdefault("floor call", []).append(_micros(floor_step, number, count))
        taken.setdefault("call, off", []).append(_micros(step, number, count))
        with record():
            taken.setdefault("traced call", []).append(_micros(step, number, count))
        taken.setdefault("floor operation", []).append(_micros(lambda x: x + 1.5, item, count))
        taken.setdefault("proxy operation", []).append(_micros(lambda x: x + 1.5, proxy, count))
    least = {f"{what}, us": min(values) for what, values in taken.items()}
    least["off over plain, us"] = least["call, off, us"] - least["plain call, us"]
    least["traced call / floor"] = least["traced call, us"] / least["floor call, us"]
    least["proxy operation / floor"] = least["proxy operation, us"] / least["floor operation, us"]
    return least


def memory(count: int = 100_000) -> Figures:
    """Bytes per node: of rows as they are recorded, of the graph made of them, and of proxies. The values are numbers of 24 bytes."""
    add = traced(lambda x: x + 1.0)
    figures: Figures = {}
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with record() as trace:
            value = 0.5
            for _ in range(count):
                value = add(value)
        figures["record, bytes/node"] = (tracemalloc.get_traced_memory()[0] - before) / count
        before = tracemalloc.get_traced_memory()[0]
        graph = trace.graph()
        figures["graph, bytes/node"] = (tracemalloc.get_traced_memory()[0] - before) / count
        assert len(graph) == count
        before = tracemalloc.get_traced_memory()[0]
        proxy = node(0.5)
        for _ in range(count):
            proxy = proxy + 1.0
        figures["proxies, bytes/node"] = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    return figures


def _seconds(call: Callable[[], Any]) -> float:
    """Of the whole call, or those that it says itself."""
    gc.collect()
    begin = process_time()
    said = call()
    return said if isinstance(said, float) else process_time() - begin


def _chain(length: int) -> Graph:
    graph = Graph()
    graph.add(Node(0, "param", "p", 1.0))
    for number in range(length):
        graph.add(Node(0, "call", "add", 1.0, (Edge(number, "x"),)))
    return graph


def _recorded_chain(length: int) -> tuple[Any, Any, Param]:
    add, start = traced(lambda x: x + 1.0), Param(0.5, "start")
    with record() as trace:
        value = start.value
        for _ in range(length):
            value = add(value)
    return trace, value, start


def _proxy_chain(length: int) -> Any:
    proxy = node(Param(0.5, "start"))
    for _ in range(length):
        proxy = proxy + 1.0
    return proxy


def _rows_of_100(count: int) -> Callable[[], Any]:
    """Feedback on each row of a batch as soon as it is there, all rows in one trace. What is not feedback is not counted."""
    add, start = traced(lambda x: x + 1.0), Param(0.5, "start")

    def run() -> float:
        seconds = 0.0
        with record() as trace:
            for _ in range(count):
                value = start.value
                for _ in range(99):
                    value = add(value)
                begin = process_time()
                trace.backward(value, "x")
                seconds += process_time() - begin
        return seconds

    return run


def _recorded_fan(width: int) -> Callable[[], Any]:
    gather, params = traced(lambda *given: sum(given)), [Param(0.5 + number, f"p{number}") for number in range(width)]
    with record() as trace:
        total = gather(*[param.value for param in params])
    return lambda: trace.backward(total, "x")


def _proxy_fan(width: int) -> Callable[[], Any]:
    params = [Param(0.5 + number, f"p{number}") for number in range(width)]
    total = node(max)(*params)
    return lambda: total.backward("x")


def linearity(rounds: int = 3) -> Figures:
    """Seconds for chains of 10,000 and 100,000, and for as many calls in batches of rows of 100 with feedback on each row; for a fan-in
    of 10,000 parameters."""
    figures: Figures = {}
    ways: dict[str, Callable[[int], Callable[[], Any]]] = {
        "subgraph": lambda length: (lambda graph: lambda: graph.subgraph([length]))(_chain(length)),
        "backward of proxies": lambda length: (lambda end: lambda: end.backward("x"))(_proxy_chain(length)),
        "graph of proxies": lambda length: (lambda end: lambda: graph_of(end))(_proxy_chain(length)),
        "backward of a trace": lambda length: (lambda made: lambda: made[0].backward(made[1], "x"))(_recorded_chain(length)),
        "backward of each row of a trace": lambda length: _rows_of_100(length // 100),
    }
    for what, prepare in ways.items():
        for length in (10_000, 100_000):
            figures[f"{what}, {length}, s"] = min(_seconds(prepare(length)) for _ in range(rounds))
        figures[f"{what}, 100k / 10k"] = figures[f"{what}, 100000, s"] / figures[f"{what}, 10000, s"]
    fan = Graph()
    for number in range(10_000):
        fan.add(Node(0, "param", f"p{number}", 1.0))
    fan.add(Node(0, "op", "sum", 1.0, tuple(Edge(number, "x") for number in range(10_000))))
    figures["fan-in of 10000, s"] = min(_seconds(lambda: fan.subgraph([10_000])) for _ in range(rounds))
    figures["fan-in of 10000, a trace, s"] = min(_seconds(_recorded_fan(10_000)) for _ in range(rounds))
    figures["fan-in of 10000, proxies, s"] = min(_seconds(_proxy_fan(10_000)) for _ in range(rounds))
    return figures


def million(count: int = 1_000_000) -> Figures:
    """A graph of a million nodes: saved, and loaded by a process of its own, whose memory at the most is said, with the file in it."""
    graph = _chain(count)
    begin = process_time()
    data = dump(graph)
    figures = {"save 1M, s": process_time() - begin, "file of 1M, bytes/node": len(data) / count}
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        done = subprocess.run([sys.executable, "-c", _LOADER, file.name], check=True, capture_output=True, text=True)
    return figures | json.loads(done.stdout)


_LOADER = """
import json, re, sys, time
from pathlib import Path
from agentopt.trace.jsonl import load
def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, begin = most(), time.process_time()
graph = load(Path(sys.argv[1]).read_bytes())
loaded = time.process_time()
assert len(graph.subgraph([len(graph) - 1])) == len(graph)
done = time.process_time()
grown = most() - before
print(json.dumps({"load 1M, s": loaded - begin, "subgraph of 1M, s": done - loaded, "load 1M, most resident, MB": grown}))
"""


def no_cross_talk(threads: int = 8, calls: int = 10_000, tasks: int = 200) -> Figures:
    """How many values of others stand in the traces of ``threads`` threads and of ``tasks`` tasks. 0 is right."""
    step_of, wrong = traced(lambda me, i: (me, i)), [0]
    prompt = Param("nobody", "prompt")

    def check(me: int, graph: Graph, count: int) -> None:
        rows = [each for each in graph if each.kind == "call"]
        expected = [(me, i) for i in range(count)]
        if [each.value for each in rows] != expected or any(value != me for each in rows for role, value in each.literals if role == "me"):
            wrong[0] += 1

    def work(me: int) -> None:
        with record() as trace:
            for i in range(calls):
                step_of(me, i)
        check(me, trace.graph(), calls)

    async def task(me: int) -> None:
        with record() as trace:
            for i in range(50):
                step_of(me, i)
                await asyncio.sleep(0)
                prompt.value.upper()
        check(me, trace.graph(), 50)

    async def all_tasks() -> None:
        await asyncio.gather(*map(task, range(tasks)))

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        running = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        asyncio.run(all_tasks())
    finally:
        sys.setswitchinterval(switch)
    return {"traces with cross-talk": float(wrong[0])}


def overhead(pairs: int = 12, calls: int = 5, latency: float = 0.05) -> Figures:
    """What tracing adds to a pipeline whose model answers after 50 ms, in percent of its wall time: the median of paired runs.

    ``CPU`` is what tracing itself takes of the same run, without the noise of the clock.
    """
    prompt = Param("Answer in one word: {question}", "prompt")

    @traced
    def model(messages: Sequence[dict[str, str]]) -> str:
        time.sleep(latency)
        return messages[-1]["content"].upper()

    @traced
    def pipeline(question: str) -> str:
        answer = question
        for _ in range(calls):
            answer = model([{"role": "user", "content": prompt.format(question=answer)}])
        return answer

    def run(on: bool) -> tuple[float, float]:
        begin, cpu = time.perf_counter(), process_time()
        with record(on=on) as trace:
            trace.output(pipeline("how many?"))
        if on:
            trace.graph()
        return time.perf_counter() - begin, process_time() - cpu

    ratios, busy = [], []
    for pair in range(pairs):
        first = bool(pair % 2)
        times = {first: run(first), not first: run(not first)}
        ratios.append((times[True][0] / times[False][0] - 1) * 100)
        busy.append((times[True][1] - times[False][1]) / times[False][0] * 100)
    return {"tracing adds to 50 ms calls, %": median(ratios), "CPU that tracing adds, %": median(busy)}


def measure() -> Figures:
    return {**costs(), **memory(), **linearity(), **million(), **no_cross_talk(), **overhead()}


if __name__ == "__main__":
    print(json.dumps(measure()))
