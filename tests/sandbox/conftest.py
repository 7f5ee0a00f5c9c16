"""Each test has a temporary folder of its own, so that what is left there is seen."""

from __future__ import annotations

import os

import pytest

from agentopt.sandbox import kernel
from tests.boxes import own_temporary_folder

__all__ = ["adopting", "own_temporary_folder"]

_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def adopting(monkeypatch):
    """As in a guard: what bubblewrap leaves behind becomes a child of this process.

    Unlike a guard this process may have other threads, and then a plain fork can leave the child waiting for one of them.
    """
    monkeypatch.setattr("agentopt.sandbox.spare.plain_fork", os.fork)
    kernel.become_subreaper()
    yield
    kernel.end_children()
    kernel.libc().prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
