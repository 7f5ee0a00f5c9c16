from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentopt.core.errors import StoreError
from agentopt.store import lock
from agentopt.store.lock import RunLock
from agentopt.store.sqlite import SqliteStore
from tests.untraced import untraced

HOLD = """
import sys
from pathlib import Path
from agentopt.store.sqlite import SqliteStore
store = SqliteStore.create(Path(sys.argv[1]))
store.append("note", {})
print("held", flush=True)
sys.stdin.read()
"""

FORK = """
import os, sys, time
from pathlib import Path
from agentopt.store import lock
from agentopt.store.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
os.kill(os.getpid(), 9)
"""


def start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=untraced()
    )


def test_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with start(HOLD, run) as process:
        assert process.stdout.readline() == "held\n"
        for act in (SqliteStore.open, SqliteStore.create):
            with pytest.raises(StoreError, match=rf"run .*run is being worked on by process {process.pid}; wait until it ends"):
                act(run)
        with SqliteStore.open(run, read_only=True) as reader:
            assert len(list(reader.read())) == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with SqliteStore.open(run) as store:
        assert store.append("note", {}).seq == 2


def test_a_forked_child_does_not_keep_the_run_locked(tmp_path: Path) -> None:
    with start(FORK, tmp_path / "lock") as process:
        assert int(process.stdout.readline()) > 0
        process.wait()
        RunLock(tmp_path / "lock").release()
        process.stdin.close()


def test_twice_in_one_process(tmp_path: Path) -> None:
    first = RunLock(tmp_path / "lock")
    with pytest.raises(StoreError, match="is being worked on by this process"):
        RunLock(tmp_path / "lock")
    first.release()
    first.release()
    assert (tmp_path / "lock").read_text() == ""
    RunLock(tmp_path / "lock").release()


def test_a_holder_that_has_not_written_its_number_yet(tmp_path: Path) -> None:
    first = RunLock(tmp_path / "lock")
    (tmp_path / "lock").write_text("")
    with pytest.raises(StoreError, match="by process unknown"):
        RunLock(tmp_path / "lock")
    first.release()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be locked: No such file or directory; make the folder writable"):
        RunLock(tmp_path / "absent" / "lock")


def test_what_a_forked_child_does_with_the_lock(tmp_path: Path) -> None:
    """The hook itself: the child's copy is closed without freeing what the parent wrote."""
    held, released = RunLock(tmp_path / "lock"), RunLock(tmp_path / "other")
    released.release()
    lock._drop_in_child()
    held.release()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    RunLock(tmp_path / "lock").release()


def test_leaving_a_lock_to_the_end_of_the_process(tmp_path: Path) -> None:
    """The hook that runs in a forked child copes with locks that are released already."""
    script = FORK.replace("lock = RunLock(Path(sys.argv[1]))", "lock = RunLock(Path(sys.argv[1])); lock.release()")
    with start(script, tmp_path / "lock") as process:
        assert int(process.stdout.readline()) > 0
        process.stdin.close()
