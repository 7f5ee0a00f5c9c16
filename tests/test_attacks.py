"""What doctor runs and reports, on this machine and on ones that have less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentopt.attacks import live
from agentopt.attacks.attack import ALWAYS, Attack, deed
from agentopt.attacks.corpus import ATTACKS
from agentopt.attacks.targets import Targets
from agentopt.cli import app
from agentopt.core.errors import TaskError
from agentopt.sandbox import levels

FEW = [
    attack
    for attack in ATTACKS
    if attack.name in ("os._exit(0)", "listing your home folder", "killing everything", "a child that sleeps on")
]


@pytest.fixture
def few(monkeypatch):
    """Doctor with four attacks, so that it is quick."""
    monkeypatch.setattr(live, "ATTACKS", FEW)
    return monkeypatch


def machine(patch, **changes):
    """As if this machine were another."""
    found = replace(levels.look_at(), **changes)
    for module in (live, levels):
        patch.setattr(module, "look_at", lambda: found)


def test_each_level_is_attacked_and_reported(few):
    report = live.examine()
    assert [found.level for found in report.levels] == ["L1", "L2", "L3"]
    assert report.holds, report
    l1, l2 = report.at("L1"), report.at("L2")
    assert l2.holds
    assert l2.sandbox.startswith("L2/landlock")
    assert {tried.name: (tried.stopped, tried.promised) for tried in l1.attacks} == {
        "os._exit(0)": (True, True),
        "listing your home folder": (False, False),
        "a child that sleeps on": (False, False),
        "all of them, seen from outside": (True, True),
    }
    assert {tried.name: tried.by for tried in l2.attacks} == {
        "os._exit(0)": "the guard",
        "listing your home folder": "landlock",
        "killing everything": "seccomp",
        "a child that sleeps on": "seccomp",
        "all of them, seen from outside": "all walls",
    }


def test_a_wall_that_does_not_stand_is_told(few):
    lying = [deed("reading what all may read", "no_files", "landlock", "EACCES", "return open('/etc/os-release').readline()[:4]")]
    few.setattr(live, "ATTACKS", lying)
    report = live.examine()
    assert not report.holds
    (tried, outside) = report.at("L2").attacks
    assert (tried.stopped, tried.promised, tried.by) == (False, True, f"ended as {tried.outcome[:60]!r}")
    assert tried.outcome.startswith("0: got ")
    assert outside.stopped
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "level L2 does not hold: reading what all may read" in done.stderr
    assert "NOT stopped" in done.stdout


def test_harm_is_seen_from_outside(few):
    few.setattr(Targets, "harmed", lambda self: ["a TCP socket", "the content of a file"])
    report = live.examine()
    assert report.at("L1").attacks[-1].outcome == "the content of a file"  # at L1 sockets can be reached
    assert report.at("L2").attacks[-1].outcome == "a TCP socket, the content of a file"
    assert not report.holds


@pytest.mark.thorough
def test_a_machine_without_landlock(few):
    machine(few, without_landlock="this kernel has no landlock")
    report = live.examine()
    assert report.holds, "what it has holds"
    assert (report.at("L2").why, report.at("L2").holds) == ("this kernel has no landlock", False)
    assert "level L2 is not to be had here: this kernel has no landlock" in report.advice
    assert any("Linux 5.13" in line for line in report.advice)
    assert any("protects the score, not the machine" in line for line in report.advice)
    done = CliRunner().invoke(app, ["doctor", "--require", "L2"])
    assert (done.exit_code, done.stderr.strip()) == (1, "level L2 does not hold: this kernel has no landlock")
    assert CliRunner().invoke(app, ["doctor", "--require", "L1"]).exit_code == 0


def test_a_machine_without_bubblewrap(few):
    few.setattr(live, "probe_programs", lambda: "level L3 needs bubblewrap, which is not installed; install it: apt-get install bubblewrap")
    done = CliRunner().invoke(app, ["doctor", "--require", "L3"])
    assert done.exit_code == 1
    assert "level L3 does not hold: level L3 needs bubblewrap" in done.stderr
    assert "apt-get install bubblewrap" in done.stdout


def test_a_level_that_the_task_cannot_have(few):
    def refuse(level, targets):
        raise TaskError("boxes of root need a user namespace")

    few.setattr(live, "Trial", refuse)
    assert [found.why for found in live.examine().levels][:2] == ["boxes of root need a user namespace"] * 2


@pytest.mark.parametrize(
    ("path", "value", "advice"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1\n", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 allows them"),
        ("kernel/unprivileged_userns_clone", "0\n", "sudo sysctl kernel.unprivileged_userns_clone=1 allows them"),
        ("user/max_user_namespaces", "0\n", "sudo sysctl user.max_user_namespaces=10000 allows them"),
        ("user/max_user_namespaces", "9\n", "the container is the outer wall"),
    ],
)
def test_advice_on_namespaces(few, tmp_path, path, value, advice):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(value)
    switches = {str(tmp_path / key.removeprefix("/proc/sys/")): values for key, values in live._SWITCHES.items()}
    few.setattr(live, "_SWITCHES", switches)
    few.setattr(live, "_SYSCTL", f"{tmp_path}/")
    machine(few, without_namespaces="unshare: Operation not permitted")
    few.setattr(levels, "_closed_to_others", lambda path: None)
    (found,) = (line for line in live._advice(live.look_at(), []) if line.startswith("user namespaces"))
    assert found.startswith("user namespaces: unshare: Operation not permitted; ")
    assert advice in found


@pytest.mark.parametrize(
    ("uid", "last"), [(0, "you are root: a hole in the kernel costs more than it would cost an ordinary user"), (1, "nothing is lacking")]
)
def test_a_strong_machine(few, uid, last):
    few.setattr("os.getuid", lambda: uid)
    machine(few, without_namespaces="", without_landlock="", without_seccomp="")
    assert live._advice(live.look_at(), [])[-1] == last


def test_outcomes_of_other_kernels_count_as_stopped():
    denied = deed("x", "no_files", "landlock", "EACCES", "pass")
    assert [denied.stopped_by(outcome) for outcome in ("0: denied EPERM", "0: got it", "crash: x")] == [True, False, False]
    ended = Attack("x", ALWAYS, "the guard", "crash: the process", "")
    assert [ended.stopped_by(outcome) for outcome in ("crash: the process was ended", "crash: no", "1: 4")] == [True, False, False]


def test_targets_notice_what_is_done_to_them(monkeypatch):
    import os
    import signal
    import socket

    with Targets() as targets:
        aims = targets.aims
        assert targets.harmed() == []
        assert Path(aims["task"]).read_text() == f"answers = {targets.word!r}\n"
        Path(aims["file"]).write_text("changed")
        assert "the content of a file" in targets.harmed()
        targets.settle()
        os.chmod(aims["file"], 0o600)
        assert targets.harmed() == ["mode, owner and times of a file"]
        targets.settle()
        Path(aims["folder"], "new").touch()
        assert "the files in a folder" in targets.harmed()
        targets.settle()
        os.sched_setaffinity(aims["pid"], {min(os.sched_getaffinity(0))})
        os.setpriority(os.PRIO_PROCESS, aims["pid"], 5)
        assert targets.harmed() == ["the cores, priority and limits of a process"]
        with socket.create_connection(("127.0.0.1", aims["tcp"])), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.1", aims["udp"]))
            with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
                one.connect(aims["unix"])
                other.connect("\0" + aims["abstract"])
                assert sorted(targets.heard()) == ["TCP", "UDP", "Unix", "nameless Unix"]
        assert targets.heard() == []
        os.kill(aims["pid"], signal.SIGKILL)
        targets._process.wait()
        assert targets.harmed() == ["a process"]
    assert not Path(aims["folder"]).exists()
    assert "AGENTOPT_DOCTOR_KEY" not in os.environ
