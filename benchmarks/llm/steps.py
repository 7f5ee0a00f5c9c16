"""Complete steps with a model: ask over HTTP, read the reply, make a candidate, evaluate it, tell. Its cost as the run grows.

    python -m benchmarks.llm.steps [--sizes 100 1000 10000] [--times 5]

The model is a server on loopback in a process of its own that answers at once, each time with another function. ``inline`` evaluates in
this process, so that the step itself is seen; ``L2`` in the sandbox, as a run does.
``python -m benchmarks.llm.steps one WAY SIZE SEED URL``
is one of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import agentopt
from agentopt.core.chat import ChatRequest, Message
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Answer, OptimizerContext, Refused, View
from agentopt.llm.replies import Unusable, read_reply
from agentopt.testing.fake_llm import FakeLLM, Received, Step
from benchmarks.engine.marks import SIZES, Marks, rates
from benchmarks.rows import ROOT, append, summary

SEED = "def f(x):\n    return 0.5 * x\n"
WAYS = ("inline", "L2")


class Ask:
    """One question per candidate, about a sampled parent."""

    def __init__(self, context: OptimizerContext, marks: Marks) -> None:
        assert context.chat is not None
        self.chat, self.parameters, self.marks = context.chat, context.task.parameters, marks

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        parent = view.sample(1, rng)[0].candidate
        question = f"Improve this function, so that f(1) is as large as can be.\n{parent.values['f']}"
        reply = await self.chat.complete(ChatRequest((Message("user", question),), sample=rng.getrandbits(31)), rng)
        found = read_reply(reply.text, self.parameters, parent.values, finish=reply.finish)
        if isinstance(found, Unusable):
            return Refused(found.verdict)
        return [agentopt.Proposal(found.values, (parent.id,), "ask", "ask")]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.marks.count()


def make_task() -> agentopt.Task:
    task = agentopt.Task(
        name="one_function",
        goal="Be large.",
        parameters={"f": agentopt.Parameter("f", "code", SEED, entry="f")},
        objectives=[agentopt.Objective("score", "max")],
        cases={"train": [agentopt.Case("only", None)]},
    )
    task.run(lambda program, input: program.f(1.0))
    task.score(lambda case, output, measured: agentopt.Score(score=output))
    return task


def measure(way: str, size: int, rng_seed: int, url: str) -> dict[str, Any]:
    """Figures at every size up to ``size``, and the log's bytes per step."""
    marks = Marks()
    where = {"executor": "inline"} if way == "inline" else {"sandbox": way}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        agentopt.evolve(
            make_task(),
            budget=f"{size}evals",
            optimizer=lambda context: Ask(context, marks),
            model="openai:m",
            llm={"base_url": url},
            out=out,
            rng_seed=rng_seed,
            workers=2,
            **where,
        )
        logged = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"sizes": rates(marks), "log_bytes": logged / size}


def serve() -> None:
    """A model that never says the same: the address on stdout, until stdin ends."""
    number = iter(range(1 << 60))

    def answer(received: Received) -> Step:
        digest = int(hashlib.sha256(str(next(number)).encode()).hexdigest()[:8], 16) / 2**32
        return Step(f"A larger factor helps.\n\n```python\ndef f(x):\n    return {digest:.9f} * x\n```\n")

    with FakeLLM(answer) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[size for size in SIZES if size <= 10_000])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    given = parser.parse_args()
    size = max(given.sizes)
    serving = [sys.executable, "-c", "from benchmarks.llm.steps import serve; serve()"]
    with subprocess.Popen(serving, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        for way in given.ways:
            runs = [one(way, size, seed, url) for seed in range(given.times)]
            append("llm", rows(way, given.sizes, runs))


def one(way: str, size: int, seed: int, url: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.llm.steps", "one", way, str(size), str(seed), url]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def rows(way: str, sizes: list[int], runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for size in sizes:
        about = {"what": f"a step with a model, {way}", "at": size}
        for key, unit in (("rate", "steps/s"), ("cpu_ms", "ms CPU/step"), ("yards", "yardsticks/step")):
            found.append({**about, "unit": unit, **summary([run["sizes"][str(size)][key] for run in runs])})
    return [*found, {"what": f"log of a step, {way}", "unit": "bytes", **summary([run["log_bytes"] for run in runs])}]


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])))
    else:
        main()
