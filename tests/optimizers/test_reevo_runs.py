"""Whole runs with ReEvo: the engine's own schedule, several workers, and a run that goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agentopt
from agentopt.core.protocols import OptimizerContext
from agentopt.loading import bundled_root
from agentopt.optimizers.reevo import Reevo
from agentopt.prompts.templates import Templates
from agentopt.testing import make_task
from tests.optimizers.scripted import ScriptedChat, improving

OPTIONS: dict[str, Any] = {"init_pop_size": 4, "pop_size": 3, "mutation_rate": 0.7}


class Watched:
    """A factory of ReEvo with a chat of its own, and what was proposed in runs that it was used for."""

    def __init__(self, **options: Any) -> None:
        self._options = OPTIONS | options
        self.chats: list[ScriptedChat] = []
        self.operators: list[str] = []
        self.ids: list[str] = []

    def __call__(self, context: OptimizerContext) -> Reevo:
        self.chats.append(ScriptedChat(improving(context.task.parameters)))
        prompts = Templates("reevo", [bundled_root("prompts")], 20_000)
        return Reevo(replace(context, options=self._options, chat=self.chats[-1], prompts=prompts))

    @property
    def on_event(self) -> Callable[[Any, Any], None]:
        def see(event: Any, state: Any) -> None:
            if event.kind == "proposed":
                self.operators.append(event.data["operator"])
                self.ids.append(event.data["candidate"])

        return see


def run(watched: Watched, budget: str, workers: int = 1, out: Path | None = None) -> agentopt.Result:
    task = make_task(code=False)
    return agentopt.evolve(task, optimizer=watched, budget=budget, executor="inline", workers=workers, out=out, on_event=watched.on_event)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("mode", ["async", "paper"])
def test_a_run_improves_its_seed(mode: str, workers: int) -> None:
    watched = Watched(mode=mode)
    result = run(watched, "40evals", workers)
    assert result.best.scores["distance"] < result.seed.scores["distance"]
    assert len(watched.ids) == 40
    steps = Counter(watched.chats[0].steps)
    assert steps["short_term"] == steps["crossover"] == watched.operators.count("crossover")
    assert steps["long_term"] <= watched.operators.count("crossover") // 3
    if mode == "paper":
        assert watched.operators[:10] == ["seed"] + ["initial"] * 4 + ["crossover"] * 3 + ["mutation"] * 2


@pytest.mark.parametrize("mode", ["async", "paper"])
@pytest.mark.parametrize("first", [6, 11, 14])
def test_a_run_that_goes_on_proposes_what_it_would_have_proposed(tmp_path: Path, mode: str, first: int) -> None:
    whole = Watched(mode=mode)
    run(whole, "25evals")
    parted = Watched(mode=mode)
    run(parted, f"{first}evals", out=tmp_path / "run")
    agentopt.resume(tmp_path / "run", budget=f"+{25 - first}evals", task=make_task(code=False), optimizer=parted, on_event=parted.on_event)
    assert parted.ids == whole.ids
    assert len(set(whole.ids)) == 25
