"""Each test has a temporary folder of its own, so that what is left there is seen."""

from __future__ import annotations

import pytest

from agentopt.sandbox import kernel
from tests.boxes import own_temporary_folder

__all__ = ["adopting", "own_temporary_folder"]

_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def adopting():
    """As in a guard: what bubblewrap leaves behind becomes a child of this process."""
    kernel.become_subreaper()
    yield
    kernel.end_children()
    kernel.libc().prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
