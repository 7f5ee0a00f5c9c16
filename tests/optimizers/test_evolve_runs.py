"""Whole runs with evolve: the engine's own schedule, several workers, a run that goes on, a model over HTTP, and a long history."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

import agentopt
from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Admission
from agentopt.testing import FakeView, make_entry, make_task
from agentopt.testing.fake_llm import FakeLLM, Received, Step
from tests.optimizers.playing import Watched, run
from tests.optimizers.scripted import ScriptedChat
from tests.optimizers.test_evolve import Play

OPTIONS: dict[str, Any] = {"stall": 6}


@pytest.mark.parametrize("workers", [1, 4])
def test_a_run_improves_its_seed(workers: int) -> None:
    watched = Watched("evolve", **OPTIONS)
    result = run(watched, "40evals", workers)
    assert result.best.scores["distance"] < result.seed.scores["distance"]
    assert len(watched.ids) == 40
    assert watched.operators[:4] == ["seed", "initial", "initial", "initial"]
    assert {"improve", "directions", "paradigms"} <= set(watched.chats[0].steps)


@pytest.mark.parametrize("first", [3, 7, 18])
def test_a_run_that_goes_on_proposes_what_it_would_have_proposed(tmp_path: Path, first: int) -> None:
    whole = Watched("evolve", **OPTIONS)
    run(whole, "30evals")
    parted = Watched("evolve", **OPTIONS)
    run(parted, f"{first}evals", out=tmp_path / "run")
    agentopt.resume(tmp_path / "run", budget=f"+{30 - first}evals", task=make_task(code=False), optimizer=parted, on_event=parted.on_event)
    assert parted.ids == whole.ids
    assert len(set(whole.ids)) == 30


def test_a_run_with_a_model_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, as a user would: settings, templates, journal and a server that answers."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    draw = Random(5)

    def answer(received: Received) -> Step:
        user = received.body["messages"][-1]["content"]
        if "numbered list" in user:
            return Step("1. go left\n2. go right\n3. stay")
        return Step(f'IDEA: another place\n```json\n{{"x": {draw.uniform(-1, 1)}, "y": {draw.uniform(-1, 1)}}}\n```')

    with FakeLLM(answer) as server:
        result = agentopt.evolve(
            make_task(code=False),
            optimizer={"name": "evolve", "options": {"stall": 5, "directions": 3}},
            model="openai:m",
            budget="25calls",
            executor="inline",
            out=tmp_path / "run",
            workers=2,
            llm={"base_url": server.url, "retries": 0},
        )
        assert len(server.requests) == 25
    assert result.best.scores["distance"] < result.seed.scores["distance"]
    users = [received.body["messages"][-1]["content"] for received in server.requests]
    assert any("Improve the program in this direction" in user for user in users)
    assert any("another place [distance" in user for user in users)
    assert any("the point ended at" in user for user in users), "the scorer's feedback is shown"


@pytest.mark.slow
def test_the_ten_thousandth_candidate_costs_as_much_as_the_thousandth() -> None:
    play = Play()
    optimizer, task = play.history.optimizer, play.task
    chat: ScriptedChat = play.chat
    draw = Random(1)
    spent: dict[int, float] = {}
    values = {"place": task.parameters["place"].initial}
    begun = time.process_time()
    for index in range(1, 10_001):
        memo = {"step": "improve", "island": index % 3, "form": "diff", "was": {"excess": 0.5}, "idea": f"i{index}", "edit": "+x"}
        text = f"{values['place']}A = {draw.random()}\nB = {draw.random()} * {draw.random()}\n"
        candidate = Candidate(f"c{index}", {"place": text}, (f"c{max(index - 3, 1)}",), "evolve", "improve", memo=memo)
        optimizer.observe(make_entry(candidate, {"excess": draw.random()}), Admission("dominated"))
        if index % 1000 == 0:
            view = FakeView(task, play.told, ())
            asyncio.run(optimizer.propose(view, 1, Random(index)))
            spent[index], begun = time.process_time() - begun, time.process_time()
    assert len(chat.paid) >= 10
    early, late = sum(spent[k] for k in (2000, 3000, 4000)), sum(spent[k] for k in (8000, 9000, 10_000))
    assert late < 1.6 * early, spent
