"""Attacks on the sandbox, run live: what ``doctor`` shows."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from agentopt.assembly import Job
from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.protocols import Executor
from agentopt.core.task import Case, Limits, Objective, Parameter, Task
from agentopt.settings import RunConfig, usable_cores

__all__ = ["LEVELS", "Attack", "Report", "examine"]

LEVELS = ("L1",)


@dataclass(frozen=True)
class Attack:
    """One attack: ``stopped`` and by which layer. ``promised`` says whether the level claims to stop it."""

    name: str
    stopped: bool
    by: str
    promised: bool = True


@dataclass(frozen=True)
class Report:
    """What the sandbox of this machine held against."""

    system: str
    python: str
    cores: int
    level: str
    attacks: Sequence[Attack]
    advice: Sequence[str]

    @property
    def holds(self) -> bool:
        """Everything that the level promises to stop was stopped."""
        return all(attack.stopped for attack in self.attacks if attack.promised)


_FORK = "import os, time\ndef f():\n    if os.fork() == 0:\n        time.sleep(60)\n    return 0.5\n"
_FLOOD = "def f():\n    for _ in range(200): print('x' * (1 << 20))\n    return 1\n"
_FORGED = "def f():\n    print('{\"score\": 1e9}')\n    return 0.5\n"
_ATTACKS = {
    "endless loop": ("def f():\n    while True: pass\n", "timeout", "the guard's deadline"),
    "4 GB of memory": ("def f():\n    return len(bytearray(4 << 30))\n", "memory", "rlimit AS"),
    "os._exit(0)": ("import os\ndef f():\n    os._exit(0)\n", "crash", "no reply is no score"),
    "200 MB of output": (_FLOOD, "oversize", "the guard's output cap"),
    "NaN as a result": ("def f():\n    return float('nan')\n", "nonfinite", "strict decoding"),
    "forged score on stdout": (_FORGED, "0.5", "scores come from the scorer process"),
    "fork and sleep": (_FORK, "0.5", "the guard kills the tree"),
}
"""name -> (candidate, how its rollout must end: a kind of failure or the honest score, the layer that sees to it)"""


def examine() -> Report:
    """Run every attack through the executor that runs use. Takes a few seconds."""
    attacks = asyncio.run(_run_all())
    advice = ["L1 protects the score, not the machine: a candidate can still read your files and use the network."]
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Report(system, platform.python_version(), usable_cores(), LEVELS[-1], attacks, advice)


def _run(program: Any, input: Any) -> Any:
    return program.f()


def _score(case: Case, output: Any, measured: Any) -> dict[str, float]:
    return {"score": output}


async def _run_all() -> list[Attack]:
    task = Task(
        "doctor",
        parameters={"f": Parameter("f", "code", "def f(): return 0.5")},
        objectives=[Objective("score", "max")],
        cases={"train": [Case("one", None)]},
        limits=Limits(seconds=2.0, memory_mb=512),
    )
    task.run(_run)
    task.score(_score)
    executor = Job.of(task, RunConfig(workers=1)).executor(lambda data: "")
    os.environ["AGENTOPT_DOCTOR_KEY"] = "secret"
    try:
        found = [await _attack(executor, task, name, *rest) for name, rest in _ATTACKS.items()]
        return [*found, await _environment(executor, task), await _files(executor, task)]
    finally:
        del os.environ["AGENTOPT_DOCTOR_KEY"]
        await executor.close()


async def _outcome(executor: Executor, task: Task, source: str) -> str:
    """The kind of failure, or the score as text."""
    candidate = Candidate.of(Proposal({"f": source}), task.resolved)
    session = await executor.open(candidate)
    try:
        rollout = await session.rollout("one", 0, Random(0).getrandbits(31))
    finally:
        await session.close()
    return rollout.failure.kind if rollout.failure else f"{rollout.scores['score']:g}"


async def _attack(executor: Executor, task: Task, name: str, source: str, expected: str, by: str) -> Attack:
    outcome = await _outcome(executor, task, source)
    return Attack(name, outcome == expected, by if outcome == expected else f"ended as {outcome}, not {expected}")


async def _environment(executor: Executor, task: Task) -> Attack:
    outcome = await _outcome(executor, task, "import os\ndef f():\n    return 1.0 if 'AGENTOPT_DOCTOR_KEY' in os.environ else 0.0\n")
    return Attack("read a secret from the environment", outcome == "0", "scrubbed environment")


async def _files(executor: Executor, task: Task) -> Attack:
    source = f"import os\ndef f():\n    return float(len(os.listdir({os.path.expanduser('~')!r})) >= 0)\n"
    outcome = await _outcome(executor, task, source)
    return Attack("list the home folder", outcome != "1", "nothing at L1" if outcome == "1" else "file permissions", promised=False)
