"""The same table for an ordinary user, where the suite runs as root."""

from __future__ import annotations

import os
import re
import sys

import pytest

from agentopt.attacks.live import Trial
from agentopt.attacks.targets import Targets
from agentopt.core.errors import TaskError
from agentopt.sandbox.probe import look_at
from tests.hostile import users
from tests.hostile.arena import ALONE, at, why_not


@pytest.mark.thorough
@pytest.mark.skipif(not os.environ.get("AGENTOPT_CI"), reason="the table once more: CI does it, or AGENTOPT_CI=1")
@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user has run the table already")
def test_an_ordinary_user_is_as_safe_as_root():
    """What others may not enter is covered, so that Python and this checkout can be reached; then the table runs again."""
    passed = again(f"looked_into or (test_table and not L1) or (test_honest and {SPELLED})", users.UID)
    assert passed >= 770


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root's boxes become a user who owns nothing")
def test_root_without_namespaces_is_as_safe_where_others_may_read_python():
    assert again(SPELLED, 0) >= 380


SPELLED = ALONE.replace(" ", " and ")


def again(chosen: str, uid: int) -> int:
    """How many tests pass, of those chosen; all have to."""
    if why := users.why_not():
        (pytest.fail if os.environ.get("AGENTOPT_CI") else pytest.skip)(why)
    files = [f"tests/hostile/test_{name}.py" for name in ("table", "secrets", "honest")]
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-rs", "-k", chosen, *files]
    done = users.run(command, 300, uid)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "SKIPPED" not in done.stdout, done.stdout[-3000:]
    return int(re.findall(r"(\d+) passed", done.stdout)[-1])


@pytest.mark.skipif(os.getuid() != 0, reason="of root only a spare user is left without namespaces")
@pytest.mark.skipif(not look_at().l2, reason="this machine has no level L2")
def test_root_without_namespaces_needs_a_python_that_others_may_read(tmp_path, monkeypatch):
    if not why_not(ALONE):
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        monkeypatch.setattr(sys, "prefix", str(closed))
    with at(ALONE), Targets() as targets, pytest.raises(TaskError) as refused:
        Trial("L2", targets)
    sentence = str(refused.value)
    assert "boxes of root need a user namespace (a test wants none), or a user without rights who can read" in sentence
    assert "is closed to others: move the Python environment, or run as an ordinary user" in sentence
