"""Bodies and errors in the forms that servers give them."""

from __future__ import annotations

import contextlib
import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.core.chat import ChatReply, ModelError, Usage
from agentopt.llm.bodies import parse_body, read_reply
from agentopt.llm.faults import Faults, kind_of, retry_after

FAULTS = Faults("openai:m", lambda: 0.0, "planted-key-0123")


def reply(message: Any = None, usage: Any = None, **choice: Any) -> ChatReply:
    body = {"choices": [{"message": {"content": "hi"} if message is None else message} | choice], "usage": usage}
    return read_reply(body, "m", 0.5, FAULTS)


def test_the_least_a_reply_can_be() -> None:
    assert reply() == ChatReply("hi", "m", "stop", latency=0.5)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 0}, Usage(5, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, Usage(5, 7)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 112}, Usage(5, 107)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_cache_hit_tokens": 3}, Usage(5, 7, 3)),
        ({"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": None, "completion_tokens_details": []}, Usage(5, 7)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
        ({"prompt_tokens": 5}, None),
        ({"prompt_tokens": "5", "completion_tokens": 7}, None),
        ({"prompt_tokens": 5, "completion_tokens": -7}, None),
        ({"prompt_tokens": True, "completion_tokens": 7}, None),
        ({"prompt_tokens": 5.0, "completion_tokens": 7}, None),
        ("many", None),
        (None, None),
    ],
)
def test_usage(told: Any, usage: Usage | None) -> None:
    assert reply(usage=told).usage == usage


@pytest.mark.parametrize(
    ("reason", "finish"),
    [(None, "stop"), ("stop", "stop"), ("max_tokens", "length"), ("tool_calls", "tools"), ("sulk", "other"), (7, "other"), ([], "other")],
)
def test_finish(reason: Any, finish: str) -> None:
    assert reply(finish_reason=reason).finish == finish


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, ""), ("", ""), ([], ""), ([{"type": "text", "text": "a"}, {"type": "image"}, 5, {"text": "b"}], "ab")],
)
def test_content(content: Any, text: str) -> None:
    assert reply({"content": content}).text == text


def test_a_refusal_may_come_with_text() -> None:
    assert (reply({"content": "partly", "refusal": "no"}).text, reply({"content": "partly", "refusal": "no"}).finish) == (
        "partly",
        "refusal",
    )
    assert reply({"content": None, "provider_specific_fields": {"refusal": "no"}}).text == "no"
    assert reply({"content": "hi", "refusal": ""}).finish == "stop"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ({}, "no_choices", None),
        ({"choices": []}, "no_choices", None),
        ({"choices": "many"}, "malformed", None),
        ({"choices": [7]}, "malformed", None),
        ({"choices": [{}]}, "malformed", None),
        ({"choices": [{"message": "hi"}]}, "malformed", None),
        ({"choices": [{"message": {"content": 7}}]}, "malformed", None),
        ({"choices": {}}, "malformed", None),
        ({"error": "it broke"}, "server", 500),
        ({"error": {"message": "wait", "code": 429}}, "rate_limit", 429),
        ({"error": {"message": "wait", "code": "429"}}, "server", 500),
        ({"choices": [{"error": {"code": 502, "message": "upstream"}, "finish_reason": "error"}]}, "server", 502),
    ],
)
def test_what_is_no_reply(body: dict[str, Any], kind: str, status: int | None) -> None:
    with pytest.raises(ModelError) as caught:
        read_reply(body, "m", 0.0, FAULTS)
    assert (caught.value.kind, caught.value.status) == (kind, status)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "error", "code", "prompt_tokens", "refusal", "finish_reason", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_no_body_makes_it_stumble(body: Any) -> None:
    for guess in (body, {"choices": body}, {"choices": [body]}, {"choices": [{"message": body}], "usage": body}):
        with contextlib.suppress(ModelError):
            reply = read_reply(parse_body(json.dumps(guess).encode(), "application/json", FAULTS), "m", 0.0, FAULTS)
            assert ChatReply.from_json(json.loads(json.dumps(reply.to_json()))) == reply


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_object(data: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        parse_body(data, "application/problem+json", FAULTS)
    assert (caught.value.kind, caught.value.retryable) == ("malformed", True)
    assert caught.value.__context__ is None


def test_a_body_without_a_type() -> None:
    with pytest.raises(ModelError, match="it is no content type and not JSON") as caught:
        parse_body(b"{}", "", FAULTS)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": formatdate(1060, usegmt=True)}, 60.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:18:00"}, 80.0),
        ({"retry-after": formatdate(10, usegmt=True)}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, 1000.0) == seconds


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "This model's maximum context length is 8192 tokens", "context_length"),
        (400, "exceed_context_size_error the request exceeds", "context_length"),
        (413, "prompt is too long: 210000 tokens > 200000 maximum", "context_length"),
        (400, "Input token count (9) exceeds the maximum", "context_length"),
        (400, "The response was filtered: content management policy ResponsibleAIPolicyViolation", "content_filter"),
        (403, "Your input was flagged", "content_filter"),
        (400, "model_not_found", "not_found"),
        (422, "temperature is not a number", "bad_request"),
        (429, "too many tokens per minute", "rate_limit"),
        (500, "context length", "server"),
        (418, "teapot", "bad_request"),
        (425, "early", "server"),
    ],
)
def test_kinds(status: int, said: str, kind: str) -> None:
    assert kind_of(status, said) == kind


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "m", "code": "c"}}, ": m"),
        ({"error": {"code": "c", "type": "t"}}, ": c t"),
        ({"detail": "d"}, ": d"),
        ({"error": "plain planted-key-0123"}, ": plain [secret]"),
        ("text", ": text"),
        (None, ""),
        ([], ": []"),
    ],
)
def test_what_an_error_body_says(body: Any, said: str) -> None:
    assert str(FAULTS.of_status(500, body, {})) == f"openai:m: the server failed (HTTP 500){said}"


def test_a_quota_that_a_minute_restores_is_waited_for() -> None:
    told = {"error": {"message": "You exceeded your current quota, please check your plan and billing details", "code": 429}}
    assert FAULTS.of_status(429, told, {}).retryable
    assert not FAULTS.of_status(429, {"error": {"message": "", "code": "insufficient_quota"}}, {}).retryable


def test_faults_show_no_secret() -> None:
    assert repr(FAULTS) == "Faults('openai:m')"
