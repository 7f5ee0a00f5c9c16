"""``agentopt.toml``: any program that a command judges which prints JSON."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from agentopt.adapters.plan import Plan, read_text
from agentopt.core.errors import ConfigError, TaskError
from agentopt.core.task import Limits, Measure
from agentopt.settings import read_toml

__all__ = ["FILE", "is_fork_free", "read"]

FILE = "agentopt.toml"
_KEYS = ("command", "program", "goal", "name", "budget", "fork_free", "objectives", "measures", "limits")
_EXAMPLE = 'command = "python judge.py {program}"'


def read(folder: Path) -> Plan | None:
    """Raises TaskError that names the file and the key."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        data = read_toml(path)
    except ConfigError as error:
        raise TaskError(str(error)) from None
    if [*data] == ["fork_free"]:
        return None  # a word on a folder of another form
    if unknown := sorted(set(data) - {*_KEYS}):
        raise TaskError(f"{path}: the key {unknown[0]!r} is unknown; the keys are: {', '.join(_KEYS)}")
    words = _words(path, data.get("command"))
    files = _files(path, data.get("program"))
    plan = Plan(folder, "json", FILE, {file: read_text(folder / file) for file in files}, words=words)
    plan.in_place = len(files) > 1 or not any("{program}" in word for word in words)
    plan.goal, plan.name = _text(path, data, "goal"), _text(path, data, "name")
    plan.budget = _text(path, data, "budget") or None
    plan.fork_free = data.get("fork_free", False)
    if not isinstance(plan.fork_free, bool) or (
        plan.fork_free and not (len(words) > 1 and words[0] == "{python}" and (folder / words[1]).is_file())
    ):
        raise TaskError(f"{path}: fork_free is {plan.fork_free!r}; it is true or false, and true only where command is python and a script")
    plan.objectives = _objectives(path, data.get("objectives", {"score": "max"}))
    plan.measures = _measures(path, data.get("measures", {}))
    _limits(path, plan, data.get("limits", {}))
    return plan


def is_fork_free(folder: Path) -> bool:
    """Whether the folder's file says that its evaluator starts no processes."""
    path = folder / FILE
    return path.is_file() and read_toml(path).get("fork_free") is True


def _words(path: Path, value: Any) -> list[str]:
    words = shlex.split(value) if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in cast("list[Any]", words)):
        raise TaskError(f"{path}: command is {value!r}; write for example {_EXAMPLE}")
    found = cast("list[str]", words)
    return ["{python}" if found[0] in ("python", "python3") else found[0], *found[1:]]


def _files(path: Path, value: Any) -> list[str]:
    files = [value] if isinstance(value, str) else value
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in cast("list[Any]", files)):
        raise TaskError(f"{path}: program is {value!r}; name the file, or the list of files, that may be changed")
    for file in cast("list[str]", files):
        if not (path.parent / file).is_file() or not (path.parent / file).resolve().is_relative_to(path.parent.resolve()):
            raise TaskError(f"{path}: program names {file!r}, which is no file in the folder")
    return [str(Path(file)) for file in cast("list[str]", files)]


def _text(path: Path, data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise TaskError(f"{path}: {key} is {value!r}; it is a text")
    return value


def _objectives(path: Path, value: Any) -> dict[str, str]:
    named = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if not named or any(direction not in ("min", "max") for direction in named.values()):
        raise TaskError(f"{path}: objectives is {value!r}; write a table like objectives = {{ score = 'max', seconds = 'min' }}")
    return named


def _measures(path: Path, value: Any) -> list[Measure]:
    found: list[Measure] = []
    named = cast("dict[str, Any]", value) if isinstance(value, dict) else {"measures": value}
    for name, given in named.items():
        bounds: list[Any] = cast("list[Any]", given) if isinstance(given, list) else []
        if [isinstance(bound, int | float) for bound in bounds] != [True, True]:
            raise TaskError(f"{path}: measures.{name} is {given!r}; write its lowest and highest value: {name} = [0, 100]")
        found.append(Measure(name, float(bounds[0]), float(bounds[1])))
    return found


def _limits(path: Path, plan: Plan, value: Any) -> None:
    known = Limits.__dataclass_fields__
    for key, number in (cast("dict[str, Any]", value) if isinstance(value, dict) else {"limits": value}).items():
        if key not in known or isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
            raise TaskError(f"{path}: limits.{key} is {number!r}; the limits are numbers above 0: {', '.join(known)}")
        plan.limits[key] = float(number)
