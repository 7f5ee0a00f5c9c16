"""Whole runs with OptoPrime: it improves, goes on where it was, asks real clients at once, and is an arm of a portfolio."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

import agentopt
from agentopt.core.chat import ChatReply, ChatRequest, Usage
from agentopt.pipeline.optimize import optimize
from agentopt.testing import make_task
from agentopt.trace.params import param
from agentopt.trace.traced import traced
from tests.optimizers.playing import Watched, run
from tests.optimizers.test_optoprime import suggesting

SPREADS: list[dict[str, Any]] = [
    {},
    {"candidates": 3, "spread": "temperature"},
    {"candidates": 2, "spread": "alternatives", "start": "latest"},
    {"candidates": 2, "spread": "experts", "combine": "merge", "start": "sample"},
]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("options", SPREADS)
def test_a_run_improves_its_seed(options: dict[str, Any], workers: int) -> None:
    watched = Watched("optoprime", **options)
    result = run(watched, "30evals", workers)
    assert result.best.scores["distance"] < result.seed.scores["distance"]
    assert len(watched.ids) == 30
    assert set(watched.operators) == {"seed", "improve"}


@pytest.mark.thorough
@pytest.mark.parametrize("options", SPREADS)
@pytest.mark.parametrize("first", [3, 8])
def test_a_run_that_goes_on_proposes_what_it_would_have_proposed(tmp_path: Path, options: dict[str, Any], first: int) -> None:
    whole = Watched("optoprime", **options)
    run(whole, "16evals")
    parted = Watched("optoprime", **options)
    run(parted, f"{first}evals", out=tmp_path / "run")
    agentopt.resume(tmp_path / "run", budget=f"+{16 - first}evals", task=make_task(code=False), optimizer=parted, on_event=parted.on_event)
    assert parted.ids == whole.ids
    assert len(set(whole.ids)) == 16


class Slow:
    """A model whose answers follow from the requests, and come in another order than these."""

    name = "slow"

    def __init__(self) -> None:
        self.asked = self.most = self.now = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(Random(request.digest).random() / 100)
        self.now -= 1
        return ChatReply(suggesting(make_task(code=False).resolved)(request), "slow", "stop", Usage(10, 10))

    async def close(self) -> None: ...


@pytest.mark.thorough
@pytest.mark.parametrize("options", SPREADS[1:])
@pytest.mark.parametrize("first", [4, 7])
def test_answers_that_are_asked_for_at_once_are_paid_once_whenever_the_budget_ends(
    tmp_path: Path, options: dict[str, Any], first: int
) -> None:
    ids: list[list[str]] = []

    def see(event: Any, state: Any) -> None:
        if event.kind == "proposed":
            ids[-1].append(event.data["candidate"])

    given: dict[str, Any] = {"optimizer": {"name": "optoprime", "options": options}, "on_event": see}
    settings: dict[str, Any] = {"executor": "inline", "workers": 1}
    task, model = make_task(code=False), Slow()
    ids.append([])
    agentopt.evolve(task, **given, model=model, budget="13evals", out=None, **settings)
    assert model.most == (1 if options["spread"] == "alternatives" else options["candidates"])
    ids.append([])
    model = Slow()
    agentopt.evolve(task, **given, model=model, budget=f"{first}evals", out=tmp_path / "run", **settings)
    agentopt.resume(tmp_path / "run", budget=f"+{13 - first}evals", task=task, model=model, on_event=see)
    assert ids[0] == ids[1]


def test_a_workflow_is_improved_by_what_its_traces_show() -> None:
    style = param("loud", name="style", constraint="one word", projection=lambda text: text.strip().lower())
    scale = param(1.0, name="scale", bounds=(0.0, 5.0))

    @traced
    def measure(x: float) -> float:
        """Scales x."""
        return x * float(scale)

    @traced
    def say(value: float) -> str:
        return f"{style} {value:g}"

    def score(row: Any, output: str) -> tuple[float, str]:
        wanted = f"calm {3 * row['x']}"
        return sum(a == b for a, b in zip(output.split(), wanted.split(), strict=True)) / 2, f"wanted {wanted}"

    seen: list[str] = []

    class Reader:
        """Reads the problem as a model would: what was wanted, and what came."""

        name = "reader"

        async def complete(self, request: ChatRequest) -> ChatReply:
            prompt = request.messages[1].content
            seen.append(prompt)
            word = re.search(r"wanted (\w+) ", prompt)
            assert word
            assert "= say(value=measure_1)" in prompt
            assert "Scales x." in prompt
            return ChatReply(_suggested(style=f" {word[1].upper()} ", scale=3.0 if len(seen) > 1 else 7.0), "reader", "stop", Usage(9, 9))

        async def close(self) -> None: ...

    rows = [{"x": number} for number in range(1, 13)]
    best = optimize(
        lambda x: say(measure(x)), rows, score, budget="3calls", model=Reader(), optimizer="optoprime", params=[style, scale], out=None
    )
    assert best.result.best.values == {"style": "calm", "scale": 3.0}
    assert "must be between 0 and 5" not in seen[0]


def _suggested(**values: Any) -> str:
    return "".join(f"<variable>\n<name>{name}</name>\n<value>{value}</value>\n</variable>\n" for name, value in values.items())


def test_as_an_arm_of_auto() -> None:
    watched = Watched("auto", arms="optoprime,tune", polish=2)
    result = run(watched, "12evals")
    assert result.best.scores["distance"] < result.seed.scores["distance"]
    assert {"improve"} < set(watched.operators)
