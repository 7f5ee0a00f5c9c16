"""TASK on the command line -> a complete Task: a file, a folder, ``module:attr``, ``file.py:attr`` or a bundled name."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from agentopt.core import wire
from agentopt.core.errors import TaskError
from agentopt.core.task import Cases, Kind, Parameter, Task

__all__ = ["bundled_root", "bundled_tasks", "complete", "fingerprint", "load_task", "load_task_file", "make_cases"]

_GROUP = "agentopt.loaders"
_FILE_KINDS: dict[str, Kind] = {".py": "code", ".txt": "prompt", ".md": "prompt"}


def bundled_root(room: str) -> Path:
    """Where tasks/, evaluators/ or prompts/ lie: inside the installed package, or at the root of the checkout."""
    package = Path(__file__).parent
    installed = package / "_bundled" / room
    return installed if installed.is_dir() else package.parent / room


def bundled_tasks() -> dict[str, Path]:
    """name -> task file of every bundled task."""
    return {path.parent.name: path for path in sorted(bundled_root("tasks").glob("*/task.py"))}


def load_task(spec: str | Path) -> Task:
    """The complete task that ``spec`` names. Raises TaskError with the fix."""
    text = str(spec)
    path = Path(text)
    if path.exists():
        return _load_path(path)
    before, colon, attribute = text.rpartition(":")
    if colon and Path(before).is_file():
        return load_task_file(Path(before), attribute)
    if colon and before.replace(".", "").isidentifier():
        return _load_attribute(before, attribute)
    bundled = bundled_root("tasks") / text
    for candidate in (bundled / "task.py", bundled.with_suffix(".py")):
        if candidate.is_file():
            return load_task_file(candidate)
    raise TaskError(f"{text}: no such file, folder or bundled task; the bundled tasks are {', '.join(bundled_tasks())}")


def _load_path(path: Path) -> Task:
    file = path / "task.py" if path.is_dir() else path
    ours = file.is_file() and file.suffix == ".py"
    if ours and (not path.is_dir() or "agentopt" in _read(file)):
        return load_task_file(file)
    for point in _loaders():
        if (task := point.load()(path)) is not None:
            return complete(task)
    if ours:
        return load_task_file(file)
    what = "the folder has no task.py, and is none that docs/adapters.md describes" if path.is_dir() else "not a Python file"
    raise TaskError(f"{path}: {what}; give a task.py, a folder with one, module:attr or a bundled name")


def _loaders() -> list[EntryPoint]:
    """What reads folders that are no task of ours. Our own is among them also where the installed metadata is older than the code."""
    found = {point.name: point for point in entry_points(group=_GROUP)}
    found["folder"] = EntryPoint("folder", "agentopt.adapters.folders:load", _GROUP)
    return [point for name, point in found.items() if name != "task"]


def _load_attribute(module_name: str, attribute: str) -> Task:
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise TaskError(f"{module_name}:{attribute}: the module cannot be imported ({error})") from None
    return _task_of(module, attribute, f"{module_name}:{attribute}")


def load_task_file(path: Path, attribute: str = "task") -> Task:
    """The Task object ``attribute`` of a Python file, completed with what lies beside it."""
    path = path.resolve()
    name = f"agentopt_task_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{path}: not a Python file; give a task.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        lines = "".join(traceback.format_exception(error, limit=-3)).strip()
        raise TaskError(f"{path}: the task file cannot be imported: {type(error).__name__}: {error}\n{lines}") from None
    return _task_of(module, attribute, str(path))


def _task_of(module: ModuleType, attribute: str, where: str) -> Task:
    task: Any = getattr(module, attribute, None)
    if task is None:
        raise TaskError(f"{where}: there is no {attribute!r} in it; write task = agentopt.Task(...)")
    if not isinstance(task, Task):
        raise TaskError(f"{where}: {attribute} is a {type(task).__name__}; it must be an agentopt.Task")
    if module.__file__ and task.folder is None:
        task.folder = Path(module.__file__).resolve().parent
    try:
        return complete(task)
    except TaskError as error:
        raise TaskError(f"{where}: {error}") from None


def complete(task: Task) -> Task:
    """Turn every parameter into a Parameter object and check the task. May be called again."""
    if isinstance(task.parameters, dict | tuple | list) and not isinstance(task.parameters, dict):
        raise TaskError(f"task {task.name!r}: parameters is a {type(task.parameters).__name__}; give a mapping of name to file")
    task.parameters = {name: _parameter(task, name, value) for name, value in task.parameters.items()}
    task.check()
    for name in task.box_files:
        if task.folder is None or not (task.folder / name).exists():
            raise TaskError(f"task {task.name!r}: box_files names {name!r}, which is not beside the task")
    return task


def _parameter(task: Task, name: str, value: Any) -> Parameter:
    if isinstance(value, Parameter):
        kind, initial = value.kind, value.initial
        if isinstance(initial, str) and kind in ("code", "prompt") and (file := _beside(task, initial)):
            task.files[name] = initial
            initial = _read(file)
        return replace(value, name=name, entry=name if value.entry == value.name else value.entry, initial=initial)
    if isinstance(value, bool | int | float):
        return Parameter(name, "value", value)
    if isinstance(value, dict):
        return Parameter(name, "config", value)
    if not isinstance(value, str):
        raise TaskError(
            f"task {task.name!r}: parameter {name!r} is a {type(value).__name__}; give a file name, text, a number, a dict or a Parameter"
        )
    if file := _beside(task, value):
        task.files[name] = value
        if file.suffix == ".json":
            return Parameter(name, "config", json.loads(_read(file)))
        return Parameter(name, _FILE_KINDS.get(file.suffix, "prompt"), _read(file))
    if "\n" not in value and Path(value).suffix in {*_FILE_KINDS, ".json"}:
        raise TaskError(
            f"task {task.name!r}: parameter {name!r} names {value!r}, which is not beside the task; create it or give the text itself"
        )
    return Parameter(name, "code" if _is_code(value) else "prompt", value)


def _beside(task: Task, text: str) -> Path | None:
    if "\n" in text or len(text) > 255 or not text:
        return None
    file = (task.folder or Path.cwd()) / text
    return file if file.is_file() else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{file}: cannot be read as UTF-8 text: {error}") from None


def _is_code(text: str) -> bool:
    """Source text defines something; a prompt does not parse or defines nothing."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign) for node in tree.body)


