"""Tasks and optimizers for tests of the whole: importable, so that a log can name them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

from agentopt import Case, Objective, Parameter, Proposal, Score, Task
from agentopt.core.chat import ChatRequest, Message
from agentopt.core.protocols import Exhausted, OptimizerContext, Refused
from agentopt.llm.replies import Unusable, read_reply

TASK_FILE = """
from agentopt import Case, Objective, Reject, Score, Task

task = Task(
    name="line",
    goal="Find the line through the points.",
    parameters={"f": "seed.py"},
    objectives=[Objective("error", "min")],
    cases={s: [Case(f"{s}-{k}", [0.5 * k + 0.1, 1.0], [1.5 * k + 0.3, 3.0]) for k in range(3)] for s in ("train", "validation", "test")},
)

@task.run
def run(program, input):
    return [program.f(x) for x in input]

@task.score
def score(case, output, measured):
    if not isinstance(output, list):
        raise Reject("not a list")
    return Score(error=sum(abs(a - b) for a, b in zip(output, case.expected)))
"""

SEED = "def f(x):\n    return 1.0 * x\n"


def write_task(folder: Path, text: str = TASK_FILE, seed: str = SEED) -> Path:
    """A task folder; returns the task file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(text)
    (folder / "seed.py").write_text(seed)
    return folder / "task.py"


def number_task(**changes: Any) -> Task:
    """One number, best at 7; no code."""
    cases = {split: [Case(f"{split}-{k}", k) for k in range(2)] for split in ("train", "validation", "test")}
    parts: dict[str, Any] = {"parameters": {"x": Parameter("x", "value", 0.0)}, "objectives": [Objective("s", "max")], "cases": cases}
    task = Task("number", **({"goal": "go to 7"} | parts | changes))
    task.score(score_number)
    return task


def score_number(case: Case, output: Any, measured: Any) -> Score:
    return Score(s=-abs(output["x"] - 7.0) - 0.01 * case.input, feedback=f"x is {output['x']}")


class Steps:
    """Random steps from sampled parents, for a task with one value ``x`` or one code ``f``."""

    def __init__(self, context: OptimizerContext) -> None:
        self.code = "f" in context.task.parameters

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        parent = view.sample(1, rng)[0]
        if self.code:
            return [Proposal({"f": f"def f(x):\n    return {rng.uniform(0, 5):.2f} * x\n"}, (parent.id,), "steps", "step")]
        return [Proposal({"x": parent.candidate.values["x"] + rng.gauss(0, 2)}, (parent.id,), "steps", "step")]

    def observe(self, entry: Any, admission: Any) -> None: ...


class Nothing(Steps):
    """Has no idea."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        return Exhausted("no idea")


class Crashing(Steps):
    """Proposes code that does not work."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        return [Proposal({"f": f"def f(x):\n    return {rng.random()} / 0\n"}, (), "crashing", "break")]


class Slow(Steps):
    """Proposes code that sleeps, so that a run can be stopped in the middle."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        source = f"import time\ndef f(x):\n    time.sleep(0.1)\n    return {rng.uniform(0, 5):.3f} * x\n"
        return [Proposal({"f": source}, (), "slow", "sleep")]


class Asking(Steps):
    """Asks a model for another line, for a task with one code ``f``; ``pause`` is seconds between the reply and its use."""

    def __init__(self, context: OptimizerContext) -> None:
        super().__init__(context)
        assert context.chat is not None
        self.chat = context.chat
        self.parameters = context.task.parameters
        self.pause = float(context.options.get("pause", 0.0))

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        parent = view.sample(1, rng)[0]
        question = f"Write another f.\n{parent.candidate.values['f']}"
        request = ChatRequest((Message("user", question),), temperature=0.5, sample=rng.getrandbits(31), purpose="toys/ask")
        reply = await self.chat.complete(request, rng)
        await asyncio.sleep(self.pause)
        found = read_reply(reply.text, self.parameters, parent.candidate.values, finish=reply.finish)
        if isinstance(found, Unusable):
            return Refused(found.verdict, {"reply": reply.text[:100]})
        return [Proposal(found.values, (parent.id,), "asking", "ask")]
