from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agentopt.store.lock import RunLock, holder

_HOLD = "import sys, pathlib, agentopt.store.lock as l; k = l.RunLock(pathlib.Path(sys.argv[1])); print('held', flush=True); input()"


def test_nobody_holds_a_lock_that_is_not_there(tmp_path: Path) -> None:
    assert holder(tmp_path / "lock") is None


def test_a_lock_that_was_given_back_is_held_by_nobody(tmp_path: Path) -> None:
    RunLock(tmp_path / "lock").release()
    assert holder(tmp_path / "lock") is None


def test_who_holds_it_and_that_a_killed_one_does_not(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin
    assert other.stdout
    try:
        assert other.stdout.readline() == b"held\n"
        assert holder(tmp_path / "lock") == str(other.pid)
    finally:
        other.kill()
        other.wait()
        other.stdin.close()
        other.stdout.close()
    assert (tmp_path / "lock").read_text().strip() == str(other.pid)
    assert holder(tmp_path / "lock") is None
    RunLock(tmp_path / "lock").release()
