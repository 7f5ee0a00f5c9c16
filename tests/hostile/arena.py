"""Where attacks are let loose: all of a level's, on two executors, with honest candidates in between."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from agentopt.attacks.attack import ALWAYS, Attack
from agentopt.attacks.corpus import ATTACKS
from agentopt.attacks.live import Trial
from agentopt.attacks.targets import Targets
from agentopt.core.task import Limits
from agentopt.loading import bundled_root
from agentopt.sandbox import levels
from tests.boxes import descriptors
from tests.hostile.corpus import HASTY, MORE

ALL = (*ATTACKS, *MORE)
ALONE = "L2 without namespaces"
LEVELS = ("L1", "L2", ALONE)
HONEST = "def f(x): return x['n'] * 2\n"
_LANES = 2
_SIZES = {"memory_mb": 256, "printed_mb": 1.0, "output_mb": 1.0, "file_mb": 8.0, "scratch_mb": 64.0}
PATIENT, SHORT = Limits(seconds=20.0, **_SIZES), Limits(seconds=1.0, **_SIZES)


def walls(level: str) -> set[str]:
    """What has to hold there."""
    more = {"L1": set(), "L2": {"namespaces"}, ALONE: set()}[level]
    if level != "L1" and platform.machine() == "x86_64":
        more.add("x86")
    return {ALWAYS, *levels.PROVIDES[level[:2]]} | more


def tried(level: str) -> list[Attack]:
    """The rows of the table at this level."""
    return [attack for attack in ALL if attack.wall in walls(level) or attack.open]


def expected(attack: Attack, level: str) -> str:
    """How its outcome begins."""
    return attack.stopped if attack.wall in walls(level) else attack.open


def why_not(level: str) -> str:
    """Why this machine cannot give the level; empty if it can."""
    machine = levels.look_at()
    if level == "L1":
        return ""
    if not machine.l2:
        return machine.without_landlock or machine.without_seccomp
    if level == "L2":
        return machine.without_namespaces
    return "root's boxes need namespaces here" if os.getuid() == 0 and any(map(_closed, Path(os.__file__).parents)) else ""


def _closed(folder: Path) -> bool:
    return not folder.stat().st_mode & 0o001


@contextmanager
def at(level: str) -> Iterator[None]:
    """While this lasts, the machine has the walls of ``level`` at most."""
    with pytest.MonkeyPatch.context() as patch:
        if level == ALONE:
            machine = replace(levels.look_at(), without_namespaces="a test wants none")
            patch.setattr(levels, "look_at", lambda: machine)
        yield


@dataclass
class Outcomes:
    """How all of a level's attacks ended, and what they left behind."""

    sandbox: str = ""
    by_name: dict[str, str] = field(default_factory=dict)
    spoiled: list[str] = field(default_factory=list)
    """Attacks after which an honest candidate did not score."""
    harmed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Processes, files and descriptors that were not there before."""


def let_loose(level: str, attacks: Iterable[Attack]) -> Outcomes:
    with at(level), Targets() as targets:
        run = targets.folder / "run.db"
        run.write_bytes(b"SQLite format 3\0")
        targets.settle()
        targets.aims |= {"n": 2, "run": str(run), "bundled": str(bundled_root("tasks"))}
        return asyncio.run(_let_loose(level[:2], list(attacks), targets))


async def _let_loose(level: str, attacks: list[Attack], targets: Targets) -> Outcomes:
    found = Outcomes()
    patient, hasty = (Trial(level, targets, limits) for limits in (PATIENT, SHORT))
    found.sandbox = patient.sandbox
    try:
        for trial in (patient, hasty):
            assert await trial.outcome(HONEST) == "1: 4"
        await asyncio.gather(*(patient.outcome(HONEST) for _ in range(_LANES)))
        before = _held(patient)
        late = asyncio.gather(*(hasty.outcome(attack.source) for attack in attacks if attack.name in HASTY))
        await asyncio.gather(*(_one_by_one(patient, lane, found) for lane in _lanes(attacks)))
        found.by_name |= zip([attack.name for attack in attacks if attack.name in HASTY], await late, strict=True)
        if (honest := await hasty.outcome(HONEST)) != "1: 4":
            found.spoiled.append(f"the timeouts: {honest}")
        found.left = _more(before, _held(patient))
    finally:
        await patient.close()
        await hasty.close()
    found.harmed = targets.harmed()
    return found


def _lanes(attacks: Iterable[Attack]) -> list[list[Attack]]:
    """Attacks that need not wait for a deadline, dealt out."""
    quick = [attack for attack in attacks if attack.name not in HASTY]
    return [quick[start::_LANES] for start in range(_LANES)]


async def _one_by_one(trial: Trial, attacks: Iterable[Attack], found: Outcomes) -> None:
    for attack in attacks:
        found.by_name[attack.name] = await trial.outcome(attack.source)
        if (honest := await trial.outcome(HONEST)) != "1: 4":
            found.spoiled.append(f"{attack.name}: {honest}")


def _held(trial: Trial) -> dict[str, int]:
    """What an executor takes while nothing runs."""
    zygote = trial.executor._boxes.zygote
    family = psutil.Process(zygote.pid).children(recursive=True)
    held = {"processes": sum(process.status() != psutil.STATUS_ZOMBIE for process in family), "files": len(os.listdir(zygote._folder))}
    if os.getuid() == 0:  # nobody else may look into it
        held["descriptors of the zygote"] = max(process.num_fds() for process in (psutil.Process(zygote.pid), *family))
    return held


def _more(before: dict[str, int], now: dict[str, int]) -> list[str]:
    return [f"{now[what]} {what} instead of {count}" for what, count in before.items() if now[what] > count]


__all__ = ["ALL", "ALONE", "LEVELS", "Outcomes", "at", "descriptors", "expected", "let_loose", "tried", "walls", "why_not"]
