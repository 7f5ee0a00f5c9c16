"""A model that answers through files."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.core.chat import ChatModel, ChatRequest, Message, ModelError
from agentopt.core.errors import ConfigError
from agentopt.llm import relay
from agentopt.llm.relay import Relay, answer, claim, open_requests

REQUEST = ChatRequest((Message("system", "Be brief."), Message("user", "What is 2 + 2?")), purpose="sum", temperature=0.5)


async def until(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_an_answer_is_picked_up_when_it_appears(tmp_path):
    model = Relay(tmp_path, every=0.01)
    assert isinstance(model, ChatModel)
    asking = asyncio.create_task(model.complete(REQUEST))
    await until(lambda: list(open_requests(tmp_path)))
    (request,) = open_requests(tmp_path)
    assert (request.id, request.purpose, request.messages) == (REQUEST.digest, "sum", REQUEST.messages)
    text = (tmp_path / f"{request.id}.request.md").read_text()
    assert text == (
        f"---\nid: {REQUEST.digest}\npurpose: sum\nsample: 0\ntemperature: 0.5\n---\n=== system\nBe brief.\n=== user\nWhat is 2 + 2?\n"
    )
    answer(tmp_path, request.id, "4\n")
    reply = await asking
    assert (reply.text, reply.model, reply.finish, reply.usage, reply.cost_usd) == ("4\n", f"relay:{tmp_path}", "stop", None, None)
    assert reply.latency > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answered"]
    await model.close()


async def test_a_question_that_was_answered_before_is_not_asked_again(tmp_path):
    answer(tmp_path, REQUEST.digest, "four")
    for _ in range(2):  # from the folder, then from what is put away
        assert (await Relay(tmp_path).complete(REQUEST)).text == "four"
    assert not list(open_requests(tmp_path))


async def test_nobody_answers(tmp_path):
    for _ in range(2):  # the second time the question is there already
        with pytest.raises(ModelError, match="nobody answered") as error:
            await Relay(tmp_path, seconds=0.03, every=0.01).complete(REQUEST)
    assert (error.value.kind, error.value.retryable) == ("timeout", False)
    assert [request.id for request in open_requests(tmp_path)] == [REQUEST.digest]
    answer(tmp_path, REQUEST.digest, "late")
    assert (await Relay(tmp_path).complete(REQUEST)).text == "late"


async def test_an_answer_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "_MOST_BYTES", 10)
    answer(tmp_path, REQUEST.digest, "x" * 11)
    with pytest.raises(ModelError, match="more than 10 bytes"):
        await Relay(tmp_path).complete(REQUEST)


async def test_a_cancelled_question_stays_open(tmp_path):
    asking = asyncio.create_task(Relay(tmp_path, every=0.01).complete(REQUEST))
    await until(lambda: list(open_requests(tmp_path)))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert list(open_requests(tmp_path))


async def test_several_questions_are_listed_by_age(tmp_path):
    requests = [ChatRequest((Message("user", "same"),), sample=k) for k in range(3)]
    asking = [asyncio.create_task(Relay(tmp_path, every=0.01).complete(request)) for request in requests]
    await until(lambda: len(list(open_requests(tmp_path))) == 3)
    for age, request in enumerate(requests):
        os.utime(tmp_path / f"{request.digest}.request.md", (1000 - age, 1000 - age))
    assert [request.id for request in open_requests(tmp_path)] == [request.digest for request in reversed(requests)]
    for k, request in enumerate(requests):
        answer(tmp_path, request.digest, str(k))
    assert [(await task).text for task in asking] == ["0", "1", "2"]


async def test_a_lease_keeps_others_away_for_its_time(tmp_path):
    relay._write(tmp_path / f"{REQUEST.digest}.request.md", relay._spell(REQUEST.digest, REQUEST))
    assert claim(tmp_path, REQUEST.digest, "anna", 60)
    assert not claim(tmp_path, REQUEST.digest, "bert", 60)
    assert not list(open_requests(tmp_path))
    lease = tmp_path / f"{REQUEST.digest}.lease"
    assert lease.read_text() == "anna\n60\n"
    os.utime(lease, (time.time() - 61, time.time() - 61))
    assert [request.id for request in open_requests(tmp_path)] == [REQUEST.digest]
    assert claim(tmp_path, REQUEST.digest, "bert", 60)
    lease.write_text("half")
    assert not claim(tmp_path, REQUEST.digest, "carl", 60)
    answer(tmp_path, REQUEST.digest, "4")
    await Relay(tmp_path).complete(REQUEST)
    assert not lease.exists()


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1, max_size=4))
def test_messages_are_read_as_they_were_written(tmp_path_factory, turns):
    turns = [(role, content.replace("\r", "").replace("=", "\n=== user\n" if len(content) % 2 else "=")) for role, content in turns]
    folder = tmp_path_factory.mktemp("relay")
    request = ChatRequest(tuple(Message(role, content) for role, content in turns))
    (folder / f"{request.digest}.request.md").write_bytes(relay._spell(request.digest, request).encode("utf-8", "surrogatepass"))
    (found,) = open_requests(folder)
    assert found.messages == request.messages


@pytest.mark.parametrize("line", ["=== user", "\\=== user", "\\\\=== x", "---", "=== userX"])
def test_lines_that_look_like_heads_are_content(tmp_path, line):
    request = ChatRequest((Message("user", f"a\n{line}\nb"), Message("assistant", line)))
    relay._write(tmp_path / f"{request.digest}.request.md", relay._spell(request.digest, request))
    (found,) = open_requests(tmp_path)
    assert found.messages == request.messages


def test_a_folder_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="there is no such folder; make it"):
        Relay(tmp_path / "missing")

    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigError, match="cannot be written"):
        Relay(tmp_path)
