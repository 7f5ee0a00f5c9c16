"""The line of processes from which boxes come: each forks the one after it before it becomes a box."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket

import pytest

from agentopt.sandbox import kernel
from agentopt.sandbox.spare import Spare


def live(orders, inside, writer):
    """A box that tells what it got, and waits to be told to end."""
    os.write(writer, f"{orders['word']} {os.getppid()}".encode())
    os.read(inside, 1)


@pytest.fixture
def spare(adopting):
    unneeded = os.open(os.devnull, os.O_RDONLY)
    made = Spare(live, unneeded)
    os.close(unneeded)
    yield made
    made._line.close()
    os.waitpid(made.pid, 0)


def box(spare, word):
    """The pid of a box, what it wrote, and the socket to it."""
    outside, inside = socket.socketpair()
    printed, writer = os.pipe()
    with inside:
        pid = spare.become_box({"word": word}, inside, writer)
    os.close(writer)
    with open(printed, "rb", buffering=0) as pipe:
        return pid, pipe.read(100).decode(), outside


def test_each_box_was_the_spare_and_leaves_another(spare):
    seen = []
    for word in ("first", "second", "third"):
        before = spare.pid
        pid, said, outside = box(spare, word)
        with outside:
            assert (pid, said) == (before, f"{word} {os.getpid()}")
            assert spare.pid not in (pid, *seen)
            outside.send(b"x")
            assert os.waitpid(pid, 0) == (pid, 0)
        seen.append(pid)


def test_a_spare_ends_when_its_guard_does(spare):
    spare._line.close()
    assert kernel.ended_by_itself(spare.pid, 5)


def test_a_spare_that_was_killed_is_an_error_of_the_system(spare):
    dead = spare.pid
    os.kill(dead, signal.SIGKILL)
    assert kernel.ended_by_itself(dead, 5)
    outside, inside = socket.socketpair()
    with outside, inside, pytest.raises(OSError, match="the process that was to become the box is gone"):
        spare.become_box({"word": "x"}, inside, 2)
    assert spare.pid == dead


def test_a_box_that_cannot_live_ends_with_a_status(spare):
    before = spare.pid
    outside, inside = socket.socketpair()
    with outside, inside:
        spare.become_box({}, inside, os.dup(2))  # no word: the box fails before it does anything
    assert os.waitstatus_to_exitcode(os.waitpid(before, 0)[1]) == 70


def test_a_spare_that_may_not_fork_says_so_and_serves_later(spare):
    """A limit of open files that is reached, and lifted again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(spare.pid, resource.RLIMIT_NOFILE, (3, hard))
    outside, inside = socket.socketpair()
    with outside, inside, pytest.raises(OSError, match="Too many open files"):
        spare.become_box({"word": "x"}, inside, 2)
    resource.prlimit(spare.pid, resource.RLIMIT_NOFILE, (soft, hard))
    pid, said, outside = box(spare, "later")
    with outside:
        assert said == f"later {os.getpid()}"
        outside.send(b"x")
        assert os.waitpid(pid, 0) == (pid, 0)


def test_a_fork_that_is_refused_is_the_systems_word(monkeypatch, adopting):
    """In the spare, which is forked with what stands here in the place of fork."""
    forks = iter([kernel.plain_fork])

    def fork() -> int:
        try:
            return next(forks)()
        except StopIteration:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None

    monkeypatch.setattr("agentopt.sandbox.spare.plain_fork", fork)
    unneeded = os.open(os.devnull, os.O_RDONLY)
    made = Spare(live, unneeded)
    os.close(unneeded)
    for _ in range(2):
        outside, inside = socket.socketpair()
        with outside, inside, pytest.raises(OSError, match="Resource temporarily unavailable"):
            made.become_box({"word": "x"}, inside, 2)
    made._line.close()
    os.waitpid(made.pid, 0)
