"""What this machine can do for a box: found by doing it, and believed only when it was felt."""

from __future__ import annotations

import json
import os
import platform
import re
import sys

import pytest

from agentopt.sandbox import kernel, landlock, probe, seccomp
from agentopt.sandbox.probe import Machine
from tests.children import ChildError, in_child

HAS = probe.look_at()
needs_landlock = pytest.mark.skipif(bool(HAS.without_landlock), reason="this machine has no landlock")
needs_namespaces = pytest.mark.skipif(bool(HAS.without_namespaces), reason="this machine gives no namespaces")


@pytest.fixture
def look():
    """``look_at`` as if for the first time."""
    return probe.look_at.__wrapped__


def nothing(*arguments: object) -> None: ...


def test_the_look_tells_what_was_felt(look):
    found = look()
    assert found == HAS
    assert found.kernel == f"{platform.system()} {platform.release()}"
    assert found.landlock == landlock.abi()
    assert bool(found.landlock) == (not found.without_landlock)
    assert found.l2 == (not found.without_landlock and not found.without_seccomp)


def test_level_2_takes_both_walls_and_no_namespaces():
    assert Machine(7, "", "", "none", "Linux").l2
    assert not Machine(0, "none", "", "", "Linux").l2
    assert not Machine(7, "", "none", "", "Linux").l2


def test_the_look_is_taken_once(monkeypatch):
    monkeypatch.setattr(probe, "boot_command", nothing)
    assert probe.look_at() is HAS


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/no/such/python"], "the probe failed: .*No such file"),
        (["/bin/false"], "the probe failed: .*non-zero exit status 1"),
        (["/bin/echo", "not json"], "the probe failed: Expecting value"),
        (["/bin/sleep", "60"], "the probe failed: .*timed out after 0.2 seconds"),
    ],
)
def test_a_machine_where_even_the_look_fails_has_nothing(monkeypatch, look, command, why):
    monkeypatch.setattr(probe, "boot_command", lambda module: command)
    monkeypatch.setattr(probe, "_SECONDS", 0.2 if "sleep" in command[0] else 20)
    found = look()
    assert (found.landlock, found.l2) == (0, False)
    for reason in (found.without_landlock, found.without_seccomp, found.without_namespaces):
        assert re.match(why, reason), reason


def test_what_the_probe_says_is_json(monkeypatch, capsys):
    reasons = iter(["no landlock here", "", "no namespaces here"])
    monkeypatch.setattr(probe, "_try", lambda feel: next(reasons))
    probe.main()
    told = Machine(**json.loads(capsys.readouterr().out))
    assert told == Machine(landlock.abi(), "no landlock here", "", "no namespaces here", HAS.kernel)


def test_a_system_that_is_not_linux_has_no_landlock(monkeypatch, capsys):
    monkeypatch.setattr(probe, "_try", lambda feel: "no such thing")
    monkeypatch.setattr(sys, "platform", "darwin")
    probe.main()
    assert json.loads(capsys.readouterr().out)["landlock"] == 0


def silent() -> None:
    raise ValueError


def wordy() -> None:
    raise OSError("no " * 1000)


def test_a_try_tells_why_it_failed():
    assert probe._try(nothing) == ""
    assert probe._try(silent) == "no reason given"
    assert probe._try(wordy) == ("no " * 1000)[:500]
    assert probe._try(lambda: sys.exit("left")) == "left"


@needs_landlock
@pytest.mark.parametrize("feel", [probe._feel_landlock, probe._feel_seccomp])
def test_walls_that_stand_are_felt(feel):
    assert in_child(feel) is None


@needs_namespaces
def test_namespaces_that_stand_are_felt():
    assert in_child(probe._feel_namespaces, walled=False) is None


def failure(feel) -> str:
    with pytest.raises(ChildError) as error:
        in_child(feel, walled=False)
    return str(error.value).splitlines()[-1]


@needs_landlock
def test_landlock_that_takes_nothing_away_is_not_believed(monkeypatch):
    monkeypatch.setattr(landlock.Rules, "apply", nothing)
    assert failure(probe._feel_landlock).endswith("WallError: landlock took nothing away")


@needs_landlock
def test_a_filter_that_filters_nothing_is_not_believed(monkeypatch):
    monkeypatch.setattr(seccomp.Filter, "install", nothing)
    assert failure(probe._feel_seccomp).endswith("WallError: a socket can be made")


def test_a_machine_without_a_table_of_calls_has_no_seccomp(monkeypatch):
    monkeypatch.setattr(landlock.Rules, "__init__", nothing)
    monkeypatch.setattr(landlock.Rules, "apply", nothing)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert failure(probe._feel_seccomp).endswith("no table of system calls for riscv64")


def test_a_kernel_without_landlock(monkeypatch):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    assert failure(probe._feel_landlock).endswith("OSError: this kernel has no landlock")


def test_a_kernel_that_refuses_namespaces(monkeypatch):
    monkeypatch.setattr(kernel.libc(), "unshare", lambda flags: -1, raising=False)
    assert "unshare: " in failure(probe._feel_namespaces)


def test_namespaces_that_hide_nobody_are_not_believed(monkeypatch):
    monkeypatch.setattr(probe, "move_in", nothing)
    assert failure(probe._feel_namespaces).endswith("WallError: other processes can be seen")


@needs_namespaces
def test_namespaces_with_a_network_are_not_believed(monkeypatch):
    monkeypatch.setattr(probe.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    assert failure(probe._feel_namespaces).endswith("WallError: a network can be seen")


@needs_namespaces
def test_capabilities_that_stay_are_not_believed(monkeypatch):
    monkeypatch.setattr(probe, "drop_capabilities", nothing)
    assert failure(probe._feel_namespaces).endswith("WallError: capabilities could not be given up")


def test_the_probes_work_in_children_only(capsys):
    before = os.listdir("/proc/self/ns"), os.listdir("/"), os.getpid()
    probe.main()
    assert Machine(**json.loads(capsys.readouterr().out)) == HAS
    assert (os.listdir("/proc/self/ns"), os.listdir("/"), os.getpid()) == before
