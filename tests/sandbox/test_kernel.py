"""What the guard asks of the system, and what it gets where the system knows nothing."""

from __future__ import annotations

import ctypes
import errno
import os
import posix
import signal
import subprocess
import sys
import time

import pytest

from agentopt.sandbox import kernel
from tests import children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures what only Linux offers")


@pytest.fixture
def sleeper():
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def burner():
    code = "import time\nblock = bytearray(80 << 20)\ndel block\nprint('ready', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def in_child(action) -> int:
    """The exit status of a child that does ``action``; a truth is status 0."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = 0 if action() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def family() -> bool:
    """In a subreaper: a child in a session of its own, whose child outlives it."""
    kernel.become_subreaper()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    spared = os.fork()
    if spared == 0:
        time.sleep(600)
    kernel.end_children(spare=[spared])
    left = kernel.children()
    kernel.end_children()
    return left == [spared] and kernel.children() == []


@pytest.mark.parametrize("listed", [True, False])
def test_children_end_down_to_the_last_grandchild(monkeypatch, listed):
    if not listed:
        real = kernel.Path
        monkeypatch.setattr(kernel, "Path", lambda path: real("/nowhere" if "children" in path else path))
    assert in_child(family) == 0


def test_without_proc_there_are_no_children_to_be_seen(monkeypatch):
    monkeypatch.setattr(kernel, "Path", lambda path: __import__("pathlib").Path("/nowhere"))
    assert kernel.children() == []
    monkeypatch.setattr(os, "listdir", raising)
    assert kernel.children() == []
    assert kernel.thread_count() == 1


def raising(*arguments):
    raise OSError


def test_a_child_dies_with_its_parent():
    listen, tell = os.pipe()

    def parent() -> bool:
        me = os.getpid()
        ready, say_ready = os.pipe()
        if os.fork() == 0:
            kernel.die_with_parent(me)
            os.write(say_ready, b"x")
            time.sleep(600)
        return os.read(ready, 1) == b"x"

    assert in_child(parent) == 0
    os.close(tell)
    assert os.read(listen, 1) == b""  # the grandchild, which held the other end too, is gone
    os.close(listen)


def test_a_child_of_somebody_else_ends_at_once():
    assert in_child(lambda: kernel.die_with_parent(1) is None) == 1


def test_an_option_the_kernel_does_not_know():
    with pytest.raises(OSError, match="prctl"):
        kernel._prctl(123456, 1)


@pytest.mark.parametrize("linux", [True, False])
def test_whether_a_child_has_ended(monkeypatch, sleeper, linux):
    monkeypatch.setattr(kernel, "LINUX", linux)
    assert not kernel.ended_by_itself(sleeper, 0.02)
    os.kill(sleeper, signal.SIGKILL)
    assert kernel.ended_by_itself(sleeper, 5)
    status = os.waitid(os.P_PID, sleeper, os.WEXITED | os.WNOWAIT)
    assert status is not None
    assert status.si_status == signal.SIGKILL


def test_cpu_seconds_of_another_process(monkeypatch, burner, sleeper):
    begun = kernel.cpu_seconds(burner)
    deadline = time.monotonic() + 20
    while kernel.cpu_seconds(burner) < begun + 0.02:
        assert time.monotonic() < deadline
    assert kernel.cpu_seconds(sleeper) < 0.5
    monkeypatch.setattr(kernel, "LINUX", False)
    assert kernel.cpu_seconds(burner) == 0.0


def test_the_clock_of_a_process_that_has_ended():
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    assert kernel.cpu_seconds(process.pid) == 0.0
    assert kernel.watch_process(process.pid) is None


def test_peak_memory_can_be_started_again(burner):
    peak = kernel.PeakMemory(burner)
    assert peak.read() > 80 << 20
    peak.restart()
    assert 1 << 20 < peak.read() < 60 << 20


def test_peak_memory_of_nobody():
    with subprocess.Popen(["/bin/true"]) as process:
        peak = kernel.PeakMemory(process.pid)
        process.wait()
    peak.restart()
    assert peak.read() is None
    nobody = kernel.PeakMemory(process.pid)
    nobody.restart()
    assert nobody.read() == 0


def test_a_plain_fork_is_a_fork():
    """From a process without other threads, for which it is made."""

    def forked() -> tuple[int, bool]:
        hear, say = os.pipe()
        pid = kernel.plain_fork()
        if pid == 0:
            os.write(say, str(os.getppid()).encode())
            posix._exit(3)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, int(os.read(hear, 100)) == os.getpid()

    assert children.in_child(forked) == (3, True)


def test_a_process_too_many_is_an_error(monkeypatch):
    class Full:
        def fork(self) -> int:
            ctypes.set_errno(errno.EAGAIN)
            return -1

    monkeypatch.setattr(kernel, "_libc_with_lock", Full)
    with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
        kernel.plain_fork()


def test_elsewhere_it_is_what_python_has(monkeypatch):
    monkeypatch.setattr(kernel, "LINUX", False)
    monkeypatch.setattr(os, "fork", lambda: 4711)
    assert kernel.plain_fork() == 4711
