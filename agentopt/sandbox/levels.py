"""Which walls a run gets: what the task needs and the user asks for, against what this machine can do. Fails closed."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentopt.core.errors import ConfigError, ConsentError, TaskError
from agentopt.core.protocols import Wish
from agentopt.core.task import Task
from agentopt.sandbox.bwrap import check_words
from agentopt.sandbox.namespaces import may_mount
from agentopt.sandbox.probe import Machine, look_at
from agentopt.sandbox.program_probe import probe_programs
from agentopt.sandbox.reach import readable_paths, seen_places
from agentopt.sandbox.walls import Level

__all__ = ["LEVELS", "OPEN", "PROVIDES", "Sandbox", "beside", "brief", "choose", "level_of", "trust"]

LEVELS = ("L0", "L1", "L2", "L3")
PROVIDES = {
    "L0": frozenset[str](),
    "L1": frozenset({"tree_kill", "memory_bound", "clean_environment"}),
    "L2": frozenset({"tree_kill", "memory_bound", "clean_environment", "no_network", "no_files", "no_processes"}),
    "L3": frozenset({"tree_kill", "memory_bound", "clean_environment", "no_network", "no_files", "no_processes"}),
}
"""What a task may name in ``needs``, and who gives it."""
_PROCESSES, _ALONE = 64, 2
"""Of a whole program, threads and the first process of its box included."""
_SPARE_UID = 0x70000000


@dataclass(frozen=True)
class Sandbox:
    """The chosen level. ``text`` names its walls and is stamped on every evaluation; ``orders`` are what ``Walls`` is made from."""

    level: Level
    text: str
    orders: dict[str, Any] = field(default_factory=dict[str, Any])


def _orders(level: Level) -> dict[str, Any]:
    return {"level": level, "namespaces": False, "uid": None, "readable": []}


OPEN = Sandbox("worker", "worker", _orders("worker"))
"""No walls, and the user's own environment: for tasks whose candidates are no code."""


def level_of(text: str) -> str:
    """``"L2/landlock-7+seccomp/Linux 6.18"`` -> ``"L2"``."""
    return text.partition("/")[0]


def brief(text: str) -> str:
    """For people: ``"L2/landlock-7+seccomp/Linux 6.18"`` -> ``"L2 (landlock-7, seccomp)"``."""
    level, *more = text.split("/", 2)
    return f"{level} ({more[0].replace('+', ', ')})" if len(more) == 2 else level


def choose(task: Task, wish: Wish) -> Sandbox:
    """Raises ConfigError for a wish that cannot be met, ConsentError if the user has to agree first, TaskError for an unmet need."""
    if task.command:
        return _whole_program(task, wish)
    if wish.unsafe and wish.level not in ("auto", "L0"):
        raise ConfigError(f"sandbox: --unsafe asks for no walls and sandbox={wish.level} for some; give one of them")
    if wish.unsafe:
        return _settle(task, wish, "L0", look_at())
    if wish.level == "L0":
        raise ConfigError("sandbox: level L0 has no walls at all; give --unsafe if you mean it")
    machine = look_at()
    if wish.level == "L2" and not machine.l2:
        raise ConfigError(f"sandbox: this machine cannot give level L2: {_lack(machine)}")
    level = "L2" if machine.l2 and wish.level in ("auto", "L2") else "L1"
    if level == "L1" and wish.strangers and not wish.allow_weak:
        raise _strangers(f"at level L1, with your rights to files and network ({_lack(machine) or 'level L1 was asked for'})")
    return _settle(task, wish, level, machine)


def trust(task: Task, wish: Wish, executor: str) -> None:
    """For an executor without walls. Raises TaskError if the task needs some, ConsentError if the user has to agree to have none."""
    if task.command:
        raise TaskError(f"task {task.name!r} has a command, and whole programs do not run in the executor {executor}; use boxed")
    if task.needs:
        raise TaskError(f"task {task.name!r}: needs {', '.join(task.needs)}, which the executor {executor} does not give; use boxed")
    if wish.strangers and task.has_code and not wish.allow_weak:
        raise _strangers(f"without any walls (the executor {executor} was asked for)")


