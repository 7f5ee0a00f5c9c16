"""The same operations in other recorders of programs: run by the interpreter that has them, it imports nothing of this repository.

``PYTHON peer.py trace`` or ``PYTHON peer.py textgrad``; the figures are one JSON object on the last line. Times are CPU time, the least of
the rounds.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
import types
from collections.abc import Callable
from time import process_time
from typing import Any


def micros(call: Callable[[], Any], count: int) -> float:
    begin = process_time()
    for _ in range(count):
        call()
    return (process_time() - begin) / count * 1e6


def seconds(call: Callable[[], Any]) -> float:
    gc.collect()
    begin = process_time()
    call()
    return process_time() - begin


def backward_of(end: Any) -> float:
    return seconds(lambda: end.backward("x"))


def bytes_per_node(grow: Callable[[int], Any], count: int) -> float:
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = grow(count)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept is not None
    return used / count


def trace() -> dict[str, float]:
    from opto.trace import bundle, node

    @bundle(description="[step] gives back what it is given")
    def step(x: Any) -> Any:
        return x

    def chain(length: int) -> Any:
        end = node(0.5, trainable=True)
        for _ in range(length):
            end = end + 1.0
        return end

    def fan(width: int) -> Any:
        @bundle(description="[total] adds up")
        def total(*items: Any) -> Any:
            return sum(items)

        return total(*[node(1.0, trainable=True) for _ in range(width)])

    number = node(1.5)
    figures = {
        "traced call, us": min(micros(lambda: step(number), 300) for _ in range(5)),
        "proxy operation, us": min(micros(lambda: number + 1.5, 300) for _ in range(5)),
        "proxies, bytes/node": bytes_per_node(chain, 2_000),
    }
    for length in (500, 1_000, 2_000):
        figures[f"backward of proxies, {length}, s"] = backward_of(chain(length))
    figures["fan-in of 500, s"] = backward_of(fan(500))
    return figures


def textgrad() -> dict[str, float]:
    # imported for its models alone, which are not asked here, and large
    sys.modules.setdefault("litellm", types.ModuleType("litellm"))
    sys.modules["litellm"].completion = None  # type: ignore[attr-defined]
    import textgrad as tg

    class Constant(tg.EngineLM):
        model_string = "constant"

        def generate(self, prompt: Any, system_prompt: Any = None, **options: Any) -> str:
            return "x"

        def __call__(self, prompt: Any, **options: Any) -> str:
            return "x"

    tg.set_backward_engine(Constant(), override=True)

    def variable() -> Any:
        return tg.Variable("a", requires_grad=True, role_description="r")

    def chain(length: int) -> Any:
        end = variable()
        for _ in range(length):
            end = end + variable()
        return end

    first = variable()
    figures = {
        "proxy operation, us": min(micros(lambda: first + first, 1_000) for _ in range(5)),
        "proxies, bytes/node": bytes_per_node(chain, 500),
    }
    for length in (4, 8, 12):
        start = variable()
        end = start
        for _ in range(length):
            end = end + variable()
        figures[f"backward of proxies, {length}, s"] = seconds(end.backward)
        figures[f"characters of feedback after {length} hops"] = float(len(start.get_gradient_text()))
    return figures


if __name__ == "__main__":
    print(json.dumps({"trace": trace, "textgrad": textgrad}[sys.argv[1]]()))
