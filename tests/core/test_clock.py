"""Time that nobody can set."""

from __future__ import annotations

import time

import pytest

from agentopt.core.clock import SteadyClock


def test_it_begins_with_the_machines_time():
    assert SteadyClock().now() == pytest.approx(time.time(), abs=1.0)


def test_setting_the_machines_time_does_not_move_it(monkeypatch: pytest.MonkeyPatch):
    clock = SteadyClock()
    before = clock.now()
    for hours in (5, -5):
        monkeypatch.setattr(time, "time", lambda hours=hours: 1.7e9 + 3600 * hours)
        assert before <= clock.now() < before + 60
