"""The rows of the log, their chain, and what makes two logs equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = ["EVENT_KINDS", "GENESIS", "PAID_KINDS", "SCHEMA", "Event", "EventKind", "canonical", "chain_digest", "encode_data"]

SCHEMA = 1
EventKind = Literal[
    "run_started",
    "resumed",
    "asked",
    "llm_request",
    "llm_reply",
    "proposed",
    "rollout",
    "evaluated",
    "confirmed",
    "admitted",
    "note",
    "stopped",
]
EVENT_KINDS: tuple[str, ...] = get_args(EventKind)
PAID_KINDS = frozenset({"run_started", "resumed", "llm_request", "llm_reply", "stopped"})
"""Events on the disk before the next step: losing one in a power cut would cost money or the run's identity."""
GENESIS = b"agentopt"
_VOLATILE: Mapping[str, tuple[str, ...]] = {
    "run_started": ("run", "host", "version", "source", "python", "sandbox"),
    "rollout": ("measured", "trace"),  # a trace holds times
    "evaluated": ("sandbox",),
    "confirmed": ("sandbox",),
    "llm_reply": ("latency",),
    "stopped": ("spent", "why"),
}


@dataclass(frozen=True)
class Event:
    """One row: ``time`` in Unix seconds, ``data`` JSON, ``digest`` over the digest before and this row's bytes."""

    seq: int
    time: float
    kind: str
    data: Mapping[str, Any]
    digest: bytes = b""

    @property
    def subject(self) -> str | None:
        """What the event is about, if anything: a candidate, or the digest of a request to a model."""
        return self.data.get("candidate") or self.data.get("key")


def encode_data(data: Mapping[str, Any]) -> str:
    """Compact JSON in one spelling; NaN and infinity are refused with ValueError."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, allow_nan=False)


def chain_digest(previous: bytes, seq: int, time: float, kind: str, text: str) -> bytes:
    """16 bytes of SHA-256 over the previous digest and the row as stored."""
    return hashlib.sha256(previous + f"{seq}\0{time!r}\0{kind}\0{text}".encode()).digest()[:16]


def canonical(events: Iterable[Event]) -> list[tuple[str, Mapping[str, Any]]]:
    """The log without what may differ between two equal runs; *identical* means equal canonical logs.

    Of the calls of models only the replies count: a call that failed or that nobody saw the end of was made again.
    """
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for event in events:
        if event.kind == "resumed":
            if rows and rows[-1][0] == "stopped":
                rows.pop()
            continue
        if event.kind == "llm_request" or (event.kind == "llm_reply" and "text" not in event.data):
            continue
        if event.kind == "note" and event.data.get("kind") == "infrastructure":
            continue
        volatile = _VOLATILE.get(event.kind, ())
        rows.append((event.kind, {key: value for key, value in event.data.items() if key not in volatile}))
    return rows
