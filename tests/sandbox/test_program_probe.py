"""Whether the probe of whole programs tells a machine with walls from one without."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from agentopt.sandbox import program_probe
from agentopt.sandbox.program_probe import probe_programs

# takes bubblewrap's arguments and puts up no wall at all
NO_WALLS = """#!/bin/bash
while [ "$1" != -- ]; do
  [ "$1" = --json-status-fd ] && news=$2
  [ "$1" = --block-fd ] && gate=$2
  shift
done
shift
echo "{\\"child-pid\\": $$}" >&$news
dd bs=1 count=1 <&$gate >/dev/null 2>&1
exec {gate}<&-
"$@"
echo '{"exit-code": 0}' >&$news
"""


@pytest.fixture
def fake(level_3: Path, monkeypatch: pytest.MonkeyPatch):
    """Another program in bubblewrap's place, in this process."""

    def make(text: str) -> str:
        path = level_3 / "bwrap"
        path.write_text(text)
        path.chmod(0o755)
        monkeypatch.setattr(program_probe, "find_bwrap", lambda: str(path))
        return program_probe._look()

    return make


@pytest.mark.usefixtures("level_3")
def test_this_machine_runs_programs(monkeypatch: pytest.MonkeyPatch):
    assert probe_programs() == ""
    written: list[str] = []
    monkeypatch.setattr(program_probe.kernel, "become_subreaper", lambda: None)
    monkeypatch.setattr(sys.stdout, "write", written.append)
    program_probe.main(tempfile.gettempdir())
    assert written == [""]


def test_a_machine_without_walls_is_not_taken_for_one(fake):
    why = fake(NO_WALLS)
    assert why.startswith("level L3 cannot be had: a wall does not stand: ")
    assert "files outside the box can be seen" in why or "other processes can be seen" in why


def test_an_old_bubblewrap_is_named(fake):
    assert fake("#!/bin/sh\necho 'bwrap: Unknown option --disable-userns' >&2\nexit 1\n").endswith("; it needs bubblewrap 0.8 or newer")


def test_closed_namespaces_are_named_with_their_remedy(fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    closed = "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n"
    monkeypatch.setattr(program_probe, "_RESTRICTED", tmp_path / "none")
    assert "setting up uid map: Permission denied; user namespaces are closed here" in fake(closed)
    (tmp_path / "restricted").write_text("1\n")
    monkeypatch.setattr(program_probe, "_RESTRICTED", tmp_path / "restricted")
    assert "; AppArmor keeps ordinary programs from making user namespaces" in fake(closed)
    assert fake("#!/bin/sh\necho 'bwrap: no idea' >&2\nexit 1\n").startswith(
        "level L3 cannot be had: bubblewrap could not set up the box: no idea"
    )


def test_what_cannot_be_started_is_told(fake):
    assert "bubblewrap cannot be started" in fake("no program at all")


def test_processes_that_are_not_bounded_are_a_missing_wall(level_3: Path, monkeypatch: pytest.MonkeyPatch):
    class Unbounded:
        def __init__(self, *arguments):
            pass

        def run(self, *arguments):
            return b"done\n"

    monkeypatch.setattr(program_probe, "Launch", Unbounded)
    assert program_probe._look() == "level L3 cannot be had: a wall does not stand: the number of processes is not bounded"


def test_a_machine_without_bubblewrap_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(program_probe, "find_bwrap", lambda: None)
    assert "apt-get install bubblewrap" in program_probe._look()


def test_elsewhere_than_on_linux_there_is_no_level_3(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert program_probe._look() == "level L3 needs Linux"


@pytest.mark.usefixtures("level_3")
def test_folders_that_cannot_be_used_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert "level L3 needs a temporary folder: " in probe_programs()


@pytest.mark.usefixtures("level_3")
@pytest.mark.skipif(os.getuid() != 0, reason="programs of an ordinary user run as that user")
def test_root_is_told_of_a_folder_that_others_may_not_enter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(closed))
    assert "who cannot enter /" in probe_programs()


def test_a_probe_that_ends_badly_is_no_level_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(program_probe, "boot_command", lambda *arguments: ["/bin/false"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert "level L3 cannot be had: the probe failed" in probe_programs()
