"""The search for canaries: what lies within reach is found, and what is out of reach ends nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agentopt.sandbox import canary

FILE, MEMORY, KEY, OTHER, ALL = (canary.MARKER + digit * 32 for digit in "01234")


def found(*arguments) -> dict[str, str]:
    return dict(canary.search(*arguments).canaries)


def spelled(text: str) -> str:
    """Python that makes the text without holding it."""
    return f"''.join(map(chr, {[ord(letter) for letter in text]}))"


def in_child(code: str, **environment: str) -> str:
    """What a process prints, which starts with nothing of ours in its memory."""
    command = [sys.executable, "-c", f"from agentopt.sandbox import canary\n{code}"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True).stdout


def test_nothing_is_found_where_nothing_is():
    assert in_child("print(canary.search([], []).canaries)") == "[]\n"


@pytest.mark.parametrize("times", [1, 5, 100_000])
def test_memory_is_searched_through(times):
    text = in_child(f"planted = {spelled(MEMORY)} * {times}\nprint([(c[-2:], w) for c, w in canary.search([], []).canaries])")
    assert text == "[('11', 'in memory')]\n"


def test_the_environment_is_searched():
    said = in_child(f"print([(c[-2:], w) for c, w in canary.search([], []).canaries if c == {spelled(KEY)}])", SOME_KEY=KEY)
    assert said == "[('22', 'in the environment')]\n"


def test_files_and_folders_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(canary, "_own_memory", lambda: iter(()))
    monkeypatch.setattr(canary, "_MOST_FILES", 5)
    (tmp_path / "a.txt").write_bytes(b"\0" * 1000 + FILE.encode())
    (tmp_path / "b.txt").write_bytes(b"x" * (2 << 20) + MEMORY.encode())  # too far inside a large file
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c.txt").write_text(ALL)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "c.txt")
    (tmp_path / "zzz").write_text(OTHER)  # one more than are looked at
    assert found([str(tmp_path), str(tmp_path / "none")], []) == {FILE: f"in {tmp_path / 'a.txt'}"}
    assert found([str(tmp_path / "folder" / "c.txt")], []) == {ALL: f"in {tmp_path / 'folder' / 'c.txt'}"}
    assert "2 files of 2 folders" in canary.search([str(tmp_path), "none"], []).searched


def test_the_memory_of_another_process_is_searched(monkeypatch):
    monkeypatch.setattr(canary, "_own_memory", lambda: iter(()))
    code = f"planted = {spelled(OTHER)}\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        result = canary.search([], [process.pid, 1 << 30])
        process.communicate(b"\n")
    assert dict(result.canaries) == {OTHER: f"in the memory of process {process.pid}"}
    assert result.searched.endswith("the memory of 1 of 2 other processes")


def test_a_piece_of_memory_that_goes_away_is_passed_over(monkeypatch):
    monkeypatch.setattr(canary, "_own_memory", lambda: iter(()))
    regions = canary._regions
    monkeypatch.setattr(canary, "_regions", lambda process: [(1 << 70, 1 << 71), (16, 32), *regions(process)[:1]])
    assert "the memory of 1 of 1 other processes" in canary.search([], [os.getpid()]).searched


def test_the_relatives_of_a_controller():
    with subprocess.Popen(["sleep", "60"]) as process:
        found = canary.relatives(os.getpid())
        process.kill()
    assert {os.getpid(), process.pid, os.getppid()} <= set(found)
    assert canary.relatives(1 << 30) == [1 << 30, os.getppid()]