def make_cases(task: Task) -> Cases:
    """The task's cases; an exception in its ``cases`` function becomes a TaskError with the traceback."""
    try:
        with _importable(task.folder):
            return task.make_cases()
    except TaskError:
        raise
    except Exception as error:
        lines = "".join(traceback.format_exception(error, limit=-3)).strip()
        raise TaskError(f"task {task.name!r}: its cases function failed: {type(error).__name__}: {error}\n{lines}") from None


def fingerprint(task: Task, cases: Cases) -> str:
    """Changes when the task's file, parameters, objectives or cases change: runs with unlike ones are not comparable."""
    digest = hashlib.sha256()
    for function in task.functions.values():
        file = Path(getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", ""))
        digest.update(file.read_bytes() if file.is_file() else b"")
    for name in task.box_files:
        file = (task.folder or Path()).joinpath(name)
        digest.update(file.read_bytes() if file.is_file() else b"")
    described: list[Any] = [
        task.name,
        [(p.name, p.kind, p.initial, p.entry, p.path) for p in task.resolved.values()],
        [(o.name, o.direction, o.source, o.floor, o.ceiling) for o in task.objectives],
        [(split, [case.id for case in members]) for split, members in cases.items()],
    ]
    if task.command:
        described.append([("build", [*task.build]), ("command", [*task.command])])
    if task.sees:
        described.append([("sees", [repr(seen) for seen in task.sees])])
    if kept := [(p.name, p.constraint, p.project is not None) for p in task.resolved.values() if p.constraint or p.project]:
        described.append([("kept to", kept)])
    for members in cases.values():
        for case in members:
            digest.update(_bytes_of(case.input) + _bytes_of(case.expected))
    digest.update(json.dumps(described, sort_keys=True, default=repr).encode())
    return digest.hexdigest()[:16]


def _bytes_of(value: Any) -> bytes:
    try:
        return wire.encode(value)
    except wire.WireError:
        return repr(value).encode(errors="backslashreplace")


@contextmanager
def _importable(folder: Path | None) -> Generator[None]:
    """Files beside the task can be imported by it, as when a script is run."""
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
