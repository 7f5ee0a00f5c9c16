"""Whole runs with the portfolio: its arms as they are, the engine's own schedule, runs that were cut off, a server."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

import agentopt
from agentopt import Case, Objective, Parameter, Task, plugins
from agentopt.core.chat import ChatReply, ChatRequest, Usage
from agentopt.core.protocols import Archive, ArchiveContext, Chat, Optimizer, OptimizerContext, TaskCard
from agentopt.engine.journal import Journal
from agentopt.engine.plan import Plan
from agentopt.llm.prices import Price
from agentopt.loading import bundled_root
from agentopt.prompts.templates import Templates
from agentopt.testing import FakeLLM
from agentopt.testing.fake_llm import Received, Step
from tests.engine.asking import Oracle, journal_of
from tests.engine.world import Kill, ListStore, World

OPTIONS = {"polish": 3, "reevo.init_pop_size": 3, "reevo.pop_size": 2, "evolve.initial": 2}
ARMS = {"reevo@one", "reevo@two", "evolve@one", "evolve@two", "tune", "mutate"}


class Helper(Oracle):
    """Says advice, a program, or, now and then, nothing of use."""

    def reply(self, request: ChatRequest) -> ChatReply:
        number = int(request.digest[:4], 16)
        text = f"```json\n{number % 40}.5\n```" if number % 7 else "I would rather not."
        return ChatReply("go up" if "_term" in request.purpose else text, "served", "stop", Usage(10, 5), latency=0.25)


found = cache(partial(plugins.resolve, "optimizers"))


@cache
def templates(name: str) -> Templates:
    return Templates(name, [bundled_root("prompts")], 24_000)


def auto(card: TaskCard, chat: Journal, options: Mapping[str, Any]) -> Optimizer:
    def archive(name: str, options: Mapping[str, Any]) -> Archive:
        return plugins.resolve("archives", name)(ArchiveContext(card.objectives, (), options, archive))

    def build(name: str, options: Mapping[str, Any], chat: Chat | None) -> Optimizer:
        return found(name)(OptimizerContext(card, options, build, archive, chat, templates(name) if chat else None))

    return build("auto", options, chat)


def toy() -> Task:
    cases = {"train": [Case("a", 1)], "test": [Case("t", 4)]}
    task = Task("toy", "climb", parameters={"x": Parameter("x", "value", 0.5)}, objectives=[Objective("score", "max")], cases=cases)
    task.score(lambda case, output, measured: 0.0)
    return task


def world(store: ListStore | None = None, models: tuple[Oracle, ...] = (), **settings: Any) -> World:
    chat = journal_of(*(models or (Helper(),)), price=settings.pop("price", None))
    card = TaskCard("toy", "climb", toy().resolved, tuple(toy().objectives))
    return World(toy(), optimizer=auto(card, chat, OPTIONS | settings.pop("options", {})), chat=chat, store=store, **settings)


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.thorough
async def test_killed_at_any_event_it_goes_on_as_if_nothing_had_happened(stride: int) -> None:
    settings: dict[str, Any] = {"budget": {"evals": 20, "rollouts": 60}, "price": Price(1.0, 2.0)}

    def models() -> tuple[Oracle, ...]:
        return Helper("one"), Helper("two")

    whole = world(models=models(), **settings)
    await whole.run()
    made = {data["optimizer"] for kind, data in whole.log if kind == "proposed"}
    assert made == {"", *ARMS}
    assert any(kind == "proposed" and data["memo"]["spent"].get("usd") for kind, data in whole.log[20:])
    for die_after in range(1, len(whole.store.events), stride):
        store = ListStore(die_after=die_after)
        with pytest.raises(Kill):
            await world(store, models(), **settings).run()
        again = world(ListStore(store.events), models(), **settings)
        again.store.blobs = store.blobs
        await again.run()
        assert again.log == whole.log, die_after


@pytest.mark.parametrize("seed", range(6))
async def test_several_asks_at_once_are_taken_up_and_nothing_is_paid_twice(seed: int) -> None:
    rng, models = Random(seed), (Helper("one", 0.001), Helper("two", 0.001))
    settings: dict[str, Any] = {"plan": Plan(deterministic=False, look_ahead=2), "capacity": 3, "budget": {"evals": 40}}
    settings["delay"] = lambda values, case: 0.0005 * (abs(hash(str(values))) % 5)
    store, blobs = ListStore(), {}
    for _ in range(4):
        store.die_after = len(store.events) + rng.randrange(2, 40)
        run = world(store, models, **settings)
        with pytest.raises(Kill):
            await run.run()
        blobs |= store.blobs
        store = ListStore(store.events)
        store.blobs = blobs
    last = world(store, models, **settings)
    state = await last.run()
    assert state.evals == 40
    answered = Counter((e.data["model"], e.data["key"]) for e in last.store.events if e.kind == "llm_reply" and "text" in e.data)
    assert set(answered.values()) == {1}
    unknown = [event for event in last.store.events if event.kind == "llm_reply" and "unknown" in event.data]
    assert sum(len(model.asked) for model in models) <= len(answered) + len(unknown)


async def test_polishing_fills_the_slots_while_replies_are_on_their_way() -> None:
    run = world(models=(Helper(delay=0.005),), plan=Plan(deterministic=False, look_ahead=1), capacity=3, budget={"calls": 12})
    state = await run.run()
    open_calls, during = 0, 0
    for event in run.store.events:
        open_calls += (event.kind == "llm_request") - (event.kind == "llm_reply")
        during += bool(open_calls) and event.kind == "proposed" and event.data["optimizer"] in ("tune", "mutate")
    assert during > 3
    assert state.calls.requests == 12


async def test_what_one_arm_found_the_others_go_on_from() -> None:
    """A number that ``tune`` found is shown to the model."""
    run = world(budget={"calls": 30}, options={"polish": 8}, judge=lambda values, case, repeat: -abs(values["x"] - 20.123))
    await run.run()
    tuned = {data["candidate"] for kind, data in run.log if kind == "proposed" and data["optimizer"] in ("tune", "mutate")}
    parents = {parent for kind, data in run.log if kind == "proposed" and data["optimizer"] == "reevo" for parent in data["parents"]}
    assert tuned & parents


def test_with_a_server_and_what_each_arm_earned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "task.py"
    file.write_text(LINE)
    with FakeLLM(program) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
        result = agentopt.evolve(
            file,
            model="openai:one,openai:two",
            budget="24calls,200evals",
            workers=2,
            out=tmp_path / "run",
            llm={"base_url": server.url, "price": "1,2"},
            optimizer={"name": "auto", "options": {"polish": 3, "reevo": {"init_pop_size": 4}, "floor": 0.3}},
        )
    assert result.best.scores["error"] < result.seed.scores["error"]
    arms = result.summary["arms"]
    assert set(arms) == {arm.replace("@", "@openai:") for arm in ARMS}
    assert sum(arm["evaluations"] for arm in arms.values()) == result.evaluations - 1
    # the last ask may have been cut off by the budget before it had an answer
    assert 0 <= result.spent["calls"] - sum(arm["calls"] for arm in arms.values()) <= 4
    assert 0.8 * result.spent["tokens"] < sum(arm["tokens"] for arm in arms.values()) <= result.spent["tokens"]
    assert 0.8 * result.spent["usd"] < sum(arm["usd"] for arm in arms.values()) < 1.000001 * result.spent["usd"]
    assert arms["tune"]["calls"] == arms["mutate"]["calls"] == 0
    gain = result.seed.scores["error"] - result.best.scores["error"]
    assert sum(arm["gain"] for arm in arms.values()) == pytest.approx(gain)
    assert sum(arm["bests"] for arm in arms.values()) == len(result.curve) - 1
    again = agentopt.load_run(tmp_path / "run")
    assert again.summary["arms"] == arms


LINE = """
from agentopt import Case, Objective, Parameter, Task

task = Task(
    "line",
    "Fit the line.",
    parameters={"f": Parameter("f", "code", "def f(x):\\n    return 1.0 * x + 0.5\\n")},
    objectives=[Objective("error", "min")],
    cases={"train": [Case(str(x), x, 3.7 * x - 1.3) for x in range(5)]},
)


@task.run
def run(program, input):
    return program.f(input)


@task.score
def score(case, output, measured):
    return abs(output - case.expected)
"""


def program(received: Received) -> Step:
    number = int(hashlib.sha256(json.dumps(received.body["messages"]).encode()).hexdigest()[:8], 16)
    return Step(f"```python\ndef f(x):\n    y = {number % 7}.5 * x\n    return y + {number % 3}.25\n```")
