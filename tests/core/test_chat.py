"""Requests and replies go through JSON unchanged; the digest means the content and nothing else."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.core.chat import MODEL_ERROR_KINDS, ChatReply, ChatRequest, Message, ModelError, Usage

FULL = ChatRequest((Message("system", "be brief"), Message("user", "why?")), 0.5, 100, ("END",), 7, 2, "reflect")
PLAIN = ChatRequest((Message("user", "why?"),))

counts = st.integers(0, 2**40)
requests = st.builds(
    ChatRequest,
    st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1, max_size=3).map(tuple),
    st.none() | st.floats(0, 10),
    st.none() | st.integers(1, 2**20),
    st.lists(st.text(), max_size=2).map(tuple),
    st.none() | st.integers(),
    counts,
    st.text(max_size=5),
)
usages = st.builds(Usage, counts, counts, st.none() | counts, st.none() | counts)


@given(requests)
def test_a_request_comes_back_equal(request: ChatRequest) -> None:
    back = ChatRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert back == request
    assert back.digest == request.digest


@given(st.builds(ChatReply, st.text(), st.text(), st.sampled_from(["stop", "refusal"]), st.none() | usages, st.none() | st.floats(0, 9)))
def test_a_reply_comes_back_equal(reply: ChatReply) -> None:
    assert ChatReply.from_json(json.loads(json.dumps(reply.to_json()))) == reply


def test_the_digest_is_the_same_in_every_version() -> None:
    assert PLAIN.digest == "73a76cf95a9298df5649640cb9261ad7"
    assert FULL.digest == "b6ca958d6bdaa0438df5ef4c184b32bf"


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message("user", "why not?"),)},
        {"messages": (Message("system", "why?"),)},
        {"temperature": 0.0},
        {"max_output_tokens": 5},
        {"stop": ("x",)},
        {"seed": 0},
        {"sample": 1},
    ],
)
def test_content_and_sample_change_the_digest(change: dict[str, object]) -> None:
    assert replace(PLAIN, **change).digest != PLAIN.digest


def test_purpose_and_spelling_do_not_change_the_digest() -> None:
    assert replace(PLAIN, purpose="mutate").digest == PLAIN.digest
    assert replace(PLAIN, temperature=1).digest == replace(PLAIN, temperature=1.0).digest


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Message("robot", "x"), "the role 'robot'; write system, user, assistant"),
        (lambda: ChatRequest(()), "at least one message"),
        (lambda: replace(PLAIN, temperature=-0.1), "a temperature of -0.1"),
        (lambda: replace(PLAIN, temperature=float("nan")), "a temperature of nan"),
        (lambda: replace(PLAIN, temperature=float("inf")), "a temperature of inf"),
        (lambda: replace(PLAIN, max_output_tokens=0), "at least 1"),
    ],
)
def test_what_cannot_be_asked(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("kind", MODEL_ERROR_KINDS)
def test_an_error_comes_back_whole(kind) -> None:
    for error in (ModelError(kind, "m: no"), ModelError(kind, "m: no", retryable=True, attempts=3, status=400, retry_after=2.5)):
        data = json.loads(json.dumps(error.to_json()))
        for back in (ModelError.from_json(data), pickle.loads(pickle.dumps(error))):
            assert back.to_json() == data
            assert str(back) == str(error)


def test_which_errors_may_pass_by_themselves() -> None:
    lasting = {"bad_request", "auth", "context_length", "content_filter", "not_found"}
    assert {kind for kind in MODEL_ERROR_KINDS if not ModelError(kind, "").retryable} == lasting
    assert not ModelError("rate_limit", "", retryable=False).retryable


def test_an_error_says_after_how_many_attempts() -> None:
    assert str(ModelError("server", "m: it failed")) == "m: it failed"
    assert str(ModelError("server", "m: it failed", status=500).after(4)) == "m: it failed (after 4 attempts)"
    assert ModelError("server", "m", status=500).after(4).status == 500


def test_what_may_be_billed() -> None:
    free = {kind for kind in MODEL_ERROR_KINDS if not ModelError(kind, "").may_be_billed}
    assert free == {"rate_limit", "bad_request", "auth", "context_length", "not_found"}
    assert not ModelError("server", "", attempts=0).may_be_billed, "it was never sent"
