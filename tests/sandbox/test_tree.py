"""A process and all that came of it, also when it does not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

from agentopt.sandbox import tree

FAMILY = """
import os, sys, time
from agentopt.sandbox import kernel
kernel.become_subreaper()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if os.fork() == 0: time.sleep(600)
            time.sleep(600)
        os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""


def living(pid: int) -> list[psutil.Process]:
    return [other for other in psutil.Process(pid).children(recursive=True) if other.status() != psutil.STATUS_ZOMBIE]


def test_a_stopped_process_loses_all_its_descendants():
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while len(living(process.pid)) < 6:
            pass
        os.kill(process.pid, signal.SIGSTOP)
        assert set(tree.family(process.pid)) >= {process.pid, *(other.pid for other in living(process.pid))}
        tree.end_family(process.pid)
        assert living(process.pid) == []
        assert process.poll() is None, "itself it is left alone"
        process.kill()


def test_a_process_that_is_gone_has_no_family():
    tree.end_family(1 << 30)
    assert tree.family(1 << 30) == [1 << 30]


def test_what_cannot_be_ended_does_not_hold_it_up(monkeypatch):
    with subprocess.Popen(["sleep", "600"]) as process:
        monkeypatch.setattr(tree, "_ROUNDS", 3)
        monkeypatch.setattr(tree.kernel, "watch_process", lambda pid: None)
        tried = []

        def refuse(pid, number):
            tried.append(pid)
            raise PermissionError

        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", refuse)
            patch.setattr(tree, "family", lambda pid: [pid, process.pid])
            tree.end_family(os.getpid())
        assert tried == [process.pid] * 3
        process.kill()
