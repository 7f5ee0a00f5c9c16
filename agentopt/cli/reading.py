"""A run folder read for the commands that look at runs: its folded state, its candidates, and the words that name one."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentopt.core.errors import ConfigError, StoreError
from agentopt.core.evaluation import Entry
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.core.protocols import Store
from agentopt.core.task import SPLITS
from agentopt.engine.replay import read_entry
from agentopt.results import value_text
from agentopt.store.find import find_run
from agentopt.store.layout import LOCK
from agentopt.store.lock import holder
from agentopt.store.sqlite import SqliteStore

__all__ = ["RunLog", "Standing", "made_by", "open_log"]

_LISTED = 5


@dataclass(frozen=True)
class Standing:
    """How a run stands: ``word`` is its status, or ``cut off`` for one that nobody works on although it never stopped."""

    word: str
    why: str

    @property
    def can_go_on(self) -> bool:
        return self.word in ("cut off", "interrupted", "failed")


class RunLog:
    """A log, walked once and checked on the way. Raises StoreError where it is damaged or empty."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self.state = RunState()
        self.ids: list[str] = []
        """Every candidate, oldest first."""
        self.asks: dict[int, Event] = {}
        """The ask with each index; one that was cut off is asked again, and the last one was answered."""
        self.notes: list[Mapping[str, Any]] = []
        for event in store.read():
            self.state.apply(event)
            if event.kind == "proposed" and not event.data.get("duplicate"):
                self.ids.append(event.data["candidate"])
            elif event.kind == "asked":
                self.asks[event.data["index"]] = event
            elif event.kind == "note":
                self.notes.append(event.data)
        if not self.state.info:
            raise StoreError(f"{folder}: the run ended before it began; start it again with agentopt evolve")

    @property
    def task(self) -> Mapping[str, Any]:
        return self.state.info["task"]

    @property
    def cases(self) -> Mapping[str, int]:
        """Cases per split, train first; a split without cases is absent."""
        sizes = self.task.get("cases", {})
        return {split: sizes[split] for split in SPLITS if split in sizes}

    def standing(self) -> Standing:
        """A log alone cannot tell a run at work from one that was killed; the lock can."""
        state = self.state
        if state.status != "running":
            return Standing(state.status, state.why)
        process = holder(self.folder / LOCK)
        if process:
            return Standing("running", f"process {process} works on it")
        return Standing("cut off", "no process works on it any more, and it has not come to its end")

    def resolve(self, word: str) -> str:
        """The id that ``best``, ``seed``, an id or the beginning of one stands for. Raises ConfigError."""
        state = self.state
        named = {"best": state.best_id, "seed": state.seed_id}.get(word)
        if named:
            return named
        if named is not None:
            raise ConfigError(f"{self.folder}: the run has no {word} yet; wait until its seed is scored")
        wanted = word.strip().lower()
        matches = [wanted] if wanted in self.ids else [key for key in self.ids if wanted and key.startswith(wanted)]
        if len(matches) == 1:
            return matches[0]
        shown = repr(word if len(word) <= 40 else f"{word[:40]}...")
        if matches:
            some = ", ".join(matches[:_LISTED]) + (f" and {len(matches) - _LISTED} more" if len(matches) > _LISTED else "")
            raise ConfigError(f"{shown} is the beginning of {len(matches)} candidates: {some}; give more of the id")
        raise ConfigError(
            f"{self.folder}: there is no candidate {shown}; write best, seed or an id, as `agentopt show {self.folder}` lists them"
        )

    def events(self, key: str) -> list[Event]:
        """Everything that was logged about one candidate, in order."""
        return list(self.store.read(subject=key))

    def born(self, key: str) -> Mapping[str, Any]:
        """The ``proposed`` event's data, with which the story of every candidate begins."""
        return next(iter(self.store.read(subject=key))).data

    def entry(self, key: str) -> Entry:
        """One candidate with its evaluation. Raises StoreError for an id the log does not hold."""
        entry = read_entry(self.store.read(subject=key), self.store.get)
        if entry is None:
            raise StoreError(f"{self.folder}: the log holds no candidate {key}")
        return entry

    def files(self, entry: Entry) -> dict[str, str]:
        """File name -> text per parameter, as in ``best/``."""
        names = {parameter["name"]: parameter["file"] for parameter in self.task.get("parameters", ())}
        return {names.get(name, name): value_text(value) for name, value in entry.candidate.values.items()}

    def test_scores(self, key: str) -> Mapping[str, float]:
        """Empty unless the candidate was scored on test."""
        return self.state.test.get(key, {}).get("splits", {}).get("test", {}).get("scores", {})


@contextmanager
def open_log(run: Path) -> Generator[RunLog]:
    """The run that ``run`` names on the command line, read only; it may be at work. Raises StoreError."""
    folder = find_run(run)
    with SqliteStore.open(folder, read_only=True) as store:
        yield RunLog(folder, store)


def made_by(data: Mapping[str, Any]) -> str:
    """``optimizer/operator`` of a ``proposed`` event."""
    return "/".join(part for part in (data.get("optimizer"), data.get("operator")) if part) or "-"
