"""What the task puts into the box: its functions by value, the folders its modules come from, its files."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agentopt.core.errors import TaskError
from agentopt.core.task import Case, Task

__all__ = ["box_files", "box_path", "pickle_for_box", "pickle_for_scorer", "trusted_path"]


def pickle_for_box(task: Task) -> bytes:
    """``(run, evaluate, warm)`` with just the globals they name. Raises TaskError if that would take a case or the task along."""

    def refuse(obj: Any) -> None:
        if isinstance(obj, Task | Case):
            word = "the task" if isinstance(obj, Task) else "a case"
            raise TaskError(
                f"task {task.name!r}: run uses {word} as a global, which would bring expected answers into the box; "
                "pass what it needs through the input"
            )

    return _dump(task, tuple(task.functions.get(name) for name in ("run", "evaluate", "warm")), "run", refuse)


def pickle_for_scorer(task: Task, value: Any) -> bytes:
    """For our own process outside the box: score and the cases. Raises TaskError."""
    return _dump(task, value, "score", lambda obj: None)


def _dump(task: Task, value: Any, word: str, look: Callable[[Any], None]) -> bytes:
    """``value`` with what the task's own modules define as code; ``look`` sees every object on its way and may refuse it."""
    cloudpickle: Any = importlib.import_module("cloudpickle")

    base: Any = cloudpickle.Pickler

    class Pickler(base):
        def reducer_override(self, obj: Any) -> Any:
            look(obj)
            return base.reducer_override(self, obj)

    buffer = io.BytesIO()
    try:
        with _by_value(task, cloudpickle):
            Pickler(buffer).dump(value)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"task {task.name!r}: {word} cannot be sent to another process: {type(error).__name__}: {error}") from error
    return buffer.getvalue()


@contextmanager
def _by_value(task: Task, cloudpickle: Any) -> Generator[None, None, None]:
    """Modules that cannot be imported elsewhere travel as code: the task file and what lies beside it."""
    names = {getattr(function, "__module__", None) for function in task.functions.values()}
    already = cloudpickle.list_registry_pickle_by_value()
    modules = [module for name, module in list(sys.modules.items()) if name in names or _is_beside(module, task.folder)]
    ours = [module for module in modules if module.__name__ not in already]
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in ours:
            cloudpickle.unregister_pickle_by_value(module)


def _is_beside(module: Any, folder: Path | None) -> bool:
    """Whether the module is a file in the task's own folder (not ours, not an installed package)."""
    file = getattr(module, "__file__", None)
    if folder is None or not file or module.__name__.partition(".")[0] in ("agentopt", "__main__"):
        return False
    return Path(file).parent == folder and sys.modules.get(module.__name__) is module


def trusted_path(task: Task) -> list[str]:
    """The import path of our own processes: the user's, and the task's folder, unless that is judged in the box."""
    return ([str(task.folder)] if task.folder and not task.self_judged else []) + [
        os.path.abspath(entry or os.getcwd()) for entry in sys.path
    ]


def box_path(task: Task) -> list[str]:
    """The folders from which the box imports: those of installed packages, and of the task's ``imports``.

    Never a folder that holds the task: its cases lie there.
    """
    wanted = [entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")]
    for name in ("cloudpickle", *task.imports):
        wanted += _roots(name.partition(".")[0])
    return list(dict.fromkeys(entry for entry in wanted if not _holds(entry, task.folder)))


def _roots(package: str) -> list[str]:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [os.path.dirname(os.path.abspath(location)) for location in spec.submodule_search_locations]
    return [os.path.dirname(os.path.abspath(spec.origin))] if spec.has_location and spec.origin else []


def _holds(entry: str, folder: Path | None) -> bool:
    return folder is not None and folder.resolve().is_relative_to(Path(entry).resolve())


def box_files(task: Task) -> list[str]:
    """Absolute paths. Raises TaskError for one that is missing or lies elsewhere."""
    if task.box_files and task.folder is None:
        raise TaskError(f"task {task.name!r}: box_files needs a task that lies in a folder")
    paths: list[str] = []
    for name in task.box_files:
        assert task.folder is not None
        path = (task.folder / name).resolve()
        if not path.exists() or not path.is_relative_to(task.folder.resolve()):
            raise TaskError(f"task {task.name!r}: box_files names {name!r}, which is not a file beside the task in {task.folder}")
        paths.append(str(path))
    return paths
