"""The log -> a live archive and optimizer again, and the work that was left open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation, Failure, Provisional, Rollout
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.core.protocols import ObservesRefusals, RankingArchive, Refused
from agentopt.engine.known import Known
from agentopt.engine.opened import Open, open_candidate, place, rescored
from agentopt.engine.plan import Parts

__all__ = ["Replay", "read_entry", "told"]


class Replay:
    """Feeds events to the state, the archive and the optimizer exactly as the run did."""

    def __init__(self, parts: Parts, state: RunState, known: Known) -> None:
        self.open: dict[str, Open] = {}
        self.duplicates: dict[int, Open] = {}
        self.test: dict[str, list[Rollout]] = {}
        self.last_asked: tuple[int, int] | None = None
        self.tickets = 0
        self._parts, self._state, self._known = parts, state, known

    def feed(self, event: Event) -> None:
        self._state.apply(event)
        handler: Callable[[Event], None] | None = getattr(self, f"_on_{event.kind}", None)
        if handler:
            handler(event)

    def _on_asked(self, event: Event) -> None:
        self.last_asked = (event.data["index"], event.data["seen"])

    def _on_proposed(self, event: Event) -> None:
        candidate = decode_candidate(event.data, self._parts.store.get)
        ticket = event.data["ticket"]
        self.tickets = ticket + 1
        if event.data.get("duplicate"):
            self.duplicates[ticket] = Open(candidate, ticket)
        else:
            self.open[candidate.id] = opened = self._open(candidate, ticket)
            opened.refused = event.data.get("refused", "")
            self._known.start(candidate)

    def _open(self, candidate: Candidate, ticket: int) -> Open:
        parts = self._parts
        return open_candidate(candidate, ticket, self._state, self._known, parts.archive, parts.schedule.rules)

    def _on_rollout(self, event: Event) -> None:
        rollout = Rollout.from_json(event.data)
        if event.data.get("for", event.data["candidate"]) != event.data["candidate"]:
            self.open[event.data["for"]].lent += 1
        elif rollout.split == "test":
            self.test.setdefault(event.data["candidate"], []).append(rollout)
        else:
            self.open[event.data["candidate"]].rollouts.append(rollout)

    def _on_evaluated(self, event: Event) -> None:
        if event.data["stage"] == "train":
            opened = self.open[event.data["candidate"]]
            opened.evaluated = True
            opened.note(event.data)

    def _on_confirmed(self, event: Event) -> None:
        key = event.data["candidate"]
        if "for" not in event.data:
            self.open[key].confirmed = True
            self.open[key].note(event.data)
            return
        archive = cast("RankingArchive", self._parts.archive)
        entry = archive.get(key)
        assert entry
        archive.rescore(rescored(entry, event.data["splits"]))

    def _on_note(self, event: Event) -> None:
        optimizer = self._parts.optimizer
        if event.data["kind"] == "refused" and isinstance(optimizer, ObservesRefusals):
            optimizer.observe_refusal(Refused(event.data["text"], event.data["memo"]))

    def _on_admitted(self, event: Event) -> None:
        data = event.data
        admission = Admission(data["status"], tuple(data["displaced"]), data["gain"])
        if data["ticket"] in self.duplicates:
            candidate = self.duplicates.pop(data["ticket"]).candidate
            entry = Entry(candidate, self._known.evaluation(candidate.id))
        else:
            opened = self.open.pop(data["candidate"])
            opened.provisional = Provisional.from_json(data.get("provisional"))
            entry = told(self._parts, self._known, opened, self._state.told - 1)
            if not opened.same_as:
                place(self._parts.archive, entry, opened.duel)
        self._parts.optimizer.observe(entry, admission)


def told(parts: Parts, known: Known, opened: Open, number: int) -> Entry:
    """The entry of a candidate that is told as number ``number`` of the run (from 0), remembered by ``known``."""
    entry = opened.entry(parts.executor.sandbox)
    known.settle(entry, full=sum(parts.schedule.is_search(rollout) for rollout in opened.rollouts) == parts.schedule.size("train"))
    answers = parts.schedule.answers(opened.rollouts)
    if answers and not opened.same_as and not opened.failure:
        known.remember(opened.candidate.id, answers, number)
    return entry


def encode_candidate(candidate: Candidate, put: Callable[[bytes], str]) -> dict[str, Any]:
    """The ``proposed`` event's share of a candidate; the values go into one blob."""
    return {
        "candidate": candidate.id,
        "values": put(json.dumps(dict(candidate.values), sort_keys=True).encode()),
        "parents": list(candidate.parents),
        "optimizer": candidate.optimizer,
        "operator": candidate.operator,
        "rationale": candidate.rationale,
        "generation": candidate.generation,
        "memo": dict(candidate.memo),
    }


def decode_candidate(data: Mapping[str, Any], get: Callable[[str], bytes]) -> Candidate:
    """The inverse of ``encode_candidate``."""
    return Candidate(
        id=data["candidate"],
        values=json.loads(get(data["values"])),
        parents=tuple(data["parents"]),
        optimizer=data["optimizer"],
        operator=data["operator"],
        rationale=data["rationale"],
        generation=data["generation"],
        memo=data["memo"],
    )


def read_entry(events: Iterable[Event], get: Callable[[str], bytes]) -> Entry | None:
    """One candidate from the events about it; None if it was never proposed. Test rollouts are left out."""
    candidate: Candidate | None = None
    rollouts: list[Rollout] = []
    splits: dict[str, Aggregate] = {}
    failure: Failure | None = None
    sandbox = ""
    provisional: Provisional | None = None
    for event in events:
        if event.kind == "proposed" and not event.data.get("duplicate"):
            candidate = decode_candidate(event.data, get)
        elif event.kind == "rollout" and event.data["split"] != "test":
            rollouts.append(Rollout.from_json(event.data))
        elif event.kind in ("evaluated", "confirmed") and event.data.get("stage") != "test":
            splits |= {split: Aggregate.from_json(data) for split, data in event.data["splits"].items()}
            failure = Failure.from_json(event.data["failure"]) if "failure" in event.data else None
            sandbox = event.data.get("sandbox", sandbox)
            provisional = Provisional.from_json(event.data.get("provisional"))
        elif event.kind == "admitted" and event.data["status"] != "duplicate":
            provisional = Provisional.from_json(event.data.get("provisional"))
    if candidate is None:
        return None
    return Entry(candidate, Evaluation(candidate.id, tuple(rollouts), {} if failure else splits, failure, sandbox, provisional))
