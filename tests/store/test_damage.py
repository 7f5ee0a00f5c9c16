"""Whoever changes the log from outside is noticed: by the writer while it works, at the latest by verify."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from agentopt.core.errors import StoreError
from agentopt.core.events import GENESIS, chain_digest
from agentopt.store import watch
from agentopt.store.schema import connect_reader
from agentopt.store.sqlite import SqliteStore

EVENTS = 40


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    with SqliteStore.create(folder) as store:
        fill(store)
    return folder


def fill(store: SqliteStore) -> None:
    store.append("run_started", {"version": "0.1.0"})
    for index in range(1, EVENTS):
        store.append("rollout", {"candidate": f"c{index % 5}", "text": "x" * (index % 7) * 30, "output": store.put(b"y" * 500 * index)})


def change(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / "run.db", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


EDITS = {
    "edited data": "UPDATE events SET data = replace(data, 'x', 'z') WHERE seq = 10",
    "edited time": "UPDATE events SET time = time + 1 WHERE seq = 10",
    "edited kind": "UPDATE events SET kind = 'note' WHERE seq = 10",
    "edited digest": "UPDATE events SET digest = x'00' WHERE seq = 10",
    "edited subject": "UPDATE events SET subject = 'c3' WHERE seq = 10",
    "deleted in the middle": "DELETE FROM events WHERE seq = 10",
    "deleted at the start": "DELETE FROM events WHERE seq = 1",
    "inserted": "INSERT INTO events VALUES (99, 1.0, 'note', NULL, '{}', x'00')",
    "renumbered": "UPDATE events SET seq = -seq WHERE seq = 10",
}
LAST_GOOD = {"deleted at the start": 0, "inserted": EVENTS}


@pytest.mark.parametrize("what", EDITS)
def test_edits_between_two_processes(run: Path, what: str) -> None:
    change(run, EDITS[what])
    with SqliteStore.open(run, read_only=True) as store:
        with pytest.raises(StoreError, match=rf"the log is damaged after event {LAST_GOOD.get(what, 9)} \(last good\)"):
            list(store.read())
        with pytest.raises(StoreError, match="damaged"):
            store.verify()


def test_rewriting_the_digest_of_an_edited_row_moves_the_break(run: Path) -> None:
    change(run, "UPDATE events SET data = '{}', subject = NULL WHERE seq = 10")
    connection = sqlite3.connect(run / "run.db", isolation_level=None)
    (before,) = connection.execute("SELECT digest FROM events WHERE seq = 9").fetchone()
    (moment,) = connection.execute("SELECT time FROM events WHERE seq = 10").fetchone()
    connection.execute("UPDATE events SET digest = ? WHERE seq = 10", (chain_digest(before, 10, moment, "rollout", "{}"),))
    connection.close()
    with SqliteStore.open(run, read_only=True) as store, pytest.raises(StoreError, match=r"damaged after event 10 \(last good\)"):
        list(store.read())


@pytest.mark.parametrize("what", [*EDITS, "deleted at the end", "unrelated"])
def test_edits_while_a_process_writes(run: Path, what: str) -> None:
    others = {"deleted at the end": f"DELETE FROM events WHERE seq > {EVENTS - 3}", "unrelated": "CREATE TABLE mine (x)"}
    with SqliteStore.open(run) as store:
        store.append("note", {})
        change(run, EDITS.get(what) or others[what])
        for _ in range(2):
            with pytest.raises(StoreError, match=f"another program changed run.db after event {EVENTS + 1}"):
                store.append("note", {})
        with pytest.raises(StoreError, match="another program changed"):
            store.put(b"bytes")
        with pytest.raises(StoreError, match=r"another program|damaged"):
            store.verify()


def test_removed_tail_is_noticed_by_who_knew_it(run: Path) -> None:
    with SqliteStore.open(run, read_only=True) as store:
        assert len(list(store.read())) == EVENTS
        change(run, f"DELETE FROM events WHERE seq > {EVENTS - 3}")
        for act in (lambda: list(store.read()), lambda: list(store.read(after=EVENTS)), store.verify):
            with pytest.raises(StoreError, match=rf"damaged after event {EVENTS - 3} .*events up to {EVENTS} were written and are gone"):
                act()


def test_a_rewritten_tail_is_noticed_by_who_knew_it(run: Path) -> None:
    """A chain that is whole in itself but not the one that this process read."""
    with SqliteStore.open(run, read_only=True) as store:
        assert store.last_seq == EVENTS
        assert len(list(store.read())) == EVENTS
        change(run, f"DELETE FROM events WHERE seq = {EVENTS}")
        connection = sqlite3.connect(run / "run.db", isolation_level=None)
        (before,) = connection.execute("SELECT digest FROM events WHERE seq = ?", (EVENTS - 1,)).fetchone()
        digest = chain_digest(before, EVENTS, 1.0, "note", "{}")
        connection.execute("INSERT INTO events VALUES (?, 1.0, 'note', NULL, '{}', ?)", (EVENTS, digest))
        connection.close()
        with pytest.raises(StoreError, match=f"event {EVENTS} was changed"):
            list(store.read(after=EVENTS))


def test_data_that_is_no_json(run: Path) -> None:
    connection = sqlite3.connect(run / "run.db", isolation_level=None)
    connection.execute("DELETE FROM events")
    connection.execute("INSERT INTO events VALUES (1, 1.0, 'note', 'a', '{', ?)", (chain_digest(GENESIS, 1, 1.0, "note", "{"),))
    connection.close()
    with SqliteStore.open(run, read_only=True) as store:
        for subject in (None, "a"):
            with pytest.raises(StoreError, match=r"damaged after event 0 .*the data of event 1 is not JSON"):
                list(store.read(subject=subject))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (lambda path: path.unlink(), "was deleted"),
    "emptied": (lambda path: path.write_bytes(b""), "was cut from"),
    "cut in half": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "was cut from"),
    "replaced by a copy": (lambda path: shutil.copy(path, path.with_name("copy")).replace(path), "was replaced"),
}


@pytest.mark.parametrize("name", ["run.db", "run.db-wal"])
@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize("verify", [False, True])
def test_files_taken_away_while_a_process_writes(run: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str, verify: bool) -> None:
    monkeypatch.setattr(watch, "_INTERVAL", 0.0)
    act, message = BREAKS[what]
    with SqliteStore.open(run) as store:
        for _ in range(5):
            store.append("note", {})
        act(run / name)
        with pytest.raises(StoreError, match=rf"{name} {message}"):
            store.verify() if verify else store.append("note", {})


def test_the_look_at_the_files_is_taken_every_tenth_of_a_second(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    with SqliteStore.open(run) as store:
        store.append("note", {})
        (run / "run.db").unlink()
        now += 0.09
        store.append("note", {})
        now += 0.02
        with pytest.raises(StoreError, match="was deleted"):
            store.append("note", {})
        with pytest.raises(StoreError, match="was deleted"):
            store.append("note", {})


def test_a_folder_that_cannot_be_reached(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteStore.open(run) as store:

        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(watch.os, "stat", refuse)
        with pytest.raises(StoreError, match="is unreachable: Permission denied"):
            store.append("note", {})
        monkeypatch.undo()


def content(folder: Path) -> list[object]:
    with SqliteStore.open(folder, read_only=True) as store:
        events = list(store.read())
        about = [[event.seq for event in store.read(subject=f"c{k}")] for k in range(5)]
        return [events, about, [store.get(event.data["output"]) for event in events[1:]]]


@pytest.mark.parametrize("width", [1, 64, 4096])
def test_overwritten_bytes(run: Path, tmp_path: Path, width: int) -> None:
    """Whatever byte changes: verify says so, or nothing that can be read is different."""
    whole = (run / "run.db").read_bytes()
    expected = content(run)
    rng = Random(width)
    noticed = 0
    for turn in range(40):
        start = rng.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[start : start + width] = bytes(byte ^ rng.randrange(1, 256) for byte in damaged[start : start + width])
        copy = tmp_path / f"copy{turn}"
        copy.mkdir()
        (copy / "run.db").write_bytes(damaged)
        try:
            with SqliteStore.open(copy, read_only=True) as store:
                store.verify()
        except StoreError:
            noticed += 1
        else:
            assert content(copy) == expected
    assert noticed > 10


@pytest.mark.parametrize("what", BREAKS)
def test_a_cut_between_two_looks_is_noticed_by_verify(run: Path, what: str) -> None:
    with SqliteStore.open(run) as store:
        for _ in range(50):
            store.append("note", {"text": "x" * 3000})
        BREAKS[what][0](run / "run.db-wal")
        with pytest.raises(StoreError):
            store.verify()


@pytest.mark.parametrize("name", ["run.db", "run.db-wal"])
def test_overwritten_bytes_under_a_writer(tmp_path: Path, name: str) -> None:
    with SqliteStore.create(tmp_path / "run") as store:
        fill(store)
        for _ in range(400):
            store.append("note", {"text": "z" * 3000})
        path = tmp_path / "run" / name
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(200)
            file.write(b"\xff" * (size - 200))
        with pytest.raises(StoreError, match="damaged"):
            store.verify()


def test_a_damaged_blob(run: Path) -> None:
    with SqliteStore.open(run, read_only=True) as store:
        digest = next(iter(store.read(after=1))).data["output"]
        for data in ("x'00'", "x'789c03000000000001'", "'text'"):
            change(run, f"UPDATE blobs SET data = {data} WHERE digest = '{digest}'")
            with pytest.raises(StoreError, match=f"the bytes with the digest '{digest}' are damaged"):
                store.get(digest)
            with pytest.raises(StoreError, match="are damaged"):
                store.verify()


def test_a_damaged_index(run: Path) -> None:
    """Rows that the search for a candidate would miss."""
    change(
        run, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', 'NULL') WHERE name = 'events_subject'"
    )
    with SqliteStore.open(run, read_only=True) as store, pytest.raises(StoreError, match=r"run\.db is damaged"):
        store.verify()


def test_an_unreadable_page_names_the_last_good_event(tmp_path: Path) -> None:
    with SqliteStore.create(tmp_path / "run") as store:
        for index in range(200):
            store.append("note", {"index": index, "text": "t" * 500})
    path = tmp_path / "run" / "run.db"
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(4096 * (pages - 5))
        file.write(b"\0" * 4096)
    seen: list[int] = []
    with (
        SqliteStore.open(tmp_path / "run", read_only=True) as store,
        pytest.raises(StoreError, match=r"damaged after event \d+ \(last good\): database disk image is malformed") as raised,
    ):
        seen.extend(event.seq for event in store.read())
    with SqliteStore.open(tmp_path / "run", read_only=True) as store, contextlib.suppress(StoreError):
        for event in store.read():
            seen.append(event.seq)
    assert f"after event {seen[-1]} " in str(raised.value)
    assert len(seen) > 100


def test_a_log_whose_end_is_unreadable_is_not_opened_for_writing(tmp_path: Path) -> None:
    with SqliteStore.create(tmp_path / "run") as store:
        for index in range(200):
            store.append("note", {"index": index, "text": "t" * 500})
    path = tmp_path / "run" / "run.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\0" * (size - size // 2))
    for _ in range(2):
        with pytest.raises(StoreError, match=r"run\.db is damaged; restore it from a copy"):
            SqliteStore.open(tmp_path / "run")


def test_a_reader_is_refused_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no run.db; name the folder of a run"):
        connect_reader(tmp_path)
