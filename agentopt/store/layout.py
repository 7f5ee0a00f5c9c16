"""The run folder: which files it holds, how it is named, found and written.

``run.db`` is the run; ``summary.json`` and ``best/`` are drawn from it for people and other programs; ``lock`` says who works on it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from agentopt.core.errors import StoreError

__all__ = [
    "BEST",
    "LOCK",
    "RUN_DB",
    "SUMMARY",
    "is_run_folder",
    "list_runs",
    "new_run_folder",
    "read_summary",
    "write_best",
    "write_summary",
]

RUN_DB = "run.db"
SUMMARY = "summary.json"
BEST = "best"
LOCK = "lock"


def new_run_folder(parent: Path, task_name: str) -> Path:
    """Make ``<parent>/<task>-YYYYMMDD-HHMMSS[-n]``; two callers in one second get two folders. Raises StoreError."""
    stem = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', task_name).strip('.-') or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
    with _explained(parent):
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder


def is_run_folder(folder: Path) -> bool:
    """Whether ``folder`` holds a run."""
    return (folder / RUN_DB).is_file()


def list_runs(parent: Path) -> list[Path]:
    """The run folders directly in ``parent``, the one begun last at the end."""
    with _explained(parent):
        runs = [folder for folder in parent.iterdir() if is_run_folder(folder)] if parent.is_dir() else []
    return sorted(runs, key=lambda folder: (_begun(folder.name), folder.name))


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Replace ``summary.json`` in one step: a reader sees the old or the new one, never half of one."""
    _replace(folder / SUMMARY, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def read_summary(folder: Path) -> dict[str, Any]:
    """``summary.json``. Raises StoreError when there is none or it is not JSON."""
    path = folder / SUMMARY
    with _explained(path):
        text = path.read_bytes()
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreError(f"{path} is not JSON; delete it and print it anew with: agentopt show {folder} --json") from error


def write_best(folder: Path, files: Mapping[str, str]) -> None:
    """Write ``best/<name>`` for every name (a relative path) in ``files``, each in one step. Raises StoreError."""
    for name, text in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.name:
            raise StoreError(f"{name!r} cannot be written under {folder / BEST}; use a relative path inside it")
        _replace(folder / BEST / relative, text.encode("utf-8", "surrogatepass"))


def _replace(path: Path, data: bytes) -> None:
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _begun(name: str) -> tuple[str, int]:
    """The time stamp in a run folder's name, then the number after it; a name without one sorts first."""
    match = re.search(r"-(\d{8}-\d{6})(?:-(\d+))?$", name)
    return (match[1], int(match[2] or 1)) if match else ("", 0)


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror}; check the path, its permissions and the space left") from error
