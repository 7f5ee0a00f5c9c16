"""Relays as they are used: askers and those who answer are processes, and processes are killed."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agentopt.core.chat import ChatRequest, Message, ModelError
from agentopt.llm import relay
from agentopt.llm.relay import Relay, answer, claim, find, open_requests
from tests.llm.test_relay import REQUEST, until

ROOT = Path(__file__).parents[2]
ASK = """
import asyncio, sys
from agentopt.core.chat import ChatRequest, Message
from agentopt.llm.relay import Relay
request = ChatRequest((Message("user", "how many?"),))
print((asyncio.run(Relay(sys.argv[1], 60, 0.01).complete(request))).text, end="")
"""
HOLD = """
import sys, time
from agentopt.llm.relay import claim
assert claim(sys.argv[1], sys.argv[2], "holder", float(sys.argv[3]))
print("held", flush=True)
time.sleep(600)
"""
QUESTION = ChatRequest((Message("user", "how many?"),))


def start(code: str, *arguments: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def told(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def run_documented(name: str, folder: Path, environment: dict[str, str] | None = None) -> None:
    """The script that docs/relay.md gives under this name, with a model that shouts."""
    match = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", (ROOT / "docs" / "relay.md").read_text(), re.DOTALL)
    assert match
    subprocess.run(["sh", "-ec", match[1].replace("my-model", "tr a-z A-Z")], cwd=folder, env=environment, check=True)


async def test_an_asker_that_was_killed_finds_its_answer_when_it_comes_back(tmp_path: Path) -> None:
    asker = start(ASK, tmp_path)
    await until(lambda: list(open_requests(tmp_path)), 30)
    kill(asker)
    run_documented("answer-all", tmp_path)
    assert not list(open_requests(tmp_path))
    text = told(start(ASK, tmp_path))
    assert text.endswith("=== USER\nHOW MANY?\n")
    assert told(start(ASK, tmp_path)) == text, "also what was used before"


async def test_two_askers_share_an_answer(tmp_path: Path) -> None:
    askers = [start(ASK, tmp_path) for _ in range(2)]
    await until(lambda: list(open_requests(tmp_path)), 30)
    (request,) = open_requests(tmp_path)
    answer(tmp_path, request.id, "seven")
    assert [told(asker) for asker in askers] == ["seven", "seven"]
    assert not list(open_requests(tmp_path))
    assert sorted(path.name for path in (tmp_path / "answered").iterdir()) == [f"{request.id}.reply.md", f"{request.id}.request.md"]


async def test_the_lease_of_somebody_who_was_killed_runs_out(tmp_path: Path) -> None:
    asker = start(ASK, tmp_path)
    await until(lambda: list(open_requests(tmp_path)), 30)
    begun = time.time()
    holder = start(HOLD, tmp_path, QUESTION.digest, 2)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    kill(holder)
    assert not claim(tmp_path, QUESTION.digest, "another", 60)
    await until(lambda: claim(tmp_path, QUESTION.digest, "another", 60), 30)
    assert time.time() - begun >= 2
    assert (tmp_path / f"{QUESTION.digest}.lease").read_text() == "another\n60\n"
    answer(tmp_path, QUESTION.digest, "eight")
    assert told(asker) == "eight"
    assert not (tmp_path / f"{QUESTION.digest}.lease").exists()


async def test_the_documented_loop_of_several_who_answer(tmp_path: Path) -> None:
    (tmp_path / "questions").mkdir()
    (tmp_path / "agentopt").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m agentopt "$@"\n')
    (tmp_path / "agentopt").chmod(0o755)
    asker = start(ASK, tmp_path / "questions")
    await until(lambda: list(open_requests(tmp_path / "questions")), 30)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run_documented("lease-one", tmp_path, environment)
    assert told(asker).endswith("HOW MANY?\n")


async def test_half_an_answer_under_another_name_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str | None] = []
    look = Relay._answer

    def counting(self: Relay, key: str) -> str | None:
        looked.append(look(self, key))
        return looked[-1]

    monkeypatch.setattr(Relay, "_answer", counting)
    for name in (".{}.reply.md.abc.tmp", "{}.reply.md.part", "{}.reply.md~", "{}.reply"):
        (tmp_path / name.format(REQUEST.digest)).write_text("half of")
    asking = asyncio.create_task(Relay(tmp_path, every=0.001).complete(REQUEST))
    await until(lambda: len(looked) > 20)
    assert set(looked) == {None}
    os.replace(tmp_path / f"{REQUEST.digest}.reply.md.part", tmp_path / f"{REQUEST.digest}.reply.md")
    assert (await asking).text == "half of"


def test_of_many_who_see_a_lease_run_out_one_gets_it(tmp_path: Path) -> None:
    key = QUESTION.digest
    relay._write(tmp_path / f"{key}.request.md", relay._spell(key, QUESTION))
    for _ in range(30):
        (tmp_path / f"{key}.lease").write_text("old\n0\n")
        ready, won = threading.Barrier(6), []

        def compete(name: str, ready: threading.Barrier = ready, won: list[str] = won) -> None:
            ready.wait()
            if claim(tmp_path, key, name, 60):
                won.append(name)

        threads = [threading.Thread(target=compete, args=(str(number),)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert (tmp_path / f"{key}.lease").read_text() == f"{won[0]}\n60\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".leases", f"{key}.lease", f"{key}.request.md"]


def test_there_is_nothing_to_claim_where_nobody_waits(tmp_path: Path) -> None:
    key = QUESTION.digest
    assert not claim(tmp_path, key, "anna", 60)
    relay._write(tmp_path / f"{key}.request.md", relay._spell(key, QUESTION))
    answer(tmp_path, key, "nine")
    assert not claim(tmp_path, key, "anna", 60)
    assert not (tmp_path / f"{key}.lease").exists()


def test_a_lease_made_in_another_way_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = QUESTION.digest
    lease = tmp_path / f"{key}.lease"
    relay._write(tmp_path / f"{key}.request.md", relay._spell(key, QUESTION))
    monkeypatch.setattr(relay, "_leased", lambda path: False)
    link = os.link

    def slower(source: Path, target: Path) -> None:
        lease.write_text("by hand\n600\n")
        link(source, target)

    monkeypatch.setattr(os, "link", slower)
    assert not claim(tmp_path, key, "anna", 60)
    assert lease.read_text() == "by hand\n600\n"
    monkeypatch.undo()
    lease.write_bytes(b"\xff")
    assert not claim(tmp_path, key, "anna", 60)
    os.utime(lease, (time.time() - 3601,) * 2)
    assert claim(tmp_path, key, "anna", 60), "one that does not say for how long holds for an hour"


async def test_a_folder_or_an_answer_that_cannot_be_used_is_an_error_of_the_model(tmp_path: Path) -> None:
    model = Relay(tmp_path)
    (tmp_path / f"{REQUEST.digest}.reply.md").mkdir()
    with pytest.raises(ModelError, match=r"reply.md: Is a directory") as caught:
        await model.complete(REQUEST)
    assert (caught.value.kind, caught.value.retryable) == ("connection", False)
    gone = tmp_path / "gone"
    gone.mkdir()
    model = Relay(gone)
    (gone / "answered").rmdir()
    gone.rmdir()
    with pytest.raises(ModelError, match="No such file or directory"):
        await model.complete(REQUEST)


def test_a_question_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    for key in ("aa11", "aa22", "bb33"):
        relay._write(tmp_path / f"{key}.request.md", relay._spell(key, QUESTION))
    answer(tmp_path, "bb33", "done")
    assert find(tmp_path, "aa1") == "aa11"
    for beginning, words in (("aa", "2 open questions begin with 'aa'"), ("bb33", "no open question"), ("../", "no open question")):
        with pytest.raises(relay.ConfigError, match=words):
            find(tmp_path, beginning)


def test_all_that_is_set_stands_in_the_head() -> None:
    request = ChatRequest((Message("user", "q"),), 0.0, 100, ("\n", "END"), 7, 3, "two\nlines")
    head = relay._spell("k", request).split("---\n")[1]
    assert head == 'id: k\npurpose: two lines\nsample: 3\ntemperature: 0.0\nmax_output_tokens: 100\nseed: 7\nstop: ["\\n", "END"]\n'
