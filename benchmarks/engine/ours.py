"""One run of agentopt over a task whose evaluation is one line: ``python -m benchmarks.engine.ours SIZE RNG_SEED`` prints its figures."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import agentopt
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Answer, OptimizerContext, View
from benchmarks.engine.marks import Marks, rates

__all__ = ["measure"]


class Draw:
    """Proposes new random values and counts what comes back: the least an optimizer can do."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        return [agentopt.Proposal({"x": rng.random()}, operator="draw") for _ in range(n)]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.marks.count()


def make_task() -> agentopt.Task:
    task = agentopt.Task(
        name="one_line",
        goal="Be large.",
        parameters={"x": agentopt.Parameter("x", "value", 0.5)},
        objectives=[agentopt.Objective("score", "max")],
        cases={"train": [agentopt.Case("only", None)]},
    )
    task.run(lambda program, input: program.x)
    task.score(lambda case, output, measured: agentopt.Score(score=output))
    return task


def measure(size: int, rng_seed: int) -> dict[str, Any]:
    """Figures at every size up to ``size``, and the log's bytes per candidate."""
    marks = Marks()

    def optimizer(context: OptimizerContext) -> Draw:
        return Draw(marks)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        agentopt.evolve(make_task(), budget=f"{size}evals", executor="inline", optimizer=optimizer, out=out, rng_seed=rng_seed, workers=1)
        logged = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"sizes": rates(marks), "log_bytes": logged / size}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
