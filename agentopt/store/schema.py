"""The SQLite file: its tables, how it is made, recognised and opened, and what SQLite's errors mean to a user."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from agentopt.core.errors import StoreError
from agentopt.core.events import SCHEMA
from agentopt.store.layout import RUN_DB
from agentopt.store.rows import Row

__all__ = ["INSERT_EVENT", "connect", "connect_reader", "explained", "make_file", "needed_version"]

_APPLICATION_ID = 0x61676F70
_TABLES = f"""
BEGIN;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, subject TEXT, data TEXT NOT NULL, digest BLOB NOT NULL
);
CREATE INDEX events_subject ON events (subject) WHERE subject IS NOT NULL;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, packed INTEGER NOT NULL, data BLOB NOT NULL);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
COMMIT;
"""
_MEANINGS = {
    "SQLITE_FULL": "there is no space left for run.db; free some space and resume the run",
    "SQLITE_READONLY": "run.db cannot be written; make the file and its folder writable",
    "SQLITE_CANTOPEN": "run.db cannot be opened; check that it exists and that you may read it and its folder",
    "SQLITE_NOTADB": "run.db is damaged or not the log of a run; restore it from a copy, or choose another folder",
    "SQLITE_CORRUPT": "run.db is damaged; restore it from a copy, or start the run again in a new folder",
    "SQLITE_IOERR": "run.db could not be read or written; check the disk, its free space and the file-size limit",
    "SQLITE_BUSY": "another program keeps run.db locked; close it and resume the run",
    "SQLITE_CONSTRAINT": "another program wrote to run.db; close it, and resume the run from a copy of the folder",
}


INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"


@contextmanager
def explained(where: Path) -> Generator[None]:
    """Turn SQLite's errors into StoreError with one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        meaning = next((text for prefix, text in _MEANINGS.items() if name.startswith(prefix)), "run.db cannot be used")
        raise StoreError(f"run {where}: {meaning} ({error})") from error


def make_file(folder: Path, first: Row | None = None) -> None:
    """Put a log into ``folder``, empty or with its first row: whole or not at all."""
    unfinished = folder / f"{RUN_DB}.new"
    unfinished.unlink(missing_ok=True)
    connection = sqlite3.connect(unfinished, isolation_level=None)
    try:
        connection.executescript(_TABLES)
        if first:
            connection.execute(INSERT_EVENT, first)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    os.replace(unfinished, folder / RUN_DB)
    for path in (folder, folder.parent):
        _sync_folder(path)


def connect(folder: Path) -> sqlite3.Connection:
    """A connection for the one writer. Raises StoreError for a file that is not ours."""
    return _recognised(folder, "mode=rw")


def connect_reader(folder: Path) -> sqlite3.Connection:
    """A connection that cannot write; it works beside a writer and in a folder that is read-only."""
    try:
        return _recognised(folder, "mode=ro")
    except StoreError as error:
        wal = folder / f"{RUN_DB}-wal"
        name = getattr(error.__cause__, "sqlite_errorname", "")
        if not name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) or not (folder / RUN_DB).is_file():
            raise
        # without a place for -shm SQLite reads only files that it is promised nobody writes; events still in -wal would be left out
        if wal.exists() and wal.stat().st_size:
            raise StoreError(
                f"run {folder}: its last events are in {wal.name}, unreadable in a read-only folder; open a copy of the folder"
            ) from error
        return _recognised(folder, "mode=ro&immutable=1")


def needed_version(connection: sqlite3.Connection) -> str:
    """Which agentopt wrote last, as far as the log says it."""
    query = "SELECT json_extract(data, '$.version') FROM events WHERE kind IN ('run_started', 'resumed') ORDER BY seq DESC LIMIT 1"
    try:
        row = connection.execute(query).fetchone()
    except sqlite3.Error:
        row = None
    return f"agentopt {row[0]}" if row and row[0] else "a newer agentopt"


def _recognised(folder: Path, mode: str) -> sqlite3.Connection:
    path = folder / RUN_DB
    if not path.exists():
        raise StoreError(f"run {folder}: there is no {RUN_DB}; name the folder of a run")
    with explained(folder):
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{mode}", uri=True, isolation_level=None)
    try:
        with explained(folder):
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if application != _APPLICATION_ID:
                raise StoreError(f"run {folder}: {RUN_DB} is a database of another program; choose another folder")
            if version > SCHEMA:
                needs = needed_version(connection)
                raise StoreError(f"run {folder}: its log has the format {version}, this version reads up to {SCHEMA}; open it with {needs}")
            connection.execute("SELECT seq FROM events LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    # a damaged text must reach the chain check instead of failing in the driver
    connection.text_factory = _text
    return connection


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
