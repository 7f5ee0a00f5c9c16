"""Recording what a model says and playing it again."""

from __future__ import annotations

import json

import pytest

from agentopt.core.chat import ChatModel, ChatReply, ChatRequest, Message, ModelError, Usage
from agentopt.core.errors import ConfigError, RunFailed
from agentopt.llm.cassette import Recorder, Replay


async def test_a_reply_that_cannot_be_written_is_given_out_and_the_next_one_not_asked_for(tmp_path):
    file, model = tmp_path / "tape.jsonl", Counting()
    recorder = Recorder(model, file)
    assert not file.exists(), "nothing was recorded"
    file.mkdir()
    assert (await recorder.complete(question("a"))).text == "reply 1"
    with pytest.raises(RunFailed, match=r"--record .*tape.jsonl: the cassette cannot be written \(Is a directory\)"):
        await recorder.complete(question("b"))
    assert model.calls == 1
    await recorder.close()


class Counting:
    name = "counting"

    def __init__(self) -> None:
        self.calls = 0
        self.closed = False

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.calls += 1
        return ChatReply(f"reply {self.calls}", "counting-1", "stop", Usage(10, 5), 0.25, 1.5, 2)

    async def close(self) -> None:
        self.closed = True


def question(text: str, sample: int = 0) -> ChatRequest:
    return ChatRequest((Message("user", text),), sample=sample, purpose="test")


async def test_what_was_recorded_is_played_bit_for_bit(tmp_path):
    file, model = tmp_path / "tape.jsonl", Counting()
    recorder = Recorder(model, file)
    assert isinstance(recorder, ChatModel)
    requests = [question("a"), question("a", 1), question("b")]
    replies = [await recorder.complete(request) for request in requests]
    assert [await recorder.complete(request) for request in requests] == replies
    assert (model.calls, recorder.name) == (3, "counting")
    await recorder.close()
    await recorder.close()
    assert model.closed
    replay = Replay(file)
    assert isinstance(replay, ChatModel)
    assert [await replay.complete(request) for request in requests] == replies
    await replay.close()
    assert set(json.loads(file.read_text().splitlines()[0])) == {"key", "request", "reply"}


async def test_a_recording_goes_on_where_it_was_cut_off(tmp_path):
    file = tmp_path / "tape.jsonl"
    recorder = Recorder(Counting(), file)
    first = await recorder.complete(question("a"))
    await recorder.close()
    model = Counting()
    recorder = Recorder(model, file)
    assert await recorder.complete(question("a")) == first
    assert model.calls == 0
    await recorder.complete(question("b"))
    await recorder.close()
    assert (await Replay(file).complete(question("b"))).text == "reply 1"


async def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    file = tmp_path / "tape.jsonl"
    recorder = Recorder(Counting(), file)
    for text in "ab":
        await recorder.complete(question(text))
    await recorder.close()
    file.write_bytes(file.read_bytes()[:-9])
    assert (await Replay(file).complete(question("a"))).text == "reply 1"
    with pytest.raises(ModelError, match="lacks the request"):
        await Replay(file).complete(question("b"))
    model = Counting()
    recorder = Recorder(model, file)
    assert (await recorder.complete(question("b"))).text == "reply 1"
    await recorder.close()
    assert {(await Replay(file).complete(question(text))).text for text in "ab"} == {"reply 1"}


async def test_a_missing_request_is_named(tmp_path):
    file = tmp_path / "tape.jsonl"
    recorder = Recorder(Counting(), file)
    await recorder.complete(question("a"))
    await recorder.close()
    missing = question("What\nis this?", 3)
    with pytest.raises(ModelError) as error:
        await Replay(file).complete(missing)
    text = f"replay:{file}: the cassette lacks the request {missing.digest} (sample 3, purpose 'test'): What is this?"
    assert (error.value.kind, str(error.value)) == ("not_found", text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "the cassette is empty; record one"),
        (b"rubbish\n", "line 1: this is no line of a cassette"),
        (b"[]\n", "line 1"),
        (b'{"key": "a"}\n', "line 1"),
    ],
)
def test_what_is_no_cassette_is_said_so(tmp_path, content, words):
    file = tmp_path / "tape.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        Replay(file)
    assert words in str(error.value)


def test_a_cassette_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"--record .*nowhere/tape\.jsonl: the cassette cannot be written"):
        Recorder(Counting(), tmp_path / "nowhere" / "tape.jsonl")
