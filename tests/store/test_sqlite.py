from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentopt.core.errors import StoreError
from agentopt.core.events import SCHEMA, chain_digest
from agentopt.store.sqlite import SqliteStore
from tests.untraced import untraced


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    with SqliteStore.create(folder) as store:
        store.append("run_started", {"version": "9.8.7"})
        store.append("proposed", {"candidate": "a"})
    return folder


def change(folder: Path, statement: str, *arguments: object) -> None:
    connection = sqlite3.connect(folder / "run.db", isolation_level=None)
    connection.execute(statement, arguments)
    connection.close()


def test_a_closed_run_is_one_file_and_the_lock(run: Path) -> None:
    assert sorted(os.listdir(run)) == ["lock", "run.db"]


def test_a_copy_of_the_file_alone_is_the_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(run / "run.db", tmp_path / "copy")
    with SqliteStore.open(tmp_path / "copy") as store:
        assert store.last_seq == store.verify() == 2


def test_create_in_the_place_of_another_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"run .*run is there already \(run.db\); resume it, or choose another folder"):
        SqliteStore.create(run)
    with SqliteStore.open(run) as store:
        assert store.last_seq == 2
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "summary.json").touch()
    with pytest.raises(StoreError, match=r"is there already \(summary.json\)"):
        SqliteStore.create(tmp_path / "half")


def test_create_after_a_creation_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "run.db.new").write_bytes(b"half of one")
    (tmp_path / "lock").touch()
    with SqliteStore.create(tmp_path) as store:
        assert store.append("note", {}).seq == 1
    assert sorted(os.listdir(tmp_path)) == ["lock", "run.db"]


def test_create_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/run cannot be made: Not a directory; choose another folder"):
        SqliteStore.create(tmp_path / "file" / "run")
    (tmp_path / "folder" / "run.db.new").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"folder cannot be made: Is a directory"):
        SqliteStore.create(tmp_path / "folder")
    (tmp_path / "folder" / "run.db.new").rmdir()
    SqliteStore.create(tmp_path / "folder").close()


@pytest.mark.parametrize("read_only", [False, True])
def test_open_what_is_no_run(tmp_path: Path, read_only: bool) -> None:
    def message() -> str:
        with pytest.raises(StoreError) as raised:
            SqliteStore.open(tmp_path, read_only=read_only)
        return str(raised.value)

    assert "there is no run.db; name the folder of a run" in message()
    database = tmp_path / "run.db"
    database.write_text("some text " * 1000)
    assert "run.db is damaged or not the log of a run" in message()
    database.unlink()
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    assert "run.db is a database of another program" in message()
    database.write_bytes(b"")
    assert "run.db is a database of another program" in message()
    database.unlink()
    database.mkdir()
    assert "run.db" in message()


def test_a_newer_format_names_the_version_needed(run: Path) -> None:
    change(run, f"PRAGMA user_version = {SCHEMA + 1}")
    for read_only in (False, True):
        with pytest.raises(StoreError, match=rf"format {SCHEMA + 1}, this version reads up to {SCHEMA}; open it with agentopt 9.8.7"):
            SqliteStore.open(run, read_only=read_only)
    change(run, "DROP TABLE events")
    with pytest.raises(StoreError, match="open it with a newer agentopt"):
        SqliteStore.open(run)


def test_our_mark_without_our_tables(run: Path) -> None:
    change(run, "DROP TABLE events")
    with pytest.raises(StoreError, match=r"run\.db cannot be used"):
        SqliteStore.open(run)
    SqliteStore.create(run.parent / "other").close()


@pytest.mark.parametrize("version", ["9.8.7", None])
def test_an_unknown_kind_names_the_version_needed(tmp_path: Path, version: str | None) -> None:
    with SqliteStore.create(tmp_path) as store:
        first = store.append("run_started", {"version": version} if version else {})
    digest = chain_digest(first.digest, 2, 1.0, "dream", '{"candidate":"a"}')
    change(tmp_path, "INSERT INTO events VALUES (2, 1.0, 'dream', 'a', ?, ?)", '{"candidate":"a"}', digest)
    needed = f"agentopt {version}" if version else "a newer agentopt"
    with SqliteStore.open(tmp_path, read_only=True) as store:
        for subject in (None, "a"):
            with pytest.raises(StoreError, match=rf"event 2 is of the kind 'dream', .* open it with {needed}"):
                list(store.read(subject=subject))


def test_readers_ignore_fields_they_do_not_know(tmp_path: Path) -> None:
    with SqliteStore.create(tmp_path) as store:
        store.append("asked", {"index": 0, "of_a_later_version": [1]})
        assert next(store.read()).data["of_a_later_version"] == [1]


def test_a_reader_cannot_write(run: Path) -> None:
    with SqliteStore.open(run, read_only=True) as store:
        for act in (lambda: store.append("note", {}), lambda: store.put(b"x")):
            with pytest.raises(StoreError, match="was opened read-only; resume it to write to it"):
                act()


