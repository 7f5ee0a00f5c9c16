"""Landlock: each right that it takes is really gone, and what it leaves still works; on kernels that know less of it, too."""

from __future__ import annotations

import errno
import fcntl
import os
import posix
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentopt.sandbox import landlock
from tests.children import in_child, start

ABI = landlock.abi()
_RNDGETENTCNT = 0x80045200
pytestmark = pytest.mark.skipif(ABI < 1, reason="this kernel has no landlock")


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for name in ("readable", "outside", "work"):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "readable" / "script").write_text("#!/bin/sh\n")
    (tmp_path / "readable" / "script").chmod(0o755)
    return tmp_path


def attempt(action: Callable[[], Any]) -> str:
    """The name of the error that ``action`` ends with; "works" if it does."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "works"


def reach(family: int, address: Any) -> None:
    with socket.socket(family) as connection:
        connection.connect(address)


def settle(family: int, address: Any) -> None:
    with socket.socket(family) as connection:
        connection.bind(address)


def confined(places: Path, tries: dict[str, Callable[[], Any]], more: tuple[str, ...] = ()) -> dict[str, str]:
    """What becomes of each try where only ``readable`` may be read and only in ``work`` may be worked."""

    def tried() -> dict[str, str]:
        landlock.Rules([str(places / "readable"), str(places / "missing"), *more]).apply([str(places / "work")])
        return {name: attempt(action) for name, action in tries.items()}

    return in_child(tried)


def all_of(found: dict[str, str]) -> set[str]:
    return set(found.values())


def test_outside_nothing_can_be_read_or_changed(places):
    outside, work = places / "outside", places / "work"
    found = confined(
        places,
        {
            "read": (outside / "file").read_text,
            "list": lambda: os.listdir(outside),
            "list the root": lambda: os.listdir("/"),
            "list the parent": lambda: os.listdir(places),
            "write": lambda: (outside / "file").write_text("changed"),
            "make a file": lambda: (outside / "new").touch(),
            "make a folder": lambda: (outside / "new").mkdir(),
            "remove a file": (outside / "file").unlink,
            "remove a folder": (outside / "folder").rmdir,
            "through a way back": lambda: (work / ".." / "outside" / "file").read_text(),
        },
    )
    assert all_of(found) == {"EACCES"}, found
    assert (outside / "file").read_text() == "outside"


def test_what_may_be_read_may_only_be_read(places):
    readable = places / "readable"
    found = confined(
        places,
        {
            "write": lambda: (readable / "file").write_text("changed"),
            "make a file": lambda: (readable / "new").touch(),
            "make a folder": lambda: (readable / "new").mkdir(),
            "remove": (readable / "file").unlink,
            "remove a folder": (readable / "folder").rmdir,
            "execute": lambda: os.execv(readable / "script", ["script"]),
        },
    )
    assert all_of(found) == {"EACCES"}, found
    assert confined(places, {"read": (readable / "file").read_text, "list": lambda: os.listdir(readable)}) == {
        "read": "works",
        "list": "works",
    }


def test_a_single_file_can_be_made_readable(places):
    file, beside = places / "outside" / "file", places / "outside" / "folder"
    found = confined(places, {"read": file.read_text, "beside": lambda: os.listdir(beside)}, more=(str(file),))
    assert found == {"read": "works", "beside": "EACCES"}


def test_in_the_work_folder_files_and_folders_can_be_worked_with(places):
    work = places / "work"
    found = confined(
        places,
        {
            "read": (work / "file").read_text,
            "make a file": lambda: (work / "new").write_text("new"),
            "write": lambda: (work / "file").write_text("changed"),
            "make a folder": lambda: (work / "deep").mkdir(),
            "list": lambda: os.listdir(work),
            "rename": lambda: (work / "new").rename(work / "renamed"),
            "remove": (work / "renamed").unlink,
            "remove a folder": (work / "deep").rmdir,
        },
    )
    assert all_of(found) == {"works"}, found
    assert (work / "file").read_text() == "changed"


def test_in_the_work_folder_nothing_special_can_be_made(places):
    work = places / "work"
    found = confined(
        places,
        {
            "fifo": lambda: os.mkfifo(work / "fifo"),
            "device": lambda: os.mknod(work / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
            "disk": lambda: os.mknod(work / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)),
            "symbolic link": lambda: (work / "link").symlink_to("/etc/passwd"),
            "socket": lambda: settle(socket.AF_UNIX, str(work / "socket")),
        },
    )
    devices = {found.pop("device"), found.pop("disk")}
    assert devices <= {"EACCES", "EPERM"}, "an ordinary user is refused before landlock is asked"
    assert all_of(found) == {"EACCES"}, found
    assert sorted(os.listdir(work)) == ["file", "folder"]


def test_nothing_leaves_the_work_folder_and_nothing_gets_in(places):
    outside, work, readable = places / "outside", places / "work", places / "readable"
    found = confined(
        places,
        {
            "rename out": lambda: (work / "file").rename(outside / "stolen"),
            "rename in": lambda: (outside / "file").rename(work / "stolen"),
            "rename in what can be read": lambda: (readable / "file").rename(work / "stolen"),
            "link out": lambda: os.link(work / "file", outside / "stolen"),
            "link in": lambda: os.link(outside / "file", work / "stolen"),
            "link in what can be read": lambda: os.link(readable / "file", work / "stolen"),
        },
    )
    assert all_of(found) <= {"EACCES", "EXDEV"}, found


def simulated(monkeypatch: pytest.MonkeyPatch, abi: int) -> None:
    if abi > ABI:
        pytest.skip(f"this kernel has landlock {ABI}")
    monkeypatch.setattr(landlock, "abi", lambda: abi)


@pytest.mark.parametrize("abi", range(1, 9))
def test_each_version_takes_what_it_knows_of(places, monkeypatch, abi):
    simulated(monkeypatch, abi)
    work, parent = places / "work", os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0agentopt-test-{parent}")
        abstract.listen()
        address, name = server.getsockname(), abstract.getsockname()
        random = os.open("/dev/urandom", os.O_RDONLY)
        found = confined(
            places,
            {
                "read outside": (places / "outside" / "file").read_text,
                "write what can be read": lambda: (places / "readable" / "file").write_text("changed"),
                "write": lambda: (work / "file").write_text("changed"),
                "rename between folders of its own": lambda: (work / "file").rename(work / "folder" / "moved"),
                "truncate": lambda: os.truncate(places / "readable" / "file", 0),
                "connect": lambda: reach(socket.AF_INET, address),
                "bind": lambda: settle(socket.AF_INET, ("127.0.0.1", 0)),
                "control a device": lambda: fcntl.ioctl(os.open("/dev/urandom", os.O_RDONLY), _RNDGETENTCNT, bytes(4)),
                "control a device that was open before": lambda: fcntl.ioctl(random, _RNDGETENTCNT, bytes(4)),
                "abstract socket": lambda: reach(socket.AF_UNIX, name),
                "signal": lambda: os.kill(parent, 0),
                "signal itself": lambda: os.kill(os.getpid(), 0),
            },
            more=("/dev/urandom",),
        )
        os.close(random)
    refused = {
        "read outside": (1, "EACCES"),
        "write what can be read": (1, "EACCES"),
        "truncate": (3, "EACCES"),
        "connect": (4, "EACCES"),
        "bind": (4, "EACCES"),
        "control a device": (5, "EACCES"),
        "abstract socket": (6, "EPERM"),
        "signal": (6, "EPERM"),
    }
    expected = {name: refused[name][1] if name in refused and abi >= refused[name][0] else "works" for name in found}
    assert found == expected | {"rename between folders of its own": "works" if abi >= 2 else "EXDEV"}


def test_a_child_of_the_confined_is_confined(places):
    def grandchild() -> int:
        landlock.Rules([]).apply([])
        pid = start(lambda: posix._exit(attempt(lambda: os.listdir("/")) == "EACCES"))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_child(grandchild) == 1


def test_rules_are_made_once_and_applied_in_many(places):
    rules = landlock.Rules([str(places / "readable")])

    def tried() -> list[str]:
        rules.apply([str(places / "work")])
        return [attempt((places / name / "file").read_text) for name in ("readable", "work", "outside")]

    assert [in_child(tried) for _ in range(2)] == [["works", "works", "EACCES"]] * 2
    for descriptor, _ in rules._opened:
        os.close(descriptor)


def test_a_kernel_without_landlock_is_an_error(monkeypatch):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(OSError, match="this kernel has no landlock"):
        landlock.Rules([])


def test_a_kernel_that_does_not_know_the_call_has_version_0(monkeypatch):
    monkeypatch.setattr(landlock, "_CREATE", 100_000)
    assert landlock.abi() == 0


def test_rules_that_the_kernel_refuses_are_an_error_and_leave_nothing_open(monkeypatch):
    rules = landlock.Rules([])
    rules._handled = 1 << 60
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="landlock") as error:
        rules.apply([])
    assert error.value.errno == errno.EINVAL
    rules = landlock.Rules([])
    with pytest.raises(FileNotFoundError):
        rules.apply(["/no/such/folder"])
    assert os.listdir("/proc/self/fd") == before


def test_signals_of_the_others_still_arrive():
    """The parent ends what it confined."""
    hear, say = os.pipe()

    def confined_for_long() -> None:
        landlock.Rules([]).apply([])
        os.write(say, b"x")
        signal.pause()

    pid = start(confined_for_long)
    os.close(say)
    assert os.read(hear, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    os.close(hear)
