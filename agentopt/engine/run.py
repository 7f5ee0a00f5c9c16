"""A run at work: its log, what is folded from it, and what is in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

from agentopt.core.budget import Ledger
from agentopt.core.evaluation import Admission, Entry, Provisional, Rollout
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.core.protocols import Store
from agentopt.engine.arena import Arena
from agentopt.engine.known import Known
from agentopt.engine.opened import Open
from agentopt.engine.order import Order
from agentopt.engine.plan import Observer, Parts, Plan
from agentopt.engine.purse import Purse
from agentopt.engine.replay import Replay, read_entry

__all__ = ["Run"]


class Run:
    """Shared by the loop, the journeys and the stop rules. ``append`` is the only way anything happens."""

    def __init__(self, parts: Parts, plan: Plan, observer: Observer | None = None, started: float | None = None) -> None:
        self.parts, self.plan = parts, plan
        self.state = RunState()
        self.known = Known(parts.card.objectives)
        self.arena = Arena(parts.schedule)
        self.open: dict[str, Open] = {}
        self.left_duplicates: list[Open] = []
        self.left_test: Mapping[str, list[Rollout]] = {}
        self.last_asked: tuple[int, int] | None = None
        self.ledger = Ledger({})
        self.purse = Purse(self)
        self.slots = asyncio.Semaphore(parts.executor.capacity)
        self._observer = observer
        self._started = time.monotonic() if started is None else started
        if parts.chat:
            parts.chat.bind(self)
        if parts.meter:
            parts.meter.bind(self)

    def restore(self) -> Iterator[Event]:
        """Fold the log into state, archive and optimizer, event by event, and set up what may be spent."""
        replay = Replay(self.parts, self.state, self.known)
        self.open = replay.open
        for event in self.parts.store.read():
            replay.feed(event)
            self._feed_others(event)
            yield event
        self.last_asked = replay.last_asked
        self.left_duplicates, self.left_test = list(replay.duplicates.values()), replay.test
        state = self.state
        self.open_ledger()
        self.order = Order(self.plan.deterministic, self.plan.look_ahead + 1, replay.tickets, state.told)

    def open_ledger(self) -> None:
        """With what was spent up to here and nothing reserved."""
        self.ledger = Ledger(dict(self.state.limits), self.state.counted)

    def append(self, kind: str, data: Mapping[str, Any]) -> None:
        """Log first, then let everybody see it."""
        event: Event = self.parts.store.append(kind, data)
        self.state.apply(event)
        self._feed_others(event)
        if self._observer:
            self._observer(event, self.state)

    def _feed_others(self, event: Event) -> None:
        self.arena.feed(event, self.state.best_id)
        for other in (self.parts.chat, self.parts.meter):
            if other:
                other.feed(event)

    def settle_left(self) -> None:
        """Requests that an earlier process left open: nobody knows what came of them, so they count as all they can have taken."""
        for data in list(self.state.calls.open.values()):
            about = {key: value for key, value in data.items() if key not in ("request", "purpose", "call")}
            self.append("llm_reply", about | {"unknown": True})

    def close_meter(self) -> None:
        """Calls of models that nobody has ended count at their bound."""
        if self.parts.meter:
            self.parts.meter.close()

    def note_infrastructure(self, text: str) -> None:
        """Our own processes or the machine failed under a rollout: said once, however often it happens in a run."""
        if not self.state.infrastructure_noted:
            self.append("note", {"kind": "infrastructure", "text": text})

    def take_notes(self) -> None:
        """What the executor has to say of the run as a whole: ``core.protocols.Noting``."""
        for text in getattr(self.parts.executor, "take_notes", tuple)():
            self.append("note", {"kind": "warning", "text": text})

    def tell(self, entry: Entry, admission: Admission, ticket: int, provisional: Provisional | None = None) -> None:
        """Log what the archive decided and let the optimizer know."""
        candidate = entry.candidate
        data: dict[str, Any] = {
            "candidate": candidate.id,
            "ticket": ticket,
            "status": admission.status,
            "displaced": list(admission.displaced),
            "gain": admission.gain,
        }
        if admission.status == "admitted":
            data["made_by"] = f"{candidate.optimizer}/{candidate.operator}" if candidate.optimizer else candidate.operator
        self.append("admitted", data | ({"provisional": provisional.to_json()} if provisional else {}))
        self.parts.optimizer.observe(entry, admission)
        self.order.tell()

    def entry(self, candidate_id: str) -> Entry | None:
        """Any candidate told so far, from the archive or else from the log."""
        if candidate_id not in self.known:
            return None
        store = self.parts.store
        return self.parts.archive.get(candidate_id) or read_entry(store.read(subject=candidate_id), store.get)

    @property
    def left_on_test(self) -> int:
        """Rollouts that scoring seed and best on test still takes."""
        passes = 1 + (self.state.seed_id not in self.state.test)
        done = sum(len(rollouts) for key, rollouts in self.left_test.items() if key not in self.state.test)
        return passes * self.parts.schedule.size("test") - done

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def seconds(self) -> float:
        """Wall seconds worked on the run, up to now."""
        return self.state.seconds_before + time.monotonic() - self._started
