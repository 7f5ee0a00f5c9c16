"""A run in miniature around one optimizer: asks, made-up results, observations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Answer, ObservesRefusals, Optimizer, Refused, TaskCard, Wait
from agentopt.core.rng import stream
from agentopt.testing.fakes import FakeView, make_entry

__all__ = ["History", "plain"]


class History:
    """Drives ``optimizer`` as the engine would; every result follows from the candidate's id, so two equal histories have equal results.

    ``failing`` makes every n-th candidate fail; ``lag`` candidates stay pending before the oldest of them is told.
    """

    def __init__(self, task: TaskCard, optimizer: Optimizer, *, failing: int = 0, lag: int = 0) -> None:
        self.task = task
        self.optimizer = optimizer
        self.told: list[tuple[Entry, Admission]] = []
        self.answers: list[Answer] = []
        self.pending: list[Candidate] = []
        self.refused: dict[int, list[Refused]] = {}
        """By how many results had been told before."""
        self._failing = failing
        self._lag = lag
        self._known: dict[str, Entry] = {}
        values = {name: parameter.initial for name, parameter in task.parameters.items()}
        self._tell(Candidate.of(Proposal(values, operator="seed"), task.parameters))

    @property
    def view(self) -> FakeView:
        return FakeView(self.task, list(self._known.values()), tuple(self.pending))

    def rng(self, index: int) -> Random:
        return stream(7, "ask", index)

    async def ask(self, n: int = 1) -> Answer:
        """Ask once, take what is proposed and tell what is due."""
        answer = await self.optimizer.propose(self.view, n, self.rng(len(self.answers)))
        self.answers.append(answer)
        if isinstance(answer, Sequence):
            for proposal in answer:
                self._take(proposal)
        if isinstance(answer, Refused):
            self._refuse(answer)
        if isinstance(answer, Wait) and self.pending:
            self._tell(self.pending.pop(0))
        while len(self.pending) > self._lag:
            self._tell(self.pending.pop(0))
        return answer

    async def rounds(self, count: int, n: int = 1) -> None:
        for _ in range(count):
            await self.ask(n)

    def replayed(self, make: Callable[[], Optimizer]) -> Optimizer:
        """A fresh optimizer that has observed all that was told, as it comes back from a log: through JSON."""
        fresh = make()
        for index, (entry, admission) in enumerate(self.told):
            for refused in self.refused.get(index, ()):
                _tell_refusal(fresh, refused)
            candidate = entry.candidate
            values, memo = json.loads(json.dumps([dict(candidate.values), dict(candidate.memo)]))
            fresh.observe(replace(entry, candidate=replace(candidate, values=values, memo=memo)), admission)
        for refused in self.refused.get(len(self.told), ()):
            _tell_refusal(fresh, refused)
        return fresh

    def _refuse(self, refused: Refused) -> None:
        self.refused.setdefault(len(self.told), []).append(refused)
        _tell_refusal(self.optimizer, refused)

    def _take(self, proposal: Proposal) -> None:
        candidate = Candidate.of(proposal, self.task.parameters, 1)
        if candidate.id in self._known:
            self._observe(Entry(candidate, self._known[candidate.id].evaluation), Admission("duplicate"))
        elif any(candidate.id == other.id for other in self.pending):
            self._observe(Entry(candidate, None), Admission("duplicate"))
        else:
            self.pending.append(candidate)

    def _tell(self, candidate: Candidate) -> None:
        number = len(self._known)
        if number and self._failing and number % self._failing == self._failing - 1:
            entry, admission = make_entry(candidate, failure="crash"), Admission("failed")
        else:
            entry = make_entry(candidate, {o.name: _made_up(candidate.id, o.name) for o in self.task.objectives})
            better = not self._known or self._beats(entry)
            admission = Admission("admitted", gain=0.5) if better else Admission("dominated")
        self._known[candidate.id] = entry
        self._observe(entry, admission)

    def _observe(self, entry: Entry, admission: Admission) -> None:
        self.told.append((entry, admission))
        self.optimizer.observe(entry, admission)

    def _beats(self, entry: Entry) -> bool:
        first = self.task.objectives[0]
        return all(first.better(entry.scores[first.name], other.scores[first.name]) for other in self._known.values() if other.scores)


def _made_up(candidate_id: str, objective: str) -> float:
    digest = hashlib.sha256(f"{candidate_id}:{objective}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def _tell_refusal(optimizer: Optimizer, refused: Refused) -> None:
    if isinstance(optimizer, ObservesRefusals):
        optimizer.observe_refusal(Refused(refused.kind, json.loads(json.dumps(dict(refused.memo)))))


def plain(value: Any) -> str:
    """One spelling of an answer, for comparing."""
    return json.dumps(value, sort_keys=True, default=vars)
