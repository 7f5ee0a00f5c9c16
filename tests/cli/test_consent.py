"""Consent: a person at a terminal is asked, nobody else; without it nothing is run."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from agentopt.cli import common
from agentopt.cli.common import with_consent
from agentopt.core.errors import ConsentError
from tests.toys import write_task

ROOT = Path(__file__).parents[2]
RUN = ("evolve", "line", "--budget", "4evals", "--out", "run", "--optimizer", "tests.toys:Steps")
EVOLVE = (*RUN, "--from", "other.py", "--sandbox", "L1")
SCORE = ("score", "line", "other.py", "--sandbox", "L1", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_task(tmp_path / "line")
    (tmp_path / "other.py").write_text("def f(x):\n    return 2 * x\n")
    return tmp_path


def call(folder: Path, *arguments: str, stdin: Any = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-m", "agentopt", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, stdin=stdin, capture_output=True, text=True, timeout=120)


def call_at_a_terminal(folder: Path, typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With a terminal as stdin, at which ``typed`` is typed."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    try:
        return call(folder, *arguments, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("arguments", [EVOLVE, SCORE], ids=["evolve", "score"])
def test_without_a_terminal_the_flag_is_named(folder: Path, arguments: tuple[str, ...]):
    done = call(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: sandbox: code from elsewhere would run at level L1, with your rights to files and network")
    assert "give --allow-weak-sandbox" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "run").exists()


@pytest.mark.parametrize("arguments", [EVOLVE, SCORE], ids=["evolve", "score"])
def test_the_flag_is_a_consent(folder: Path, arguments: tuple[str, ...]):
    done = call(folder, *arguments, "--allow-weak-sandbox", *(("--json",) if arguments is EVOLVE else ()))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["sandbox"].startswith("L1/")


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 2)])
def test_at_a_terminal_one_is_asked(folder: Path, typed: str, code: int):
    done = call_at_a_terminal(folder, typed, *SCORE)
    assert done.returncode == code, done.stderr
    assert "would run at level L1" in done.stderr
    assert "Allow it this once? [y/N]" in done.stderr
    if code == 0:
        assert json.loads(done.stdout.splitlines()[-1])["failure"] is None
    else:
        assert "error: sandbox: code from elsewhere" in done.stderr


@pytest.mark.parametrize("arguments", [RUN, ("score", "line", "line/seed.py")], ids=["evolve", "score"])
def test_no_walls_at_all_are_asked_for_by_one_flag(folder: Path, arguments: tuple[str, ...]):
    done = call(folder, *arguments, "--unsafe", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["sandbox"].startswith("L0/")
    if arguments is RUN:
        assert "L0 (no walls)" in call(folder, "show", "run").stdout
    refused = call(folder, *arguments, "--unsafe", "--sandbox", "L2")
    assert (refused.returncode, "give one of them" in refused.stderr) == (2, True)


# --- the asking itself


class Terminal:
    """A stdin that says whether it is a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        self.isatty = lambda: is_terminal


def asking(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, answer: bool) -> list[dict[str, Any]]:
    """With what the act was called, when its first call needs a consent."""
    calls: list[dict[str, Any]] = []

    def act(consent: dict[str, Any]) -> str:
        calls.append(consent)
        if not consent:
            raise ConsentError("sandbox: weak")
        return "done"

    monkeypatch.setattr(common.sys, "stdin", Terminal(is_terminal))
    monkeypatch.setattr(typer, "confirm", lambda question, err: answer)
    if is_terminal and answer:
        assert with_consent(act) == "done"
    else:
        with pytest.raises(ConsentError, match="sandbox: weak"):
            with_consent(act)
    return calls


@pytest.mark.parametrize(("is_terminal", "answer", "calls"), [(False, True, 1), (True, False, 1), (True, True, 2)])
def test_only_a_yes_at_a_terminal_is_one(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, answer: bool, calls: int):
    assert asking(monkeypatch, is_terminal, answer) == [{}, {"allow_weak_sandbox": True}][:calls]


def test_who_needs_no_consent_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(typer, "confirm", None)
    assert with_consent(lambda consent: consent) == {}
