"""The attacks, run for real at each level of the sandbox that this machine has."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from agentopt.assembly import Job
from agentopt.attacks.attack import ALWAYS, Attack
from agentopt.attacks.corpus import ATTACKS
from agentopt.attacks.targets import Targets
from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.errors import TaskError
from agentopt.core.evaluation import Rollout
from agentopt.core.task import Case, Limits, Objective, Parameter, Score, Task
from agentopt.sandbox import levels
from agentopt.sandbox.probe import Machine, look_at
from agentopt.sandbox.program_probe import probe_programs
from agentopt.settings import RunConfig, usable_cores

__all__ = ["LEVELS", "LevelReport", "Report", "Trial", "Tried", "examine"]

LEVELS = tuple(level for level in levels.LEVELS if level != "L0")
_AT_ONCE = 4
_LIMITS = Limits(seconds=2.0, memory_mb=512, printed_mb=1.0, output_mb=1.0, file_mb=8.0)


@dataclass(frozen=True)
class Tried:
    """One attack at one level: how it ended, whether it was ``stopped`` and by which layer, and whether the level promises to."""

    name: str
    outcome: str
    stopped: bool
    promised: bool
    by: str


@dataclass(frozen=True)
class LevelReport:
    """What one level held against. Without it ``why`` says what the machine lacks."""

    level: str
    sandbox: str
    attacks: Sequence[Tried]
    why: str = ""

    @property
    def holds(self) -> bool:
        """The level is there, and everything that it promises to stop was stopped."""
        return not self.why and all(tried.stopped for tried in self.attacks if tried.promised)


@dataclass(frozen=True)
class Report:
    """What the sandbox of this machine held against, level by level, and what would make it stronger."""

    system: str
    python: str
    cores: int
    levels: Sequence[LevelReport]
    advice: Sequence[str]

    @property
    def holds(self) -> bool:
        """Every level that the machine has keeps its promises."""
        return all(found.holds for found in self.levels if not found.why)

    def at(self, level: str) -> LevelReport:
        return next(found for found in self.levels if found.level == level)


def examine() -> Report:
    """Run every attack through the executor that runs use, level by level. Takes some ten seconds."""
    machine = look_at()
    with Targets() as targets:
        found = [_examine_level(level, machine, targets) for level in LEVELS]
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Report(system, platform.python_version(), usable_cores(), found, _advice(machine, found))


def _examine_level(level: str, machine: Machine, targets: Targets) -> LevelReport:
    if level == "L3":
        return _examine_programs()
    if level == "L2" and not machine.l2:
        return LevelReport(level, "", (), machine.without_landlock or machine.without_seccomp)
    try:
        trial = Trial(level, targets)
    except TaskError as error:
        return LevelReport(level, "", (), str(error))
    return asyncio.run(_try_all(level, trial, targets))


def _examine_programs() -> LevelReport:
    """Whole programs are other attackers, with a probe of their own."""
    why = probe_programs()
    return LevelReport("L3", "" if why else "L3/bubblewrap+seccomp, its walls tried from inside by a program", (), why)


async def _try_all(level: str, trial: Trial, targets: Targets) -> LevelReport:
    walls = levels.PROVIDES[level]
    wanted = [attack for attack in ATTACKS if attack.wall in (ALWAYS, *walls) or attack.open]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(attack: Attack) -> Tried:
        async with turns:
            return _judge(attack, await trial.outcome(attack.source), attack.wall in (ALWAYS, *walls))

    try:
        found = await asyncio.gather(*(one(attack) for attack in wanted))
    finally:
        await trial.close()
    harmed = [what for what in targets.harmed() if "no_network" in walls or not what.endswith("socket")]
    found.append(Tried("all of them, seen from outside", ", ".join(harmed), not harmed, True, "all walls"))
    return LevelReport(level, trial.sandbox, found)


def _judge(attack: Attack, outcome: str, promised: bool) -> Tried:
    if promised:
        stopped = attack.stopped_by(outcome)
        return Tried(attack.name, outcome, stopped, True, attack.by if stopped else f"ended as {outcome[:60]!r}")
    stopped = not outcome.startswith(attack.open)
    return Tried(attack.name, outcome, stopped, False, "the rights of your user" if stopped else "nothing at this level")


class Trial:
    """An executor at one level, and a task whose candidates are attacks: ``f(x)`` is to answer 4.

    Raises TaskError where the level cannot be had.
    """

    def __init__(self, level: str, targets: Targets, limits: Limits = _LIMITS) -> None:
        self.task = Task(
            "doctor",
            parameters={"f": Parameter("f", "code", "def f(x): return 4\n")},
            objectives=[Objective("right", "max")],
            cases={"train": [Case("one", targets.aims, 4)]},
            limits=limits,
        )
        self.task.run(_run)
        self.task.score(_score)
        config = RunConfig(workers=_AT_ONCE, sandbox=level, allow_weak_sandbox=True)  # pyright: ignore[reportArgumentType]
        self.executor = Job.of(self.task, config).executor(lambda data: "")
        self.sandbox = self.executor.sandbox

    async def rollout(self, source: str) -> Rollout:
        session = await self.executor.open(Candidate.of(Proposal({"f": source}), self.task.resolved))
        try:
            return await session.rollout("one", 0, Random(0).getrandbits(31))
        finally:
            await session.close()

    async def outcome(self, source: str) -> str:
        """``kind: message`` of a failure, or score and answer: ``1: 4``."""
        rollout = await self.rollout(source)
        if rollout.failure:
            return f"{rollout.failure.kind}: {rollout.failure.message}"
        return f"{rollout.scores['right']:g}: {rollout.feedback}"

    async def close(self) -> None:
        await self.executor.close()


def _run(program: Any, input: Any) -> Any:
    return program.f(input)


def _score(case: Case, output: Any, measured: Any) -> Score:
    right = type(output) is int and output == case.expected
    return Score(right=float(right), feedback=output if isinstance(output, str) else repr(output)[:2000])


# --- advice


def _advice(machine: Machine, found: Iterable[LevelReport]) -> list[str]:
    """What would make this machine stronger."""
    lines = [f"level {report.level} is not to be had here: {report.why}" for report in found if report.why]
    if machine.without_landlock:
        lines.append("landlock: takes Linux 5.13 or newer with landlock among its security modules (cat /sys/kernel/security/lsm)")
    if machine.without_namespaces:
        lines.append(f"user namespaces: {machine.without_namespaces}; {_how_to_get_namespaces()}")
    if not machine.l2:
        lines.append("level L1 protects the score, not the machine: a candidate can read your files and use the network")
    if machine.l2 and os.getuid() == 0:
        lines.append("you are root: a hole in the kernel costs more than it would cost an ordinary user")
    return lines or ["nothing is lacking"]


_SYSCTL = "/proc/sys/"
_SWITCHES = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "1"),
    "/proc/sys/user/max_user_namespaces": ("0", "10000"),
}
"""Settings of the kernel that forbid user namespaces: the value that does, and one that does not."""


def _how_to_get_namespaces() -> str:
    for path, (forbids, allows) in _SWITCHES.items():
        try:
            value = Path(path).read_text().strip()
        except OSError:
            continue
        if value == forbids:
            key = path.removeprefix(_SYSCTL).replace("/", ".")
            return f"sudo sysctl {key}={allows} allows them (for good: a file in /etc/sysctl.d)"
    return "in a container its own rules forbid them, and the container is the outer wall; elsewhere ask who runs the machine"
