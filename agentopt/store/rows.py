"""Rows as they are stored, and the walk that checks their chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from agentopt.core.errors import StoreError
from agentopt.core.events import EVENT_KINDS, GENESIS, Event, chain_digest

__all__ = ["START", "Position", "Row", "checked", "damaged", "decoded", "subject_of"]

Row = tuple[int, float, str, str | None, str, bytes]
"""seq, time, kind, subject, data as JSON text, digest"""


class Position(NamedTuple):
    """A place in the chain: the number and digest of an event."""

    seq: int
    digest: bytes


START = Position(0, GENESIS)


def subject_of(data: Any) -> str | None:
    """What the subject column holds for an event: the candidate or the request to a model that it is about."""
    subject = data.get("candidate") or data.get("key")
    return subject if isinstance(subject, str) else None


def damaged(where: str, last_good: int, why: str) -> StoreError:
    return StoreError(
        f"run {where}: the log is damaged after event {last_good} (last good): {why}; "
        f"restore run.db from a copy, or start the run again in a new folder"
    )


def decoded(row: Row, where: str, needs: Callable[[], str]) -> Event:
    """The event in ``row``. Raises StoreError for a kind that this version does not know; ``needs`` names the one that does."""
    seq, time, kind, _, text, digest = row
    if kind not in EVENT_KINDS:
        raise StoreError(f"run {where}: event {seq} is of the kind {kind!r}, which this version does not know; open it with {needs()}")
    try:
        return Event(seq, time, kind, json.loads(text), digest)
    except ValueError:
        raise damaged(where, seq - 1, f"the data of event {seq} is not JSON") from None


def checked(rows: Iterable[Row], start: Position, known: Position, where: str, needs: Callable[[], str]) -> Iterator[Event]:
    """The events in ``rows``, which follow ``start``. Raises StoreError where the chain breaks or leaves the ``known`` position out."""
    seq, digest = start
    for row in rows:
        if row[0] != seq + 1:
            raise damaged(where, seq, f"event {seq + 1} is missing")
        if row[5] != chain_digest(digest, *row[:3], row[4]) or (row[0] == known.seq and row[5] != known.digest):
            raise damaged(where, seq, f"event {row[0]} was changed")
        event = decoded(row, where, needs)
        if row[3] != subject_of(event.data):
            raise damaged(where, seq, f"event {row[0]} names another subject in its index")
        seq, digest = row[0], row[5]
        yield event
    if seq < known.seq:
        raise damaged(where, seq, f"events up to {known.seq} were written and are gone")
