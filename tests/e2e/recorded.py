"""Runs with real language models, kept whole: what the models replied and what came of each rollout.

Programs that search until their time is up score otherwise on every machine, and scores stand in the prompts. So a run is played again with
the rollouts that were: every decision of the optimizer has to be the same, or its next request is in no cassette.

    python -m tests.e2e.recorded RUN CASSETTE NAME      keeps a run folder and its cassette as tests/recordings/NAME.*
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import agentopt
from agentopt import Result
from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Rollout
from agentopt.core.events import Event
from agentopt.core.protocols import ExecutorContext
from agentopt.store.sqlite import SqliteStore

__all__ = ["RECORDINGS", "RUNS", "Recorded", "play", "rows"]

RECORDINGS = Path(__file__).parents[1] / "recordings"
_REEVO = {"name": "reevo", "options": {"init_pop_size": 8, "pop_size": 5, "mutation_rate": 0.4}}
RUNS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    f"{optimizer['name']}_{task}": (task, optimizer)
    for task in ("circle_packing", "heilbronn", "signal_filter")
    for optimizer in (_REEVO, {"name": "evolve"}, {"name": "auto"})
}
"""Task and optimizer by name."""
_BUDGET = "30calls,90evals"
_MORE = {"auto_heilbronn": "8calls,24evals"}
"""What runs whose evaluations were spent before their calls were taken up with."""


class Recorded:
    """An executor that gives the rollouts of ``file``; for a candidate or a rollout that is not in it, KeyError."""

    file: ClassVar[Path]
    sandbox = "recorded"

    def __init__(self, context: ExecutorContext) -> None:
        self.capacity = context.capacity
        self._put = context.put
        self._rollouts: dict[tuple[str, str, int], Mapping[str, Any]] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["kind"] == "rollout":
                self._rollouts[row["candidate"], row["case"], row["repeat"]] = row

    async def open(self, candidate: Candidate) -> _Session:
        return _Session(self, candidate.id)

    async def close(self) -> None: ...

    def give(self, candidate: str, case: str, repeat: int, rng_seed: int) -> Rollout:
        row = self._rollouts[candidate, case, repeat]
        rollout = Rollout.from_json(row)
        assert rollout.rng_seed == rng_seed
        texts: Mapping[str, str] = row["texts"]
        printed = self._put(texts["printed"].encode()) if "printed" in texts else ""
        artifacts = {name: self._put(texts[name].encode()) for name in rollout.artifacts}
        return replace(rollout, printed=printed, artifacts=artifacts)


class _Session:
    def __init__(self, recorded: Recorded, candidate: str) -> None:
        self._recorded, self._candidate = recorded, candidate

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        return self._recorded.give(self._candidate, case_id, repeat, rng_seed)

    async def close(self) -> None: ...


def play(name: str, folder: Path, on_event: Callable[[Event, Any], None] | None = None) -> Result:
    """The run of that name once more, in ``folder``. Its model refuses what it was not asked then, and the run fails."""
    task, optimizer = RUNS[name]
    Recorded.file = RECORDINGS / f"{name}.run.jsonl"
    settings: dict[str, Any] = {"model": f"replay:{RECORDINGS / f'{name}.jsonl'}", "executor": "tests.e2e.recorded:Recorded"}
    found = agentopt.evolve(task, optimizer=optimizer, budget=_BUDGET, workers=1, rng_seed=1, out=folder, on_event=on_event, **settings)
    return agentopt.resume(folder, budget=_MORE[name], on_event=on_event) if name in _MORE else found


def rows(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """What was proposed or refused, after how many replies, and the scores that followed."""
    replies = 0
    for event in events:
        data = event.data
        replies += event.kind == "llm_reply"
        if event.kind == "proposed":
            by = f"{data['optimizer']}/{data['operator']}"
            yield {"kind": "proposed", "candidate": data["candidate"], "by": by, "parents": data["parents"], "replies": replies}
        elif event.kind == "evaluated" and data["stage"] == "train":
            scores = data["failure"]["kind"] if "failure" in data else data["splits"]["train"]["scores"]
            yield {"kind": "evaluated", "candidate": data["candidate"], "scores": scores}
        elif event.kind == "note" and data["kind"] == "refused":
            yield {"kind": "refused", "text": data["text"], "replies": replies}


def _rollouts(store: SqliteStore) -> Iterator[dict[str, Any]]:
    for event in store.read():
        if event.kind == "rollout":
            digests = {**event.data.get("artifacts", {}), **({"printed": event.data["printed"]} if "printed" in event.data else {})}
            texts = {name: store.get(digest).decode(errors="replace") for name, digest in digests.items()}
            yield {"kind": "rollout", **event.data, "texts": texts}


def keep(run: Path, cassette: Path, name: str) -> None:
    """The requests are left out: they follow from the rest."""
    store = SqliteStore.open(run, read_only=True)
    lines = [*rows(store.read()), *_rollouts(store)]
    store.close()
    (RECORDINGS / f"{name}.run.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    tape = [json.loads(line) for line in cassette.read_text(encoding="utf-8").splitlines()]
    kept = [{"key": row["key"], "reply": {**row["reply"], "model": "a model behind a relay"}} for row in tape]
    (RECORDINGS / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
