"""Models are asked one small question each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentopt.llm.prices import Price
from agentopt.testing.fake_llm import FakeLLM, Step
from tests.cli.logs import invoke, last_json, refused, shown

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 150},
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENTOPT_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_command_as_people_meet_it() -> None:
    with FakeLLM([Step("ok", usage=USAGE)]) as server:
        command = [sys.executable, "-m", "agentopt", "models", "--model", "openai:m", "--base-url", server.url, "--price", "2,10"]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    head, row = done.stdout.splitlines()
    assert words(head) == "model answers as seconds tokens USD per million USD"
    assert "1000 in (400 cached), 200 out (150 reasoning)" in row
    assert "2 in, 10 out (--price)" in row
    assert row.split()[:2] == ["openai:m", "m"]
    assert row.split()[-1] == "0.004"
    assert server.requests[0].body["messages"] == [{"role": "user", "content": "Reply with the single word ok."}]


def test_json() -> None:
    with FakeLLM([Step("ok", usage=USAGE)]) as server:
        found = last_json(shown("models", "--model", "openai:m", "--base-url", server.url, "--price", "2,10,1", "--json"))
    (row,) = found["models"]
    assert found["ok"] is True
    assert row.pop("latency") > 0
    assert row == {
        "model": "openai:m",
        "price": {"input": 2.0, "output": 10.0, "cached": 1.0, "date": "", "source": "--price"},
        "answers_as": "m",
        "text": "ok",
        "finish": "stop",
        "usage": {"input_tokens": 1000, "output_tokens": 200, "cached_tokens": 400, "reasoning_tokens": 150},
        "cost_usd": pytest.approx(0.0036),
    }


def test_a_model_has_so_much_time(tmp_path: Path) -> None:
    result = invoke("models", "--model", f"relay:{tmp_path}", "--timeout", "0.1", "--json")
    assert result.exit_code == 1
    assert "within 0.1 s" in last_json(result.stdout)["models"][0]["error"]["message"]


def test_what_is_unknown_is_called_so() -> None:
    with FakeLLM([Step("ok", usage=None)]) as server:
        text = shown("models", "--model", "openai:m", "--base-url", server.url)
    assert text.splitlines()[1].split()[3:] == ["unknown", "unknown", "unknown"]


def test_a_known_price_comes_with_its_date_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeLLM() as server:
        monkeypatch.setattr("agentopt.llm.client.OPENAI_URL", server.url)
        monkeypatch.setattr("agentopt.llm.choose.known_prices", lambda: {"openai:m": Price(2.5, 10.0, 1.25, "2024-10-02", "a page")})
        text = invoke("models", "--model", "openai:m", env={"OPENAI_API_KEY": "a-key-for-tests", "COLUMNS": "200"}).stdout
    assert "2.5 in, 1.25 cached, 10 out (2024-10-02, a page)" in text


def test_several_of_which_one_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with FakeLLM(lambda request: Step("ok") if request.body["model"] == "a" else Step(status=429, error="slow\x1b[31m down")) as server:
        monkeypatch.setenv("AGENTOPT_MODEL", "openai:a,openai:b,replay:tape.jsonl")
        monkeypatch.chdir(tmp_path)
        reply = {"text": "ok", "model": "m", "finish": "stop", "latency": 1.0, "attempts": 1}
        Path("tape.jsonl").write_text(json.dumps({"key": "another", "reply": reply}) + "\n")
        result = invoke("models", "--base-url", server.url, env={"COLUMNS": "200"})
        data = invoke("models", "--base-url", server.url, "--json")
    assert result.exit_code == data.exit_code == 1
    assert len(server.requests) == 4, "nobody is asked twice"
    text = words(result.stdout)
    assert text.startswith("model answers as seconds tokens USD per million USD openai:a a ")
    assert "openai:b no answer: the rate limit" in text
    assert "replay:tape.jsonl no answer: the cassette lacks" in text
    assert "\x1b" not in result.stdout
    first, second, third = last_json(data.stdout)["models"]
    assert first["answers_as"] == "a"
    assert second["error"]["kind"] == "rate_limit"
    assert "the rate limit is reached (HTTP 429): slow" in second["error"]["message"]
    assert third["error"]["kind"] == "not_found"
    assert json.loads(data.stdout)["ok"] is False


def test_an_agent_gets_what_it_is_allowed(tmp_path: Path) -> None:
    given = ("--agent-env", "WANTED", "--agent-allow", f"{tmp_path}:rw", "--unsafe-agent", "--json")
    result = invoke("models", "--model", "command:sh -c 'echo $WANTED'", *given, env={"WANTED": "yes"})
    (row,) = last_json(result.stdout)["models"]
    assert (row["model"], row["answers_as"]) == ("command:sh -c 'echo $WANTED'", "command:sh -c 'echo $WANTED' (without a box)")
    assert (row["text"], row["usage"], row["price"], row["cost_usd"]) == ("yes\n", None, None, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "no model is given: write --model or set AGENTOPT_MODEL"),
        (("--model", "gpt-4o"), "write for example openai:gpt-4o"),
        (("--model", "openai:m"), "there is no key; set OPENAI_API_KEY"),
        (("--model", "openai:m", "--base-url", "nowhere"), "the base URL has no http://"),
        (("--model", "openai:m", "--price", "free"), "--price 'free': give USD per million tokens"),
        (("--model", "command:no-such-agent"), "there is no program 'no-such-agent' to start"),
        (("--model", "command:cat", "--agent-allow", "none"), "--agent-allow none: there is no such file or folder"),
        (("--model", "replay:none"), "the cassette cannot be read"),
    ],
)
def test_bad_input_is_refused_with_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused("models", *arguments)
