"""A key that is planted in headers, environment and bodies shows up nowhere."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import traceback
from typing import Any

import pytest

from agentopt.core.chat import ModelError
from agentopt.llm.secrets import safe_text, without_secrets
from agentopt.testing.fake_llm import FakeLLM, Received, Step
from tests.llm.helpers import ask, each_library, make_model, quick

KEY = "planted-0123456789-abcdef"
OTHER = "another-planted-value"


def echo(received: Received) -> Step:
    """A server that repeats every secret it knows, in the ways servers do."""
    said = f"bad key {received.headers['authorization']} from {OTHER}"
    steps = [
        Step(status=401, error=said, code=KEY),
        Step(status=400, body=said, content_type="text/plain"),
        Step(status=500, error=said, headers={"X-Echo": KEY}),
        Step(body=json.dumps({"choices": None, "error": {"message": said, "code": 400}})),
        Step(body=said, content_type=f"text/{KEY}"),
        Step(body="{" + said),
        Step(status=429, body=f'{{"error": "{said}"}}'),
    ]
    return steps[(received.number - 1) % len(steps)]


@each_library
async def test_planted_keys_are_in_no_error_no_repr_and_no_log(
    library: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SOME_SERVICE_TOKEN", OTHER)
    caplog.set_level(logging.INFO)
    texts: list[Any] = []
    with FakeLLM(echo) as server:
        model = make_model(
            library, server.url, quick(retries=0, breaker_failures=99, on_attempt=lambda attempt: texts.append(repr(attempt))), key=KEY
        )
        for _ in range(7):
            with pytest.raises(ModelError) as caught:
                await model.complete(ask())
            error = caught.value
            assert error.__cause__ is None
            texts += [str(error), repr(error), error.to_json(), pickle.dumps(error), "".join(traceback.format_exception(error))]
        await model.close()
        texts += [repr(model), repr(model._model), repr(model.policy), repr(vars(model._model)), repr(server.requests)]
    everything = "\n".join(str(text) for text in [*texts, caplog.text, *capfd.readouterr()])
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}", "the key was used"
    assert "[secret]" in everything
    assert KEY not in everything
    assert OTHER not in everything


async def test_the_openai_sdk_logs_no_key_even_when_it_tells_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeLLM() as server:
        model = make_model("openai", server.url, key=KEY)
        await model.complete(ask())
        await model.close()
    assert "chat/completions" in caplog.text
    assert KEY not in caplog.text


def test_what_looks_like_a_key_is_taken_out_even_if_nobody_knows_it() -> None:
    pieces = [
        "sk-" + "proj-0123456789abcdef",
        "gsk_" + "0123456789abcdef",
        "AIza" + "SyA0123456789abcdefghijk",
        "Bearer " + "0a1b2c3d",
        "basic " + base64.b64encode(b"user:password").decode(),
        "http://user:passw" + "ord@host/",
    ]
    for piece in pieces:
        cleaned = without_secrets(f"said {piece} to us", environ={})
        assert "[secret]" in cleaned, piece
        assert cleaned.startswith("said ")
        assert cleaned.endswith(" to us")


def test_words_and_short_values_stay() -> None:
    text = "the key-value store at http://host:80/path took 3 tokens; ask-me risk-averse"
    assert without_secrets(text, environ={"MONKEY": "store", "API_KEY": "took"}) == text


def test_secrets_of_the_environment_go_whole_longest_first() -> None:
    environ = {
        "A_TOKEN": "planted-one",
        "B_SECRET": "planted-one-and-more",
        "MY_HEADERS": "X-Api-Key: planted-header\nX-Other: planted-too",
    }
    text = "planted-one planted-one-and-more planted-header planted-too"
    assert without_secrets(text, environ=environ) == " ".join(["[secret]"] * 4)


def test_what_others_wrote_becomes_one_short_line() -> None:
    assert safe_text("a\n\tb\x1b[31m  c") == "a b[31m c"
    assert len(safe_text("word " * 1000)) <= 300
    assert KEY not in safe_text("x" * 280 + KEY + "y" * 280, KEY), "cut after the secret is gone, not through it"