def test_a_reader_follows_a_writer(run: Path) -> None:
    with SqliteStore.open(run) as writer, SqliteStore.open(run, read_only=True) as reader:
        assert [event.seq for event in reader.read()] == [1, 2]
        for seq in (3, 4, 5):
            written = writer.append("note", {"seq": seq})
            assert list(reader.read(after=seq - 1)) == [written]
            assert reader.last_seq == seq
        assert reader.verify() == 5
        assert reader.get(writer.put(b"blob")) == b"blob"
        assert writer.append("note", {}).seq == 6, "readers do not look like intruders"


WRITER = """
import sys
from pathlib import Path
from agentopt.store.sqlite import SqliteStore
with SqliteStore.open(Path(sys.argv[1])) as store:
    print("begin", flush=True)
    for index in range(1500):
        store.append("note", {"index": index})
"""


def test_reading_while_another_process_writes(run: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", WRITER, str(run)], stdout=subprocess.PIPE, text=True) as process,
        SqliteStore.open(run, read_only=True) as store,
    ):
        assert process.stdout.readline() == "begin\n"
        seen = 2
        while seen < 1502:
            batch = [event.seq for event in store.read(after=seen)]
            assert batch == list(range(seen + 1, seen + 1 + len(batch)))
            seen += len(batch)
            assert process.poll() in (None, 0)
        assert process.wait() == 0


def test_paid_kinds_are_synced(run: Path) -> None:
    """strace is not everywhere; SQLite's own setting at the time of the insert is."""
    seen: dict[str, list[int]] = {}
    with SqliteStore.open(run) as store:
        statements: list[str] = []
        store._connection.set_trace_callback(statements.append)
        for kind in ("rollout", "llm_reply", "rollout"):
            statements.clear()
            store.append(kind, {})
            seen.setdefault(kind, []).append(sum("synchronous = FULL" in statement for statement in statements))
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (1,)
    assert seen == {"rollout": [0, 0], "llm_reply": [1]}


def test_bytes_are_compressed_where_that_helps(tmp_path: Path) -> None:
    noise = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(100))
    with SqliteStore.create(tmp_path) as store:
        for data in (b"a" * 100_000, noise, b"short"):
            assert store.get(store.put(data)) == data
        stored = dict(store._connection.execute("SELECT digest, length(data) FROM blobs"))
    assert stored[hashlib.sha256(b"a" * 100_000).hexdigest()] < 1000
    assert stored[hashlib.sha256(noise).hexdigest()] == len(noise)
    assert stored[hashlib.sha256(b"short").hexdigest()] == 5


FULL = """
import resource, sys
from pathlib import Path
from agentopt.core.errors import StoreError
from agentopt.store.sqlite import SqliteStore
store = SqliteStore.create(Path(sys.argv[1]))
store.append("note", {})
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
done = 1
try:
    while True:
        store.append(sys.argv[2], {"text": "x" * 1000})
        done += 1
except StoreError as error:
    print(error)
assert done > 10
assert len(list(store.read())) == done
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert store.append("note", {}).seq == done + 1
assert store.verify() == done + 1
store.close()
"""


@pytest.mark.parametrize("kind", ["rollout", "llm_reply"])
def test_no_space_left(tmp_path: Path, kind: str) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "run"), kind], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run.db could not be read or written; check the disk, its free space and the file-size limit" in done.stdout


def test_disk_full_leaves_the_log_whole(run: Path) -> None:
    with SqliteStore.open(run) as store:
        store._connection.execute("PRAGMA max_page_count = 8")

        def fill() -> None:
            for _ in range(1000):
                store.append("note", {"text": "x" * 1000})

        with pytest.raises(StoreError, match=r"there is no space left for run\.db; free some space and resume the run"):
            fill()
        done = store.last_seq
        assert done > 3
        with pytest.raises(StoreError, match="no space left"):
            store.put(os.urandom(50_000))
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert store.append("note", {}).seq == done + 1
        assert store.verify() == done + 1


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


READ_ONLY = """
import json, os, shutil, signal, sys
from pathlib import Path
from agentopt.core.errors import StoreError
from agentopt.store.sqlite import SqliteStore
base = Path(sys.argv[1])
closed = SqliteStore.create(base / "closed")
closed.append("note", {})
closed.close()
child = os.fork()
if child == 0:
    SqliteStore.create(base / "killed").append("note", {})
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
shutil.copytree(base / "killed", base / "without_shm")
(base / "without_shm" / "run.db-shm").unlink()
shutil.copytree(base / "closed", base / "secret")
for folder in base.iterdir():
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
(base / "secret" / "run.db").chmod(0o000)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
answers = {}
def attempt(name, act):
    try:
        answers[name] = act()
    except StoreError as error:
        answers[name] = str(error)
def count(folder):
    with SqliteStore.open(base / folder, read_only=True) as store:
        return [len(list(store.read())), store.verify()]
for folder in ("closed", "killed", "without_shm", "secret"):
    attempt(folder, lambda: count(folder))
attempt("write", lambda: SqliteStore.open(base / "closed"))
attempt("create", lambda: SqliteStore.create(base / "closed" / "inner"))
print(json.dumps(answers))
for folder in (base / name for name in ("closed", "killed", "without_shm", "secret")):
    if os.getuid() != 65534:
        folder.chmod(0o755)
"""


