"""Third-party parts in miniature: one of each seam that keeps its contract, to be broken on purpose by subclassing."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.errors import StoreError
from agentopt.core.evaluation import Admission, Entry, Failure, FailureKind, Measured, Rollout
from agentopt.core.events import EVENT_KINDS, GENESIS, Event, chain_digest, encode_data
from agentopt.core.protocols import Answer, ArchiveContext, ExecutorContext, OptimizerContext, View


class ToyOptimizer:
    """Jitters the config; its step grows with the failures it saw."""

    def __init__(self, context: OptimizerContext) -> None:
        self.context = context
        self.failures = 0

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        made: list[Proposal] = []
        for _ in range(n):
            parent = view.sample(1, rng)[0]
            start = {name: value + rng.gauss(0, 0.1 + self.failures) for name, value in parent.candidate.values["start"].items()}
            memo = {"step": self.failures}
            made.append(Proposal({**parent.candidate.values, "start": start}, (parent.id,), "toy", "jitter", memo=memo))
        return made

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.failures += admission.status == "failed"


class ToyArchive:
    """Every entry ever, the front found by comparing all pairs."""

    def __init__(self, context: ArchiveContext) -> None:
        self.objectives = context.objectives
        self.entries: dict[str, Entry] = {}
        self.members: list[Entry] = []

    def admits(self, entry: Entry) -> bool:
        return entry.id not in self.entries and self.complete(entry) and not any(self.covers(m.scores, entry.scores) for m in self.members)

    def add(self, entry: Entry) -> Admission:
        if entry.id in self.entries or entry.evaluation is None:
            return Admission("duplicate")
        if entry.failure:
            return Admission("failed")
        if not self.complete(entry):
            return Admission("infeasible")
        self.entries[entry.id] = entry
        confirmed = any("validation" in m.evaluation.splits for m in self.members if m.evaluation)
        if any(self.covers(m.confirmed, entry.confirmed) for m in self.members) or (
            confirmed and "validation" not in entry.evaluation.splits
        ):
            return Admission("dominated")
        lost = [m for m in self.members if self.covers(entry.confirmed, m.confirmed)]
        self.members = [*(m for m in self.members if m not in lost), entry]
        return Admission("admitted", tuple(m.id for m in lost), 1.0 * len(lost))

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        held = list(self.entries.values())
        return [rng.choice(held) for _ in range(n)] if held else []

    def front(self) -> Sequence[Entry]:
        return list(self.members)

    def get(self, candidate_id: str) -> Entry | None:
        return self.entries.get(candidate_id)

    def complete(self, entry: Entry) -> bool:
        return all(math.isfinite(entry.scores.get(o.name, math.nan)) for o in self.objectives)

    def covers(self, a: Mapping[str, float], b: Mapping[str, float]) -> bool:
        return all(not o.better(b[o.name], a[o.name]) for o in self.objectives)


def is_confirmed(entry: Entry) -> bool:
    return entry.evaluation is not None and "validation" in entry.evaluation.splits


class ToyExecutor:
    """Runs everything right here."""

    sandbox = "L0"

    def __init__(self, context: ExecutorContext) -> None:
        self.context = context
        self.capacity = context.capacity

    async def open(self, candidate: Candidate) -> ToySession:
        return ToySession(self.context, candidate)

    async def close(self) -> None:
        pass


class ToySession:
    def __init__(self, context: ExecutorContext, candidate: Candidate) -> None:
        self.context = context
        self.candidate = candidate

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        split, case = next((split, case) for split, cases in self.context.cases.items() for case in cases if case.id == case_id)
        begin = time.perf_counter()
        state = random.getstate()
        random.seed(rng_seed)
        kind, result = self.solve(case, rng_seed)
        random.setstate(state)
        failure = Failure(kind, str(result)) if kind else None
        scored: dict[str, Any] = {} if kind else {"scores": result.scores, "feedback": result.feedback}
        measured = Measured(time.perf_counter() - begin)
        return Rollout(case_id, split, repeat, rng_seed, failure=failure, measured=measured, **scored)

    def solve(self, case: Any, rng_seed: int) -> tuple[FailureKind | None, Any]:
        functions = self.context.task.functions
        space: dict[str, Any] = {}
        try:
            exec(self.candidate.values["shrink"], space)
            program = SimpleNamespace(start=self.candidate.values["start"], shrink=space["shrink"])
        except SyntaxError as error:
            return "syntax", error
        except KeyError as error:
            return "build", error
        try:
            output = functions["run"](program, case.input)
        except Exception as error:
            return "crash", error
        try:
            score = functions["score"](case, output, Measured(rng_seed=rng_seed))
        except Exception as error:
            return "wrong", error
        return (None if all(map(math.isfinite, score.scores.values())) else "nonfinite"), score

    async def close(self) -> None:
        pass


class ToyStore:
    """A text file, read as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def append(self, kind: str, data: Mapping[str, Any]) -> Event:
        if kind not in EVENT_KINDS:
            raise ValueError(kind)
        text = encode_data(data)
        events = list(self.read())
        previous = events[-1].digest if events else GENESIS
        seq, now = len(events) + 1, time.time()
        digest = chain_digest(previous, seq, now, kind, text)
        self._write(["event", seq, now, kind, text, digest.hex()])
        return Event(seq, now, kind, json.loads(text), digest)

    def read(self, after: int = 0, subject: str | None = None) -> Iterator[Event]:
        rows = [row[1:] for row in self._rows() if row[0] == "event"]
        events = [Event(seq, at, kind, json.loads(text), bytes.fromhex(digest)) for seq, at, kind, text, digest in rows]
        return (event for event in events if event.seq > after and subject in (None, event.subject))

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._write(["blob", digest, data.hex()])
        return digest

    def get(self, digest: str) -> bytes:
        for row in self._rows():
            if row[:2] == ["blob", digest]:
                return bytes.fromhex(row[2])
        raise StoreError(f"nothing has the digest {digest}")

    def close(self) -> None:
        pass

    def _rows(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def _write(self, row: list[Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
