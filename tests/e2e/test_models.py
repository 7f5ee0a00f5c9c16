"""Runs that ask a model, over HTTP on loopback and through real processes: money, kills, cassettes, bad input."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import agentopt
from agentopt.core.chat import ChatRequest
from agentopt.core.errors import ConfigError, RunFailed, StoreError
from agentopt.core.events import Event, canonical
from agentopt.store.layout import is_run_folder
from agentopt.store.sqlite import SqliteStore
from agentopt.testing.fake_llm import FakeLLM, Received, Step
from agentopt.testing.scripted import ScriptedModel
from tests.cli.logs import refused, shown
from tests.toys import write_task
from tests.untraced import untraced

ROOT = Path(__file__).parents[2]
KEY = "sk-planted-0123456789abcdef"
ASKING = {"optimizer": "tests.toys:Asking", "workers": 1, "rng_seed": 1}


def line(received: Received) -> Step:
    """Another slope, which follows from the request alone."""
    digest = hashlib.sha256(json.dumps(received.body["messages"]).encode()).digest()
    seed = digest[0] + (received.body.get("seed") or 0)
    return Step(f"Try this.\n```python\ndef f(x):\n    return {1 + seed / 100 + random.random() / 1000:.4f} * x\n```\n")


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("AGENTOPT_MODEL", raising=False)
    return str(write_task(tmp_path / "line"))


def events(folder: Path) -> list[Event]:
    with SqliteStore.open(folder, read_only=True) as store:
        return list(store.read())


def evolve(task: str, url: str, **options: Any) -> agentopt.Result:
    llm = {"base_url": url, "retries": 0} | options.pop("llm", {})
    return agentopt.evolve(task, **(ASKING | {"model": "openai:m", "budget": "8evals", "out": None} | options), llm=llm)


def process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = untraced() | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY, "COLUMNS": "120"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([sys.executable, "-m", "agentopt", *arguments], cwd=folder, env=environment, **pipes)


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    running = process(folder, *arguments)
    out, err = running.communicate(timeout=120)
    return running.returncode, out, err


FLAGS = ("--optimizer", "tests.toys:Asking", "--workers", "1", "--rng-seed", "1")


# --- a whole run


def test_a_run_says_what_it_asks_and_what_it_took(task: str, tmp_path: Path):
    with FakeLLM(line) as server:
        flags = (*FLAGS, "--base-url", server.url, "--price", "1,2", "--budget", "6evals", "--out", "run", "--json")
        code, out, err = call(tmp_path, "evolve", task, "--model", "openai:m", *flags)
        assert code == 0, err
        assert err.splitlines()[0] == "searching with tests.toys:Asking, asking openai:m"
        summary = json.loads(out.splitlines()[-1])
        assert summary["model"] == "openai:m"
        assert summary["spent"]["calls"] == len(server.requests) == summary["calls"]["replies"]
        assert 0 < summary["spent"]["usd"] < 0.01
        assert KEY not in json.dumps([event.data for event in events(tmp_path / "run")])
        whole = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
        assert KEY.encode() not in whole


def test_a_model_of_the_environment_is_asked_and_auto_is_the_default_then(task: str, monkeypatch: pytest.MonkeyPatch):
    with FakeLLM(line) as server:
        monkeypatch.setenv("AGENTOPT_MODEL", "openai:m")
        found = agentopt.evolve(task, budget="4evals", out=None, workers=1, llm={"base_url": server.url})
    assert found.summary["model"] == "openai:m"
    assert found.summary["optimizer"]["name"] == "auto"
    assert found.summary["calls"]["replies"] > 0


def test_a_model_of_ones_own(task: str, tmp_path: Path):
    def script(request: ChatRequest) -> str:
        return f"```python\ndef f(x):\n    return {1 + int(request.digest[:3], 16) / 4096:.4f} * x\n```"

    model = ScriptedModel(script)
    run = tmp_path / "run"
    found = agentopt.evolve(task, model=model, budget="6calls", out=run, **ASKING)
    assert found.summary["model"] == "object scripted"
    assert len(model.requests) == 6
    with pytest.raises(StoreError, match=r"the run asked object scripted; give the same: agentopt.resume\(run, model=...\)"):
        agentopt.resume(run, budget="+2calls")
    agentopt.resume(run, budget="+2calls", model=model)
    assert len(model.requests) == 8


def test_limits_of_the_door(task: str):
    """The settings reach the models: concurrency, requests and tokens per minute."""
    with FakeLLM(line) as server:
        began = time.monotonic()
        limits = {"concurrency": 1, "requests_per_minute": 600, "tokens_per_minute": 100_000, "relay_seconds": 5.0, "timeout": 9.0}
        evolve(task, server.url, llm=limits, budget="70calls")
        assert len(server.requests) == 70
        assert time.monotonic() - began > 0.8, "60 may go at once, ten more take a second"


def test_why_shows_prompt_reply_and_verdict(task: str, tmp_path: Path):
    def script(received: Received) -> Step:
        if received.number == 2:
            return Step("I would rather\x1b[31m not.\n" * 60, usage=None)
        return Step(status=500, error="oops") if received.number == 3 else line(received)

    with FakeLLM(script) as server:
        run = tmp_path / "run"
        evolve(task, server.url, out=run, budget="4evals", llm={"price": "1,2", "retries": 1})
    text = shown("why", run, "best")
    assert "request 1 of 1 to openai:m, toys/ask" in text
    assert "user\nWrite another f." in text
    assert "Try this." in text
    assert "tokens in, " in text
    note = next(event.data for event in events(run) if event.kind == "note" and event.data["kind"] == "refused")
    text = shown("why", run, f"ask:{note['index']}")
    assert text.startswith(f"ask {note['index']}: ")
    assert "I would rather\\x1b[31m not." in text
    assert "more characters" in text
    assert "counted as" not in text, "without a cap nothing bounds it"
    assert "more characters" not in shown("why", run, f"ask:{note['index']}", "--full")
    failed = next(event.data for event in events(run) if event.kind == "proposed" and event.data["index"] == note["index"] + 1)
    text = shown("why", run, failed["candidate"])
    assert "no reply: server: " in text
    assert "reply by m, stop" in text
    assert "ask 99 is none that was refused; those are" in refused("why", run, "ask:99")


def test_an_agent_gets_what_it_is_allowed_and_the_run_is_stamped_without_a_box(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "hint").write_text("2.5")
    answer = "print('```python\\ndef f(x):\\n    return', open(sys.argv[1]).read(), '* x +', len(os.environ['HINT']), '\\n```')"
    (tmp_path / "agent.py").write_text(f"import os, sys\nsys.stdin.read()\n{answer}\n")
    agent = f"{sys.executable} {tmp_path / 'agent.py'} {tmp_path / 'hint'}"
    flags = ("--agent-env", "HINT", "--unsafe-agent", "--set", "llm.agent_seconds=20", "--agent-allow", "hint", "--budget", "3calls")
    monkeypatch.setenv("HINT", "four")
    code, _, err = call(tmp_path, "evolve", task, "--model", f"command:{agent}", *FLAGS, *flags, "--out", "run")
    assert code in (0, 1), err
    assert "(agents run without a box)" in err.splitlines()[0]
    log = events(tmp_path / "run")
    assert log[0].data["config"]["llm"]["unsafe_agent"] is True
    assert log[0].data["config"]["llm"]["agent_allow"] == [str(tmp_path / "hint")]
    assert next(event.data["served_by"] for event in log if event.kind == "llm_reply").endswith("(without a box)")
    assert any(event.kind == "proposed" and event.data["optimizer"] == "asking" for event in log)


# --- retries


def test_an_error_that_stays_is_asked_for_again_so_many_times(task: str):
    with FakeLLM([Step(status=429, error="slow down", headers={"Retry-After": "0"})]) as server, pytest.raises(RunFailed) as failed:
        evolve(task, server.url, llm={"retries": 1})
    assert str(failed.value) == "the last 5 asks of openai:m brought nothing usable: rate_limit 5"
    assert len(server.requests) == 5 * 2


def test_a_model_that_only_refuses_ends_the_run_early(task: str, tmp_path: Path):
    with FakeLLM([Step("I cannot help with that.", refusal="no")]) as server:
        code, _, err = call(tmp_path, "evolve", task, "--model", "openai:m", "--base-url", server.url, *FLAGS, "--out", "run")
    assert code == 1
    assert err.splitlines()[-1].endswith("the last 8 asks of openai:m brought nothing usable: refusal 8")
    assert len(server.requests) == 8


# --- kill -9


def until(condition: Any, seconds: float = 30.0) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds
        time.sleep(0.005)


def last_kind(folder: Path) -> str:
    return events(folder)[-1].kind if is_run_folder(folder) else ""


def kill(running: subprocess.Popen[str]) -> None:
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()


@pytest.mark.thorough
def test_killed_between_reply_and_use_the_reply_is_used(task: str, tmp_path: Path):
    with FakeLLM(line) as server:
        flags = (*FLAGS, "--set", "optimizer.options.pause=0.3", "--budget", "5evals", "--out", "run")
        running = process(tmp_path, "evolve", task, "--model", "openai:m", "--base-url", server.url, *flags)
        until(
            lambda: sum(event.kind == "llm_reply" for event in (events(tmp_path / "run") if is_run_folder(tmp_path / "run") else ())) >= 2
        )
        kill(running)
        assert last_kind(tmp_path / "run") == "llm_reply"
        before = len(server.requests)
        assert before == 2
        code, _, err = call(tmp_path, "resume", "run")
        assert code == 0, err
    log = events(tmp_path / "run")
    paid = [event.data["key"] for event in log if event.kind == "llm_request"]
    assert len(paid) == len(set(paid)) == len(server.requests)
    proposed = [event.data for event in log if event.kind == "proposed"]
    assert proposed[2]["calls"] == [paid[1]]


def test_killed_in_flight_a_request_counts_as_all_it_can_take_and_is_made_once_more(task: str, tmp_path: Path):
    def script(received: Received) -> Step:
        return Step(delay=60.0) if received.number == 2 else line(received)

    with FakeLLM(script) as server:
        flags = (*FLAGS, "--budget", "5evals,100000tokens", "--out", "run")
        running = process(tmp_path, "evolve", task, "--model", "openai:m", "--base-url", server.url, *flags)
        assert server.wait_for_requests(2, timeout=60.0)
        kill(running)
        assert last_kind(tmp_path / "run") == "llm_request"
        code, _, err = call(tmp_path, "resume", "run", "--json")
        assert code == 0, err
    log = events(tmp_path / "run")
    unknown = [event.data for event in log if event.kind == "llm_reply" and "unknown" in event.data]
    requests = Counter(event.data["key"] for event in log if event.kind == "llm_request")
    assert requests[unknown[0]["key"]] == 2
    assert sum(requests.values()) == len(server.requests)
    assert len(unknown) == 1
    bound = next(event.data["tokens"] for event in log if event.kind == "llm_request" and event.data["key"] == unknown[0]["key"])
    assert unknown[0]["tokens"] == bound > 8192
    bodies = [json.dumps(received.body, sort_keys=True) for received in server.requests]
    assert bodies[1] == bodies[2], "the same request"


# --- cassettes


def canonical_log(folder: Path) -> list[Any]:
    return canonical(events(folder))


@pytest.mark.thorough
def test_what_was_recorded_is_replayed_bit_for_bit_also_when_killed(task: str, tmp_path: Path):
    replayed_with_kills(task, tmp_path, 3)


@pytest.mark.slow
def test_killed_at_twenty_points_a_replayed_run_is_the_same(task: str, tmp_path: Path):
    replayed_with_kills(task, tmp_path, 20)


def replayed_with_kills(task: str, tmp_path: Path, kills: int) -> None:
    with FakeLLM(line) as server:
        first = evolve(task, server.url, budget="25evals", out=tmp_path / "first", llm={"record": str(tmp_path / "tape.jsonl")})
        asked = len(server.requests)
    flags = ("--replay", str(tmp_path / "tape.jsonl"), *FLAGS, "--budget", "25evals")
    began = time.monotonic()
    code, _, err = call(tmp_path, "evolve", task, *flags, "--out", "whole")
    took = time.monotonic() - began
    assert code == 0, err
    whole = canonical_log(tmp_path / "whole")
    made = [event.data["candidate"] for event in events(tmp_path / "first") if event.kind == "proposed"]
    assert [data["candidate"] for kind, data in whole if kind == "proposed"] == made
    assert sum(kind == "llm_reply" for kind, _ in whole) == asked
    assert first.best is not None
    rng = random.Random(7)
    for number in range(kills):
        folder = tmp_path / f"killed-{number}"
        running = process(tmp_path, "evolve", task, *flags, "--out", folder.name)
        time.sleep(took * rng.uniform(0.3, 1.0))
        kill(running)
        if is_run_folder(folder):
            code, _, err = call(tmp_path, "resume", folder.name)
            assert code == 0, err
            assert canonical_log(folder) == whole
    assert KEY.encode() not in (tmp_path / "tape.jsonl").read_bytes()


# --- more budget


def test_a_budget_in_dollars_on_resume_needs_a_price(task: str, tmp_path: Path):
    run = tmp_path / "run"
    with FakeLLM(line) as server:
        evolve(task, server.url, budget="3evals", out=run)
        for _ in range(2):
            with pytest.raises(ConfigError, match="the price of openai:m is unknown"):
                agentopt.resume(run, budget="+$0.01")
        log = events(run)
        assert [event.kind for event in log].count("resumed") == 0, "what is refused adds nothing"
        agentopt.resume(run, budget="+2evals")
    assert events(run)[-1].data["spent"]["evals"] == 5


def test_calls_on_resume_need_a_model(task: str, tmp_path: Path):
    agentopt.evolve(task, optimizer="tests.toys:Steps", budget="4evals", workers=1, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="5calls counts what models take, and none is named"):
        agentopt.resume(tmp_path / "run", budget="+5calls")


def test_another_model_is_not_taken_for_the_one_of_the_run(task: str, tmp_path: Path):
    with FakeLLM(line) as server:
        evolve(task, server.url, budget="3evals", out=tmp_path / "run")
    with pytest.raises(StoreError, match="the run asked openai:m; give the same"):
        agentopt.resume(tmp_path / "run", budget="+2evals", model=ScriptedModel(["no"]))


def test_a_key_that_stops_working_ends_the_run_and_its_files_tell(task: str, tmp_path: Path):
    def script(received: Received) -> Step:
        return Step(status=401, error="revoked") if received.number > 6 else line(received)

    run = tmp_path / "run"
    with FakeLLM(script) as server, pytest.raises(ConfigError, match="revoked"):
        evolve(task, server.url, budget="40evals", out=run)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["evaluations"] == sum(event.kind == "proposed" and not event.data.get("duplicate") for event in events(run)) > 4


def test_a_budget_that_brings_nothing_is_named(task: str):
    with FakeLLM([Step("I had rather not.")]) as server:
        found = evolve(task, server.url, budget="1calls")
    assert found.status == "failed"
    assert found.why == "no child could be scored: refused 1"


# --- bad input


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model", "gpt-4o"], r"--model 'gpt-4o': a model begins with openai:, .*write for example openai:gpt-4o"),
        (["--model", "relay:nowhere"], r"relay:\S+nowhere: there is no such folder"),
        (["--replay", "nothing.jsonl"], r"nothing.jsonl: the cassette cannot be read"),
        (["--replay", "tape", "--model", "openai:m"], r"--replay names what answers, and so does --model; give one of them"),
        (["--model", "openai:m", "--budget", "$1", "--base-url", "http://127.0.0.1:1/v1"], r"budget: the price of openai:m is unknown"),
        (["--model", "openai:m", "--price", "cheap"], r"--price 'cheap': give USD per million tokens"),
        (["--budget", "5calls"], r"budget: 5calls counts what models take, and none is named; add --model"),
        (["--budget", "9evals,$2"], r"budget: \$2 counts what models take"),
        (["--model", "openai:m", "--set", "llm.retrys=3"], r"the key 'llm.retrys' is unknown; the keys are: agent_allow, agent_env"),
        (["--model", "openai:m", "--set", "llm.retries=-1"], r"llm.retries is -1; input should be greater than or equal to 0"),
        (["--model", "openai:m", "--set", "llm.prompts='no/folder'"], r"no/folder: is no folder of templates"),
        (["--model", "openai:m,openai:n@2", "--set", "llm.choose=bandit"], r"a bandit finds out by itself how often to ask"),
        (["--model", "openai:m", "--base-url", "http://127.0.0.1:1/v1", "--set", "llm.retries=0"], r"openai:m: .*connect"),
        (
            ["--model", "openai:m", "--base-url", "http://127.0.0.1:1/v1", "--record", "no/tape.jsonl"],
            r"--record \S+no/tape.jsonl: the cassette cannot be written",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(task: str, tmp_path: Path, flags: list[str], sentence: str):
    (tmp_path / "tape").write_text("")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(tmp_path, "evolve", task, *FLAGS, *flags, "--out", "run")
    assert code == 2, err
    assert out == ""
    assert re.search(sentence, err), err
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts] == before


def test_a_web_page_in_the_place_of_replies_is_bad_input(task: str, tmp_path: Path):
    with (
        FakeLLM([Step(body="<html>Welcome</html>", content_type="text/html")]) as server,
        pytest.raises(ConfigError, match="it is text/html and not JSON; check the base URL"),
    ):
        evolve(task, server.url, out=tmp_path / "run", llm={"record": str(tmp_path / "tape.jsonl")})
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "tape.jsonl").exists()


def test_counts_that_no_server_can_have_made_are_not_believed(task: str):
    usage = {"prompt_tokens": 5, "completion_tokens": 10**400, "total_tokens": 10**400}
    with FakeLLM(lambda received: Step(line(received).text, usage=usage)) as server:
        found = evolve(task, server.url, budget="3calls,$1", llm={"price": "1,2"})
    assert 0 < found.summary["spent"]["usd"] < 0.1


def test_a_missing_key_is_said(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="openai:m: there is no key; set OPENAI_API_KEY"):
        agentopt.evolve(task, model="openai:m", out=tmp_path / "run", **ASKING)
    assert not (tmp_path / "run").exists()


def test_a_budget_below_one_call_is_bad_input_and_leaves_nothing(task: str, tmp_path: Path):
    with (
        FakeLLM(line) as server,
        pytest.raises(ConfigError, match=r"budget: 500tokens cannot fit one call of a model: one request can take"),
    ):
        evolve(task, server.url, budget="500tokens", out=tmp_path / "run")
    assert server.requests == []
    assert not (tmp_path / "run").exists()


def test_a_cassette_that_lacks_a_request_names_it_and_keeps_the_run(task: str, tmp_path: Path):
    tape = tmp_path / "tape.jsonl"
    with FakeLLM(line) as server:
        evolve(task, server.url, budget="6evals", llm={"record": str(tape)})
    tape.write_text("".join(tape.read_text().splitlines(keepends=True)[:2]))
    code, _, err = call(tmp_path, "evolve", task, "--replay", str(tape), *FLAGS, "--budget", "6evals", "--out", "run")
    assert code == 2
    assert "the cassette lacks the request" in err
    assert "Write another f." in err
    assert events(tmp_path / "run")[-1].data["status"] == "failed"


def test_what_nobody_told_is_shown_as_the_most_it_can_be(task: str, tmp_path: Path):
    with FakeLLM(lambda received: Step(line(received).text, usage=None)) as server:
        evolve(task, server.url, budget="4calls,90000tokens", out=tmp_path / "run")
    assert re.search(r"4 of 4 calls, \d+ of 90000 tokens at most", " ".join(shown("show", tmp_path / "run").split()))