def test_a_folder_that_may_only_be_read(open_folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", READ_ONLY, str(open_folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["closed"] == [1, 1]
    assert answers["killed"] == [1, 1]
    assert "its last events are in run.db-wal, unreadable in a read-only folder; open a copy of the folder" in answers["without_shm"]
    assert "run.db cannot be opened; check that it exists and that you may read it and its folder" in answers["secret"]
    assert "cannot be locked: Permission denied; make the folder writable" in answers["write"]
    assert "cannot be made: Permission denied; choose another folder" in answers["create"]


def test_where_sqlite_finds_no_place_for_its_helper_file(run: Path) -> None:
    """As in a read-only folder: what is whole in run.db is read, what is still beside it is not passed over in silence."""
    (run / "run.db-shm").symlink_to(run / "absent" / "file")
    with SqliteStore.open(run, read_only=True) as store:
        assert store.verify() == 2
    (run / "run.db-wal").write_bytes(b"")
    with SqliteStore.open(run, read_only=True) as store:
        assert store.verify() == 2
    (run / "run.db-wal").write_bytes(b"events")
    with pytest.raises(StoreError, match=r"its last events are in run\.db-wal, unreadable in a read-only folder; open a copy"):
        SqliteStore.open(run, read_only=True)


def test_a_lock_of_another_program(run: Path) -> None:
    with SqliteStore.open(run) as store:
        store._connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(run / "run.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"another program keeps run\.db locked; close it and resume the run"):
            store.append("note", {})
        other.execute("ROLLBACK")
        other.close()
        assert store.append("note", {}).seq == 3


def test_another_thread_is_told_off(run: Path) -> None:
    errors: list[StoreError] = []

    def use(store: SqliteStore) -> None:
        try:
            store.append("note", {})
        except StoreError as error:
            errors.append(error)

    with SqliteStore.open(run) as store:
        thread = threading.Thread(target=use, args=(store,))
        thread.start()
        thread.join()
    assert "thread" in str(errors[0])


def test_use_after_close(run: Path) -> None:
    store = SqliteStore.open(run)
    store.close()
    with pytest.raises(StoreError, match="was closed; resume it to write to it"):
        store.append("note", {})
    for act in (lambda: list(store.read()), lambda: list(store.read(subject="a"))):
        with pytest.raises(StoreError, match="closed database"):
            act()


def test_a_failed_open_gives_the_lock_back(run: Path) -> None:
    change(run, "PRAGMA application_id = 1")
    for _ in range(2):
        with pytest.raises(StoreError, match="another program"):
            SqliteStore.open(run)


def test_a_long_log_is_read_in_batches(tmp_path: Path) -> None:
    with SqliteStore.create(tmp_path) as store:
        for index in range(1203):
            store.append("note", {"index": index})
        assert [event.data["index"] for event in store.read(after=3)] == list(range(3, 1203))
        first = store.read()
        next(first)
        store.append("note", {})
        assert sum(1 for _ in first) == 1202


SPEED = """
import sys, time
from pathlib import Path
from statistics import median
from agentopt.store.sqlite import SqliteStore
with SqliteStore.create(Path(sys.argv[1])) as store:
    medians = []
    for turn in range(5):
        taken = []
        for index in range(400):
            begin = time.perf_counter()
            store.append("rollout", {"candidate": "c" * 12, "case": "c17", "scores": {"excess": 0.1234 + index}, "rng_seed": index})
            taken.append(time.perf_counter() - begin)
        medians.append(median(taken))
    print(min(medians))
"""


def test_append_is_fast(tmp_path: Path) -> None:
    """The best of five medians, so that a busy machine does not fail it; in its own process, so that nothing traces it."""
    done = subprocess.run([sys.executable, "-c", SPEED, str(tmp_path)], capture_output=True, text=True, check=True, env=untraced())
    assert float(done.stdout) <= 0.15e-3


def test_a_log_can_be_born_with_its_first_event(tmp_path):
    with SqliteStore.create(tmp_path / "run", ("run_started", {"a": 1})) as store:
        assert store.append("note", {"b": 2}).seq == 2
    with SqliteStore.open(tmp_path / "run", read_only=True) as store:
        assert [(event.seq, event.kind, event.data) for event in store.read()] == [(1, "run_started", {"a": 1}), (2, "note", {"b": 2})]
        assert store.verify() == 2
    with pytest.raises(ValueError, match="'begun' is not a kind"):
        SqliteStore.create(tmp_path / "other", ("begun", {}))
    assert not (tmp_path / "other" / "run.db").exists()