def beside(task: Task, wish: Wish, executor: str) -> str:
    """What is stamped on evaluations where only code parameters are boxed: the executor, and the level and walls of those boxes.

    Raises as ``choose`` does.
    """
    if task.trusted:
        return f"{executor}+L0"
    return f"{executor}+{choose(task, wish).text}" if task.has_code else executor


def _strangers(how: str) -> ConsentError:
    return ConsentError(f"sandbox: code from elsewhere would run {how}; give --allow-weak-sandbox to allow that")


def _whole_program(task: Task, wish: Wish) -> Sandbox:
    if wish.unsafe or wish.level != "auto":
        asked = "--unsafe" if wish.unsafe else f"level {wish.level}"
        fix = ", or write fork_free = true in the folder's agentopt.toml if its evaluator starts no processes" if task.self_judged else ""
        raise ConfigError(f"sandbox: {asked} was asked for, but a task with a command runs at level L3 only; leave it out{fix}")
    if why := probe_programs():
        raise TaskError(f"task {task.name!r} has a command: {why}")
    for key, words in (("command", task.command), ("build", task.build)):
        check_words(task.name, key, words, [path for path in task.sees if isinstance(path, str)])
    sees = seen_places(task.sees)
    processes = _ALONE if "no_processes" in task.needs else _PROCESSES
    programs = {"build": list(task.build), "command": list(task.command), "processes": processes}
    orders = _orders("L3") | {"programs": programs | {"sees": sees, "staged": _staged(task, sees)}}
    return Sandbox("L3", f"L3/bubblewrap+seccomp/{platform.system()} {platform.release()}", orders)


def _staged(task: Task, sees: Sequence[tuple[str, str]]) -> bool:
    """Whether the boxes, who are no root, are to see something that only root can reach. Raises TaskError if it cannot be shown to them."""
    closed = [folder for source, _ in sees if os.getuid() == 0 and (folder := _closed_to_others(source))]
    if closed and not may_mount():
        raise TaskError(
            f"task {task.name!r}: programs of root run as a user without rights, who cannot read {closed[0]}; move what they need to a "
            "folder that is open to others, or run as an ordinary user"
        )
    return bool(closed)


def _settle(task: Task, wish: Wish, level: Level, machine: Machine) -> Sandbox:
    lacking = sorted(set(task.needs) - PROVIDES[level])
    if lacking:
        fix = "leave out --unsafe" if wish.unsafe else _lack(machine) or "leave out the setting sandbox"
        raise TaskError(f"task {task.name!r}: needs {', '.join(lacking)}, which level {level} does not give ({fix})")
    walls: list[str] = []
    orders = _orders(level)
    if level == "L2":
        readable = readable_paths(task)
        namespaces = not machine.without_namespaces
        uid = None if namespaces or os.getuid() != 0 else _spare_uid(task, readable, machine.without_namespaces)
        orders |= {"namespaces": namespaces, "uid": uid, "readable": readable}
        walls = [f"landlock-{machine.landlock}", "seccomp", *(["namespaces"] if namespaces else []), *(["spare uid"] if uid else [])]
    return Sandbox(level, "/".join(part for part in (level, "+".join(walls), machine.kernel) if part), orders)


def _lack(machine: Machine) -> str:
    return machine.without_landlock or machine.without_seccomp


def _spare_uid(task: Task, readable: Sequence[str], why: str) -> int:
    """For root without namespaces: a user that owns nothing. It must still be able to read what boxes read."""
    for path in readable:
        if (closed := _closed_to_others(path)) is not None:
            raise TaskError(
                f"task {task.name!r}: boxes of root need a user namespace ({why}), or a user without rights who can read {path}; "
                f"{closed} is closed to others: move the Python environment, or run as an ordinary user"
            )
    return _SPARE_UID


def _closed_to_others(path: str) -> str | None:
    """The first folder on the way, or the path itself, that others may not enter or read."""
    for way in (*reversed(Path(path).parents), Path(path)):
        needed = (0o001 if way.is_dir() else 0) | (0o004 if way == Path(path) else 0)
        if way.stat().st_mode & needed != needed:
            return str(way)
    return None
