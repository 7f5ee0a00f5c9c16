"""The folder of a run: where it is made, what goes again if the input was bad, and what is written beside the log while it is at work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentopt import assembly
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.core.protocols import Store
from agentopt.core.task import Task
from agentopt.engine.plan import Observer
from agentopt.store import layout
from agentopt.store.memory import MemoryStore
from agentopt.store.sqlite import SqliteStore

__all__ = ["Place", "SummaryWriter", "new_store", "write_summary"]


@dataclass(frozen=True)
class Place:
    """Where a new run is written, and what has to go again if its input turns out bad."""

    folder: Path | None
    made: tuple[Path, ...] = ()

    @classmethod
    def choose(cls, task: Task, out: str | Path | None) -> Place:
        if out is None:
            return cls(None)
        parents = [Path("runs"), *Path("runs").absolute().parents] if not out else [Path(out), *Path(out).absolute().parents]
        made = tuple(parent for parent in parents if not parent.exists())
        return cls(Path(out), made) if out else cls(new := layout.new_run_folder(Path("runs"), task.name), (new, *made))

    def clear(self) -> None:
        """Bad input leaves nothing behind: the run's files go, and the folders made for it if they are empty."""
        if self.folder is None:
            return
        for name in (layout.RUN_DB, f"{layout.RUN_DB}-wal", f"{layout.RUN_DB}-shm", layout.SUMMARY, layout.LOCK):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / layout.BEST, ignore_errors=True)
        for folder in self.made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def new_store(folder: Path | None, first: Mapping[str, Any]) -> Store:
    """A log that begins with ``run_started``."""
    if folder:
        return SqliteStore.create(folder, ("run_started", first))
    store = MemoryStore()
    store.append("run_started", first)
    return store


class SummaryWriter:
    """Keeps summary.json and best/ up to date, at most once a second while the run goes on."""

    def __init__(self, folder: Path | None, store: Store, on_event: Observer | None) -> None:
        self.folder = folder
        self.begun = False
        """Whether the seed is scored: from here on there is something to lose."""
        self.paid = False
        """Whether more than the seed's score would be lost."""
        self._store, self._on_event = store, on_event
        self._written = 0.0
        self._best = ""

    def __call__(self, event: Event, state: RunState) -> None:
        self.begun = self.begun or bool(state.front)
        self.paid = self.paid or state.told > 1 or state.calls.replies > 0
        if self._on_event:
            self._on_event(event, state)
        if state.best_id != self._best and time.monotonic() - self._written > 1.0:
            self.write(state)

    def write(self, state: RunState) -> None:
        if self.folder:
            write_summary(self.folder, state, self._store)
        self._written, self._best = time.monotonic(), state.best_id


def write_summary(folder: Path, state: RunState, store: Store) -> None:
    layout.write_summary(folder, state.summary())
    if state.best_id:
        layout.write_best(folder, assembly.files_of(state, store))
