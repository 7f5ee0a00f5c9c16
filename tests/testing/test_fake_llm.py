"""The fake server itself, by plain sockets and the standard library's client: what the script says is what goes over the wire."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agentopt.core.errors import ConfigError
from agentopt.testing.fake_llm import FakeLLM, Received, Step, read_script
from tests.cli.logs import invoke

ASKED = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


class Client:
    """One connection that is kept open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def post(self, body: Any = None, path: str = "/v1/chat/completions") -> tuple[int, dict[str, str], bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body or ASKED).encode()
        self.connection.request("POST", path, data, {"Authorization": "Bearer key"})
        response = self.connection.getresponse()
        return response.status, dict(response.headers), response.read()


def answers(*steps: Step, count: int, body: Any = None) -> list[Any]:
    with FakeLLM(list(steps)) as server, Client(server.url) as client:
        replies = [client.post(body) for _ in range(count)]
        assert len(server.requests) == count
        assert server.disconnects == 0
        return [json.loads(data) for _, _, data in replies]


def test_a_good_reply_counts_words_and_keeps_to_the_cap() -> None:
    (reply,) = answers(Step("a b c"), count=1)
    assert reply["model"] == "m"
    assert reply["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "a b c"}, "finish_reason": "stop"}]
    assert reply["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    for cap in ("max_tokens", "max_completion_tokens"):
        (reply,) = answers(Step("a b c"), count=1, body=ASKED | {cap: 2})
        assert reply["choices"][0]["message"]["content"] == "a b"
        assert reply["choices"][0]["finish_reason"] == "length"
        assert reply["usage"]["completion_tokens"] == 2


def test_steps_come_in_turn_and_the_last_one_stays() -> None:
    replies = answers(Step("a", times=2), Step("b", choices=2), Step(refusal="no", usage=None), count=5)
    assert [[choice["message"]["content"] for choice in reply["choices"]] for reply in replies] == [
        ["a"],
        ["a"],
        ["b", "b"],
        [None],
        [None],
    ]
    assert replies[4]["choices"][0]["message"]["refusal"] == "no"
    assert "usage" not in replies[4]


def test_errors_have_status_body_and_headers() -> None:
    with FakeLLM([Step(status=429, error="slow", code="busy", headers={"Retry-After": "2"})]) as server, Client(server.url) as client:
        status, headers, data = client.post()
    assert (status, headers["Retry-After"], headers["Content-Type"]) == (429, "2", "application/json")
    assert json.loads(data)["error"] == {"message": "slow", "type": None, "param": None, "code": "busy"}


def test_a_function_decides_by_the_request_and_requests_are_kept() -> None:
    def decide(received: Received) -> Step:
        return Step(f"{received.number}: {received.body['messages'][0]['content']}")

    with FakeLLM(decide) as server, Client(server.url) as client:
        client.post()
        _, _, data = client.post()
    assert json.loads(data)["choices"][0]["message"]["content"] == "2: one two three"
    first, second = server.requests
    assert (first.number, first.path, first.body) == (1, "/v1/chat/completions", ASKED)
    assert first.headers["authorization"] == "Bearer key"
    assert "Bearer" not in repr(first)
    assert 0 <= first.time <= second.time


def test_what_asks_no_model_takes_no_step() -> None:
    with FakeLLM([Step("first")]) as server, Client(server.url) as client:
        assert client.post(path="/v1/images/generations")[0] == 404
        assert client.post(b"[]")[0] == 400
        assert client.post(b"{")[0] == 400
        assert b"first" in client.post()[2]
    assert len(server.requests) == 1


def test_cut_and_malformed_bodies() -> None:
    with FakeLLM([Step("word " * 20, fault="malformed"), Step("word " * 20, fault="cut")]) as server, Client(server.url) as client:
        with pytest.raises(ValueError, match="Unterminated"):
            json.loads(client.post()[2])
        with pytest.raises(http.client.IncompleteRead):
            client.post()


def test_a_reset_connection() -> None:
    with FakeLLM([Step(fault="reset")]) as server, Client(server.url) as client, pytest.raises(ConnectionResetError):
        client.post()


def test_a_slow_drip_is_complete_in_the_end() -> None:
    with FakeLLM([Step(body="{}", drip=0.001, delay=0.001)]) as server, Client(server.url) as client:
        assert client.post()[2] == b"{}"


@pytest.mark.parametrize("step", [Step(fault="stall"), Step(delay=60.0), Step(drip=60.0)])
def test_a_client_that_goes_away_is_noticed(step: Step) -> None:
    with FakeLLM([step]) as server:
        with Client(server.url) as client:
            client.connection.request("POST", "/v1/chat/completions", json.dumps(ASKED))
            assert server.wait_for_requests(1)
        assert server.wait_for_disconnects(1)


def test_it_ends_while_clients_wait() -> None:
    with FakeLLM([Step(fault="stall")]) as server:
        client = Client(server.url)
        client.connection.request("POST", "/v1/chat/completions", json.dumps(ASKED))
        assert server.wait_for_requests(1)
    client.connection.close()
    assert server.disconnects == 0


def test_half_a_request_is_none() -> None:
    with FakeLLM() as server:
        parts = urlsplit(server.url)
        for half in (b"POST /v1/chat", b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 50\r\n\r\n{"):
            with socket.create_connection((parts.hostname, parts.port)) as connection:
                connection.sendall(half)
        with Client(server.url) as client:
            client.post()
    assert len(server.requests) == 1


@pytest.mark.parametrize("given", [{"fault": "sulk"}, {"times": 0}, {"choices": -1}, {"delay": -1}, {"drip": -1}])
def test_steps_that_cannot_be_done(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is unknown|at least"):
        Step(**given)


# --- from the command line


def test_a_script_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('[{"status": 429, "headers": {"Retry-After": "1"}, "times": 2}, {"text": "hello"}]')
    assert read_script(path) == [Step(status=429, headers={"Retry-After": "1"}, times=2), Step("hello")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a JSON file"),
        ("{}", "a script is a list of steps"),
        ("[]", "a script is a list of steps"),
        ("[{}, 1]", "step 2: give an object with keys among body, choices"),
        ('[{"txet": "x"}]', "step 1: give an object with keys among"),
        ('[{"fault": "sulk"}]', "step 1: the fault 'sulk' is unknown"),
        ('[{"times": "x"}]', "step 1: "),
    ],
)
def test_a_bad_script_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_script(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_a_missing_script_and_a_taken_port(tmp_path: Path) -> None:
    missing = invoke("dev", "fake-llm", "--script", str(tmp_path / "none.json"))
    assert isinstance(missing.exception, ConfigError)
    assert "check the path" in str(missing.exception)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = invoke("dev", "fake-llm", "--port", str(taken.getsockname()[1]))
    assert isinstance(busy.exception, ConfigError)
    assert "choose another" in str(busy.exception)


def test_the_command_serves_a_script_until_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('[{"text": "from a file"}]')
    command = [sys.executable, "-m", "agentopt", "dev", "fake-llm", "--script", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as server:
        assert server.stdout
        with Client(server.stdout.readline().strip()) as client:
            assert b"from a file" in client.post()[2]
        server.send_signal(signal.SIGINT)
        assert server.stdout.read() == "1 requests\n"
    assert server.returncode == 0
