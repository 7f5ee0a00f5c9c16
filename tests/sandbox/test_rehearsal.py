"""The zygote rehearses what boxes do: each round goes well, and nothing is left of it."""

from __future__ import annotations

import linecache
import os
import sys

import pytest

from agentopt.core import wire
from agentopt.sandbox import harness, rehearsal


def test_the_candidate_of_the_rehearsal_is_loaded_and_run_each_time(monkeypatch):
    sent = []
    monkeypatch.setattr(wire.FrameSocket, "send", lambda self, control, body: sent.append((control["status"], bytes(body))))
    rehearsal.rehearse()
    assert sent == [("ok", b""), ("ok", wire.encode(2))] * rehearsal._TIMES


def test_nothing_is_left_of_it():
    before = set(sys.modules), set(linecache.cache), list(sys.path), os.listdir("/proc/self/fd")
    rehearsal.rehearse()
    assert (set(sys.modules), set(linecache.cache), list(sys.path), os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("fault", ["load", "rollout"])
def test_one_that_goes_wrong_stops_nobody(monkeypatch, fault):
    """A task's modules may have changed what boxes use; its candidates get to hear of it."""
    sent = []
    monkeypatch.setattr(wire.FrameSocket, "send", lambda self, control, body: sent.append(control["status"]))
    monkeypatch.setattr(harness.Harness, fault, lambda *arguments: harness.Outcome("crash", "something"))
    rehearsal.rehearse()
    assert sent.count("crash") >= rehearsal._TIMES
