"""The scratch folder."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from agentopt.sandbox.files import copy_files, make_folder, remove_folder


def test_files_and_folders_are_copied(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "lib").mkdir(parents=True)
    target.mkdir()
    (source / "a.txt").write_text("a")
    (source / "lib" / "b.txt").write_text("b")
    copy_files([str(source / "a.txt"), str(source / "lib")], target)
    assert ((target / "a.txt").read_text(), (target / "lib" / "b.txt").read_text()) == ("a", "b")


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_a_locked_folder_is_removed_and_what_it_links_to_is_not(scratch, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (scratch / "a" / "b").mkdir(parents=True)
    (scratch / "a" / "file").write_text("")
    for link in (scratch / "a" / "link", scratch / "link"):
        link.symlink_to(outside)
    for path in (scratch / "a" / "b", scratch / "a", scratch):
        path.chmod(0)
    as_ordinary_user(tmp_path, lambda: remove_folder(Path("scratch")))
    assert not scratch.exists()
    assert outside.stat().st_mode & 0o777 == 0o755


def as_ordinary_user(folder, action):
    """In ``folder``, which is theirs then. Root is stopped by no mode, so for root it is somebody else who does it."""
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            if os.getuid() == 0:
                for parent, names, files in os.walk("."):
                    for path in (parent, *(os.path.join(parent, name) for name in names + files)):
                        os.chown(path, 1234, 1234, follow_symlinks=False)
                os.setresuid(1234, 1234, 1234)
            action()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_folders_in_folders_without_an_end(scratch):
    here = os.getcwd()
    os.chdir(scratch)
    try:
        for _ in range(3000):  # a path of that length could not be opened, a recursion would not come back
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    remove_folder(scratch)
    assert not scratch.exists()


def test_what_is_not_there_or_cannot_be_deleted_is_passed_over(scratch, monkeypatch):
    remove_folder(scratch / "nowhere")
    remove_folder(scratch)
    assert not scratch.exists()
    (scratch / "a").mkdir(parents=True)
    (scratch / "file").write_text("")
    monkeypatch.setattr(os, "unlink", refusing)
    monkeypatch.setattr(os, "rmdir", refusing)
    remove_folder(scratch)
    assert sorted(path.name for path in scratch.iterdir()) == ["a", "file"]


def refusing(*arguments, **options):
    raise PermissionError


def dead_pid() -> int:
    with subprocess.Popen(["/bin/true"]) as process:
        pass
    return process.pid


def test_what_killed_controllers_left_is_removed_but_nothing_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o755)
    dead = dead_pid()
    left = tmp_path / f"agentopt-boxes-{dead}-left"
    (left / "scratch").mkdir(parents=True)
    (tmp_path / f"agentopt-boxes-{dead}-link").symlink_to(precious)
    at_work = tmp_path / f"agentopt-boxes-{os.getpid()}-used"
    at_work.mkdir()
    made = make_folder()
    assert not left.exists()
    assert at_work.exists()
    assert made.stat().st_mode & 0o777 == 0o711
    assert precious.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder for somebody else")
def test_the_folders_of_other_users_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / f"agentopt-boxes-{dead_pid()}-theirs"
    theirs.mkdir()
    os.chown(theirs, 1234, 1234)
    make_folder()
    assert theirs.exists()
