"""Runs whose models are files and programs, killed and gone on with."""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentopt.llm.relay import answer, open_requests
from tests.e2e.test_models import FLAGS, call, events, process
from tests.llm.test_command import alive
from tests.toys import write_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_task(tmp_path / "line")
    (tmp_path / "questions").mkdir()
    return tmp_path


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answer_all(questions: Path) -> None:
    """Other slopes, which follow from the questions alone."""
    for request in open_requests(questions):
        answer(questions, request.id, f"```python\ndef f(x):\n    return {1 + int(request.id[:2], 16) / 100:.4f} * x\n```\n")


def test_a_run_that_was_killed_with_a_question_open_takes_the_answer_that_came_meanwhile(folder: Path) -> None:
    questions = folder / "questions"
    running = process(folder, "evolve", "line", *FLAGS, "--model", "relay:questions", "--budget", "6evals", "--out", "run")
    until(lambda: list(open_requests(questions)))
    running.kill()
    running.communicate()
    asked = [request.id for request in open_requests(questions)]
    answer_all(questions)
    resumed = process(folder, "resume", "run", "--json")
    while resumed.poll() is None:
        answer_all(questions)
        time.sleep(0.01)
    out, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["status"] == "budget"
    replied = [event.data["key"] for event in events(folder / "run") if event.kind == "llm_reply" and "text" in event.data]
    assert set(asked) <= set(replied)
    assert len(replied) == len(set(replied)) >= 5
    assert not list(open_requests(questions))


@pytest.mark.usefixtures("box")
def test_a_search_with_an_agent(folder: Path) -> None:
    agent = "echo '```python'; echo 'def f(x):'; echo \"    return 1.$(cksum | cut -c1-4) * x\"; echo '```'"
    model = f"command:{shlex.join(['sh', '-c', agent])}"
    code, out, err = call(folder, "evolve", "line", *FLAGS, "--model", model, "--budget", "5evals", "--out", "run", "--json")
    assert code == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["model"] == model
    assert summary["calls"]["replies"] >= 4
    assert {event.data["served_by"] for event in events(folder / "run") if event.kind == "llm_reply"} == {model}


@pytest.mark.usefixtures("box")
def test_a_run_that_was_killed_leaves_no_agent(folder: Path) -> None:
    marker = f"{random.randint(10**6, 10**7)}.25"
    model = f"command:sh -c 'setsid sleep {marker} & sleep {marker}'"
    running = process(folder, "evolve", "line", *FLAGS, "--model", model, "--budget", "5evals", "--out", "run")
    until(lambda: len(alive(marker)) == 2)
    running.kill()
    running.communicate()
    until(lambda: not alive(marker))
