"""Namespaces of one's own: what can be seen from inside, and that everything in them ends together."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from agentopt.sandbox import kernel, namespaces
from agentopt.sandbox.probe import look_at
from tests.children import ChildError, closes, in_child, start

needs_namespaces = pytest.mark.skipif(bool(look_at().without_namespaces), reason="this machine gives no namespaces")


@needs_namespaces
def test_inside_one_is_the_first_and_alone():
    outside = os.getpid(), os.getuid(), os.getgid()

    def seen() -> dict[str, object]:
        namespaces.move_in()
        return {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "user": (os.getuid(), os.getgid()),
            "processes": [name for name in os.listdir("/proc") if name.isdigit()],
            "network": [name for _, name in socket.if_nameindex()],
            "the one outside": os.path.exists(f"/proc/{outside[0]}"),
        }

    assert in_child(seen, walled=False) == {
        "pid": 1,
        "parent": 0,
        "user": outside[1:],
        "processes": ["1"],
        "network": ["lo"],
        "the one outside": False,
    }


@needs_namespaces
def test_nobody_outside_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0agentopt-test-{os.getpid()}")
        abstract.listen()
        address, name, parent = server.getsockname(), abstract.getsockname(), os.getpid()

        def reached() -> list[int | None]:
            namespaces.move_in()
            errors: list[int | None] = []
            for family, target in ((socket.AF_INET, address), (socket.AF_UNIX, name)):
                with socket.socket(family) as connection:
                    errors.append(connection.connect_ex(target))
            try:
                os.kill(parent, 0)
            except ProcessLookupError as error:
                errors.append(error.errno)
            return errors

        found = in_child(reached, walled=False)
    assert found[0] in (errno.ENETUNREACH, errno.ECONNREFUSED)
    assert found[1:] == [errno.ECONNREFUSED, errno.ESRCH]


@needs_namespaces
def test_without_capabilities_one_is_an_ordinary_user(tmp_path):
    def tried() -> list[str]:
        namespaces.move_in()
        socket.sethostname("before")
        namespaces.drop_capabilities()
        errors = []
        for action in (
            lambda: socket.sethostname("after"),
            lambda: os.setresuid(1, 1, 1),
            lambda: os.chroot(tmp_path),
            lambda: namespaces._check(kernel.libc().mount(b"tmpfs", b"/proc", b"tmpfs", 0, None), "mount"),
        ):
            try:
                action()
            except OSError as error:
                errors.append(errno.errorcode[error.errno or 0])
        held = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap")]
        return [*errors, *held]

    *errors, inheritable, permitted, effective, bounding, ambient = in_child(tried, walled=False)
    assert errors[0] == errors[2] == errors[3] == "EPERM"
    assert errors[1] in ("EPERM", "EINVAL")
    assert {int(held, 16) for held in (inheritable, permitted, effective, bounding, ambient)} == {0}


@needs_namespaces
def test_the_one_outside_ends_as_the_one_inside_does():
    def ending() -> None:
        namespaces.move_in()
        os._exit(7)

    assert status_of(ending) == 7


def status_of(action) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(start(action), 0)[1])


@needs_namespaces
@pytest.mark.parametrize("who", ["the one outside", "the first inside"])
def test_when_one_of_the_two_is_killed_everything_inside_ends(who):
    """Grandchildren in sessions of their own included."""
    hear, say = os.pipe()

    def family() -> None:
        os.setsid()
        namespaces.move_in()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.setsid()
            os.write(say, b"x")
        time.sleep(60)

    pid = start(family)
    os.close(say)
    heard = b""
    while len(heard) < 2:
        heard += os.read(hear, 1)
    inside = psutil.Process(pid).children(recursive=True)
    assert len(inside) == 3
    first = psutil.Process(pid).children()[0].pid
    os.kill(pid if who == "the one outside" else first, signal.SIGKILL)
    assert closes(hear), "the last of them has ended"
    os.close(hear)
    os.waitpid(pid, 0)
    assert psutil.wait_procs(inside, timeout=10)[1] == []


@needs_namespaces
def test_the_one_outside_holds_nothing_open():
    """So that whoever waits for the end of a pipe or socket waits for those inside alone."""
    hear, say = os.pipe()

    def inside() -> None:
        namespaces.move_in()
        os.write(say, b"x")
        time.sleep(60)

    pid = start(inside)
    os.read(hear, 1)
    descriptors = os.listdir(f"/proc/{pid}/fd")
    deadline = time.monotonic() + 10
    while len(descriptors) > 1 and time.monotonic() < deadline:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    assert len(descriptors) == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for descriptor in (hear, say):
        os.close(descriptor)


@needs_namespaces
def test_one_inside_whose_companion_has_ended_already_ends_at_once():
    """It cannot see its parent, so it looks whether the other end of a pipe is still held."""
    told, tell = os.pipe()
    os.close(tell)
    assert status_of(lambda: namespaces._settle(told)) == 1
    os.close(told)


def test_namespaces_that_cannot_be_had_are_an_error_in_the_process_that_asked(monkeypatch):
    monkeypatch.setattr(kernel.libc(), "unshare", lambda flags: -1, raising=False)
    with pytest.raises(ChildError, match="unshare: "):
        in_child(namespaces.move_in, walled=False)


@needs_namespaces
def test_a_proc_that_cannot_be_mounted_is_an_error(monkeypatch):
    monkeypatch.setattr(kernel.libc(), "mount", lambda *arguments: -1, raising=False)
    with pytest.raises(ChildError, match="mount /proc: "):
        in_child(namespaces.move_in, walled=False)


def test_capabilities_that_stay_are_an_error(monkeypatch):
    monkeypatch.setattr(kernel.libc(), "capset", lambda *arguments: -1, raising=False)
    with pytest.raises(ChildError, match="capset: "):
        in_child(namespaces.drop_capabilities)


@needs_namespaces
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_move_in_too():
    def seen() -> tuple[int, int]:
        os.setgroups([])
        os.setresgid(1234, 1234, 1234)
        os.setresuid(1234, 1234, 1234)
        kernel._prctl(4, 1)  # PR_SET_DUMPABLE: a process that changed its user may otherwise not write its own maps
        namespaces.move_in()
        return os.getpid(), os.getuid()

    try:
        found = in_child(seen)
    except ChildError as error:
        if "unshare" not in str(error):
            raise
        pytest.skip("this machine keeps user namespaces for root")
    assert found == (1, 1234)


@pytest.mark.skipif(not namespaces.may_mount(), reason="only root, and not in every container, may mount")
def test_a_stage_shows_what_lies_behind_a_closed_folder_and_leaves_nothing(tmp_path):
    closed, stage = tmp_path / "closed", tmp_path / "stage"
    (closed / "inner").mkdir(parents=True)
    (closed / "inner" / "file").write_text("seen")
    (closed / "alone").write_text("too")
    stage.mkdir()

    def seen() -> list[str]:
        namespaces.set_stage(str(stage), [str(closed / "inner"), str(closed / "alone")])
        return [(stage / "0" / "file").read_text(), (stage / "1").read_text()]

    assert in_child(seen) == ["seen", "too"]
    assert list(stage.iterdir()) == []
