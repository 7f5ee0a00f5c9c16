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

_GET_DUMPABLE = 3


def live(orders, inside, writer, heir):
    """A box that tells what it got, and waits to be told to end."""
    assert orders["word"] == os.environ["HOME"]
    os.write(writer, f"{os.environ['HOME']} {os.getppid()} {heir}".encode())
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
    """What the box wrote, and the socket to it."""
    outside, inside = socket.socketpair()
    printed, writer = os.pipe()
    with inside:
        spare.become_box({"word": word, "environment": {"HOME": word}}, inside, writer)
    os.close(writer)
    with open(printed, "rb", buffering=0) as pipe:
        word, guard, heir = pipe.read(100).decode().split()
    return word, int(guard), int(heir), outside


def refusal(spare):
    """What is said by a spare that does not become a box."""
    outside, inside = socket.socketpair()
    with outside:
        with inside:
            spare.become_box({"word": "x", "environment": {}}, inside, 2)
        assert outside.recv(1) == b""
        return spare.refusal()


def test_each_box_was_the_spare_and_leaves_another(spare):
    seen = []
    for expected in ("first", "first", "second"):
        pid = spare.pid
        word, guard, heir, outside = box(spare, expected)
        with outside:
            assert (word, guard) == (expected, os.getpid())
            assert heir not in (pid, *seen)
            spare.pid = heir
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
        spare.become_box({"word": "x", "environment": {}}, inside, 2)
    assert spare.refusal() == "the process that was to become the box is gone"


def test_a_spare_that_is_killed_over_its_orders_is_gone(spare):
    os.kill(spare.pid, signal.SIGSTOP)
    outside, inside = socket.socketpair()
    with outside, inside:
        spare.become_box({"word": "x", "environment": {}}, inside, 2)
        os.kill(spare.pid, signal.SIGKILL)
        assert spare.refusal() == "the process that was to become the box is gone"


def test_a_box_that_cannot_live_ends_with_a_status_and_was_not_refused(spare):
    before = spare.pid
    outside, inside = socket.socketpair()
    with outside, inside:
        spare.become_box({"environment": {}}, inside, os.dup(2))  # no word: the box fails before it does anything
    assert spare.refusal() == ""
    assert os.waitstatus_to_exitcode(os.waitpid(before, 0)[1]) == 70
    (spare.pid,) = kernel.children()


def test_a_spare_that_may_not_fork_says_so_and_serves_later(spare):
    """A limit of open files that is reached, and lifted again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(spare.pid, resource.RLIMIT_NOFILE, (3, hard))
    assert refusal(spare) == "[Errno 24] Too many open files"
    resource.prlimit(spare.pid, resource.RLIMIT_NOFILE, (soft, hard))
    pid = spare.pid
    word, guard, spare.pid, outside = box(spare, "later")
    with outside:
        assert (word, guard) == ("later", os.getpid())
        outside.send(b"x")
        assert os.waitpid(pid, 0) == (pid, 0)


def test_a_fork_that_is_refused_is_the_systems_word(monkeypatch, adopting):
    """In the spare, which is forked with what stands here in the place of fork."""
    forks = iter([os.fork])

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
        assert refusal(made) == "[Errno 11] Resource temporarily unavailable"
    made._line.close()
    os.waitpid(made.pid, 0)


def _tells_whether_it_is_hidden(orders, inside, writer, heir):
    os.write(inside, b"%d" % kernel.libc().prctl(_GET_DUMPABLE, 0, 0, 0, 0))


def test_what_became_a_box_is_not_hidden(adopting):
    """The guard has to measure the box."""
    unneeded = os.open(os.devnull, os.O_RDONLY)
    kernel.hide_memory(True)
    try:
        made = Spare(_tells_whether_it_is_hidden, unneeded)
    finally:
        kernel.hide_memory(False)
    os.close(unneeded)
    outside, inside = socket.socketpair()
    with outside:
        with inside:
            made.become_box({"environment": {}}, inside, 2)
        assert outside.recv(1) == b"1"
    made._line.close()
