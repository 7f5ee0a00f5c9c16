"""The answering side of a relay."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentopt.core.chat import ChatRequest, Message
from agentopt.llm import relay
from tests.cli.logs import invoke, last_json, refused, shown

FIRST = ChatRequest((Message("system", "Be brief."), Message("user", "What is\n2 + 2?")), purpose="sum")
SECOND = ChatRequest((Message("user", "A \x1b[31mred\x1b[0m word?"),), purpose="word")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "questions"
    folder.mkdir()
    for age, request in ((60, FIRST), (30, SECOND)):
        path = folder / f"{request.digest}.request.md"
        relay._write(path, relay._spell(request.digest, request))
        os.utime(path, (time.time() - age,) * 2)
    return folder


def test_open_questions_are_listed_by_age(folder: Path) -> None:
    _, first, second = shown("relay", folder).splitlines()
    assert first.split()[:2] == [FIRST.digest[:12], "sum"]
    assert first.rstrip().endswith("What is 2 + 2?")
    assert 60 <= int(first.split()[2]) < 600
    assert r"A \x1b[31mred" in second
    found = last_json(shown("relay", folder, "--json"))["questions"]
    assert [row["id"] for row in found] == [FIRST.digest, SECOND.digest]
    relay.answer(folder, FIRST.digest, "4")
    relay.answer(folder, SECOND.digest, "red")
    result = invoke("relay", folder)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no question is open\n")


def test_a_question_is_shown_as_it_is(folder: Path) -> None:
    result = invoke("relay", folder, "--show", SECOND.digest[:6])
    assert result.stdout_bytes == (folder / f"{SECOND.digest}.request.md").read_bytes()


def test_a_terminal_is_not_steered_by_a_question(folder: Path) -> None:
    ours, terminal = pty.openpty()
    command = [sys.executable, "-m", "agentopt", "relay", str(folder), "--show", SECOND.digest]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert rb"A \x1b[31mred" in shown
    assert b"\x1b" not in shown


def test_an_answer_from_a_file_or_stdin(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "reply.txt").write_text("4\n")
    assert invoke("relay", folder, tmp_path / "reply.txt", "--answer", FIRST.digest).exit_code == 0
    assert invoke("relay", folder, "--answer", SECOND.digest[:8], input="rouge").exit_code == 0
    assert [(folder / f"{request.digest}.reply.md").read_text() for request in (FIRST, SECOND)] == ["4\n", "rouge"]


def test_a_claim_keeps_others_away(folder: Path) -> None:
    assert shown("relay", folder, "--claim", FIRST.digest, "--seconds", "60") == f"{FIRST.digest}\n"
    again = invoke("relay", folder, "--claim", FIRST.digest)
    assert (again.exit_code, again.stderr) == (1, f"{FIRST.digest}: somebody else works on it\n")
    who, seconds = (folder / f"{FIRST.digest}.lease").read_text().splitlines()
    assert who.startswith(f"user {os.getuid()} on ")
    assert seconds == "60"
    assert len(last_json(shown("relay", folder, "--json"))["questions"]) == 1


def test_bad_input_is_refused_with_one_sentence_and_nothing_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    before = sorted(folder.iterdir())
    assert "there is no such folder; name the one of relay:DIR" in refused("relay", tmp_path / "none")
    assert "no open question begins with 'zz'" in refused("relay", folder, "--show", "zz")
    assert "different things" in refused("relay", folder, "--show", "a", "--answer", "b")
    assert "the answer cannot be read" in refused("relay", folder, tmp_path / "none", "--answer", FIRST.digest)
    assert "not UTF-8 (byte 3)" in refused("relay", folder, tmp_path / "latin", "--answer", FIRST.digest)
    assert "the answer is empty" in refused("relay", folder, "--answer", FIRST.digest, input=" \n")
    assert sorted(folder.iterdir()) == before

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(relay, "answer", refuse)
    assert "Permission denied; the folder has to be yours" in refused("relay", folder, "--answer", FIRST.digest, input="4")


def test_a_question_that_went_meanwhile(folder: Path) -> None:
    with pytest.raises(relay.ConfigError, match="it may have been answered"):
        relay.question(folder, "gone")
