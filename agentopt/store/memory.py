"""The log of a run without a folder, for library use, tests and benchmarks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from agentopt.core.clock import SteadyClock
from agentopt.core.errors import StoreError
from agentopt.core.events import EVENT_KINDS, Event, chain_digest, encode_data
from agentopt.store.rows import START, Position, Row, checked, decoded, subject_of

__all__ = ["MemoryStore"]

_WHERE = "in memory"


class MemoryStore:
    """``core.protocols.Store`` in lists and dicts; it behaves as the one on disk and ends with the process."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._by_subject: dict[str, list[int]] = {}
        self._blobs: dict[str, bytes] = {}
        self._known = START
        self._clock = SteadyClock()

    @property
    def last_seq(self) -> int:
        """The number of the last event; 0 for an empty log."""
        return self._known.seq

    def append(self, kind: str, data: Mapping[str, Any]) -> Event:
        if kind not in EVENT_KINDS:
            raise ValueError(f"{kind!r} is not a kind of event")
        text, seq, now = encode_data(data), self._known.seq + 1, self._clock.now()
        self._known = Position(seq, chain_digest(self._known.digest, seq, now, kind, text))
        subject = subject_of(data)
        if subject is not None:
            self._by_subject.setdefault(subject, []).append(seq)
        self._rows.append((seq, now, kind, subject, text, self._known.digest))
        return Event(seq, now, kind, json.loads(text), self._known.digest)

    def read(self, after: int = 0, subject: str | None = None) -> Iterator[Event]:
        if subject is None:
            events = checked(self._rows[:], START, self._known, _WHERE, str)
        else:
            events = (decoded(self._rows[seq - 1], _WHERE, str) for seq in self._by_subject.get(subject, [])[:])
        return (event for event in events if event.seq > after)

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = bytes(data)
        return digest

    def get(self, digest: str) -> bytes:
        try:
            return self._blobs[digest]
        except KeyError:
            raise StoreError(f"run {_WHERE} holds no bytes with the digest {digest!r}") from None

    def verify(self) -> int:
        """Check every event; the number of events."""
        return sum(1 for _ in self.read())

    def close(self) -> None:
        """Nothing to give back."""
