"""The log of a run in one SQLite file: written by one process, read by any number, told from a damaged one."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from agentopt.core.clock import SteadyClock
from agentopt.core.errors import StoreError
from agentopt.core.events import EVENT_KINDS, PAID_KINDS, Event, chain_digest, encode_data
from agentopt.store.layout import BEST, LOCK, RUN_DB, SUMMARY
from agentopt.store.lock import RunLock
from agentopt.store.rows import START, Position, Row, checked, damaged, decoded, subject_of
from agentopt.store.schema import INSERT_EVENT, connect, connect_reader, explained, make_file, needed_version
from agentopt.store.watch import FileWatch

__all__ = ["SqliteStore"]

_COLUMNS = "seq, time, kind, subject, data, digest"
_BLOBS = "SELECT digest, packed, CAST(data AS BLOB) FROM blobs"
_BATCH = 500
_SMALL = 64
"""Bytes below which compressing is not worth the call."""


class SqliteStore:
    """``core.protocols.Store`` over ``run.db``. Build it with ``create`` or ``open``; use it from the thread that built it.

    Everything raises StoreError with one sentence when the folder is missing, foreign, locked, damaged, read-only or full.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: RunLock | None, clock: SteadyClock | None = None) -> None:
        self.folder = folder
        self._connection = connection
        self._lock = lock
        self._watch: FileWatch | None = None
        self._broken: StoreError | None = None
        self._known = START
        self._version = 0
        self._clock = clock or SteadyClock()
        if lock:
            self._known = self._tail()
            self._watch = FileWatch([folder / f"{RUN_DB}{suffix}" for suffix in ("", "-wal", "-shm")])
            self._version = self._data_version()

    @classmethod
    def create(cls, folder: Path, first: tuple[str, Mapping[str, Any]] | None = None) -> SqliteStore:
        """A new log in ``folder``, which is made if needed and must not hold a run yet.

        With ``first``, the kind and data of its first event, nobody ever sees the log without it, however early this process dies.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"run {folder} cannot be made: {error.strerror}; choose another folder") from error
        lock, clock = RunLock(folder / LOCK), SteadyClock()
        try:
            for name in (RUN_DB, SUMMARY, BEST):
                if (folder / name).exists():
                    raise StoreError(f"run {folder} is there already ({name}); resume it, or choose another folder")
            try:
                with explained(folder):
                    make_file(folder, _row(START, clock.now(), *first) if first else None)
            except OSError as error:
                raise StoreError(f"run {folder} cannot be made: {error.strerror}; choose another folder") from error
        except BaseException:
            lock.release()
            raise
        return cls._opened(folder, lock, clock)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> SqliteStore:
        """The log in ``folder``: locked for writing, or ``read_only`` beside a writer."""
        if read_only:
            return cls(folder, connect_reader(folder), None)
        if not (folder / RUN_DB).is_file():
            raise StoreError(f"run {folder}: there is no {RUN_DB}; name the folder of a run")
        return cls._opened(folder, RunLock(folder / LOCK), SteadyClock())

    @classmethod
    def _opened(cls, folder: Path, lock: RunLock, clock: SteadyClock) -> SqliteStore:
        connection = None
        try:
            connection = connect(folder)
            with explained(folder):
                connection.execute("PRAGMA synchronous = NORMAL")
                return cls(folder, connection, lock, clock)
        except BaseException:
            if connection:
                connection.close()
            lock.release()
            raise

    @property
    def last_seq(self) -> int:
        """The number of the last event; 0 for an empty log."""
        return self._known.seq if self._lock else self._tail().seq

    def append(self, kind: str, data: Mapping[str, Any]) -> Event:
        """Safe against kill -9 on return, against power loss too for paid kinds. The event's data is as it will be read."""
        row = _row(self._known, self._clock.now(), kind, data)
        self._check_writable()
        with explained(self.folder):
            self._insert(row, paid=kind in PAID_KINDS)
        seq, now, _, _, text, digest = row
        self._known = Position(seq, digest)
        return Event(seq, now, kind, json.loads(text), digest)

    def read(self, after: int = 0, subject: str | None = None) -> Iterator[Event]:
        """The events that are there now; the chain is checked from the start, or from where this process left off."""
        if subject is not None:
            return self._about(subject, after)
        return self._walk(self._connection, after)

    def put(self, data: bytes) -> str:
        """Keep ``data`` once, compressed where that is shorter; returns the SHA-256 of its bytes in hex."""
        digest = hashlib.sha256(data).hexdigest()
        self._check_writable()
        with explained(self.folder):
            if not self._connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone():
                packed = zlib.compress(data, 1) if len(data) > _SMALL else data
                shorter = len(packed) < len(data)
                self._connection.execute("INSERT INTO blobs VALUES (?, ?, ?)", (digest, shorter, packed if shorter else data))
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes that ``put`` answered ``digest`` for."""
        with explained(self.folder):
            row = self._connection.execute(f"{_BLOBS} WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            raise StoreError(f"run {self.folder} holds no bytes with the digest {digest!r}")
        return self._unpacked(*row)

    def verify(self) -> int:
        """Read the whole file afresh and check every page, event and blob; the number of events. Raises StoreError."""
        if self._watch:
            self._watch.check(now=True)
            self._check_writable()
        with closing(connect_reader(self.folder)) as connection, explained(self.folder):
            last = sum(1 for _ in self._walk(connection, 0))
            for row in connection.execute(_BLOBS):
                self._unpacked(*row)
            report = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if report != "ok":
            raise StoreError(f"run {self.folder}: run.db is damaged beside its events: {report}; restore it from a copy")
        return last

    def close(self) -> None:
        """Close the file and give the run free. May be called twice."""
        self._broken = self._broken or StoreError(f"run {self.folder} was closed; resume it to write to it")
        with explained(self.folder):
            self._connection.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _insert(self, row: Row, paid: bool) -> None:
        if not paid:
            self._connection.execute(INSERT_EVENT, row)
            return
        self._connection.execute("PRAGMA synchronous = FULL")
        try:
            self._connection.execute(INSERT_EVENT, row)
        finally:
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def _check_writable(self) -> None:
        """Nobody but us has written since we last did, and the files are still ours; once they are not, nothing is written any more."""
        if self._watch is None:
            raise StoreError(f"run {self.folder} was opened read-only; resume it to write to it")
        if self._broken:
            raise self._broken
        try:
            self._watch.check()
            with explained(self.folder):
                foreign = self._data_version() != self._version
            if foreign:
                where = f"run {self.folder}: another program changed run.db after event {self._known.seq}"
                raise StoreError(f"{where}; the run stops here, start it anew in another folder")
        except StoreError as error:
            self._broken = error
            raise

    def _data_version(self) -> int:
        return self._connection.execute("PRAGMA data_version").fetchone()[0]

    def _tail(self) -> Position:
        with explained(self.folder):
            row = self._connection.execute("SELECT seq, CAST(digest AS BLOB) FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return Position(*row) if row else START

    def _walk(self, connection: sqlite3.Connection, after: int) -> Iterator[Event]:
        known = self._known
        own = connection is self._connection
        start = known if own and after >= known.seq and self._stands(known) else START
        for event in checked(self._rows(connection, start.seq), start, known, str(self.folder), lambda: needed_version(connection)):
            if own and not self._lock and event.seq > self._known.seq:
                self._known = Position(event.seq, event.digest)
            if event.seq > after:
                yield event

    def _stands(self, known: Position) -> bool:
        """Whether the position is still in the file; where it is not, the walk from the start says what is wrong."""
        with explained(self.folder):
            row = self._connection.execute("SELECT digest FROM events WHERE seq = ?", (known.seq,)).fetchone()
        return row is not None and row[0] == known.digest

    def _rows(self, connection: sqlite3.Connection, after: int) -> Iterator[Row]:
        """In batches, so that no read transaction stays open while the caller works; up to what is there when it begins."""
        with explained(self.folder):
            last = connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
        query = f"SELECT {_COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT {_BATCH}"
        while after < last:
            rows: list[Row] = []
            try:
                rows.extend(connection.execute(query, (after, last)))
                unreadable = None
            except sqlite3.DatabaseError as error:
                unreadable = error
            yield from rows
            after = rows[-1][0] if rows else last
            if unreadable:
                raise damaged(str(self.folder), after, str(unreadable)) from unreadable

    def _about(self, subject: str, after: int) -> Iterator[Event]:
        query = f"SELECT {_COLUMNS} FROM events WHERE subject = ? AND seq > ? ORDER BY seq"
        with explained(self.folder):
            rows: list[Row] = self._connection.execute(query, (subject, after)).fetchall()
        for row in rows:
            yield decoded(row, str(self.folder), lambda: needed_version(self._connection))

    def _unpacked(self, digest: str, packed: int, data: bytes) -> bytes:
        try:
            content = zlib.decompress(data) if packed else data
        except zlib.error:
            content = b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise StoreError(f"run {self.folder}: the bytes with the digest {digest!r} are damaged; restore run.db from a copy")
        return content


def _row(after: Position, now: float, kind: str, data: Mapping[str, Any]) -> Row:
    """The row that follows ``after`` in the chain."""
    if kind not in EVENT_KINDS:
        raise ValueError(f"{kind!r} is not a kind of event")
    text, seq = encode_data(data), after.seq + 1
    return seq, now, kind, subject_of(data), text, chain_digest(after.digest, seq, now, kind, text)
