"""Whole runs with ReEvo: the engine's own schedule, several workers, and a run that goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import agentopt
from agentopt.testing import make_task
from tests.optimizers.playing import Watched, run

OPTIONS: dict[str, Any] = {"init_pop_size": 4, "pop_size": 3, "mutation_rate": 0.7}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("mode", ["async", "paper"])
def test_a_run_improves_its_seed(mode: str, workers: int) -> None:
    watched = Watched("reevo", **OPTIONS, mode=mode)
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
    whole = Watched("reevo", **OPTIONS, mode=mode)
    run(whole, "25evals")
    parted = Watched("reevo", **OPTIONS, mode=mode)
    run(parted, f"{first}evals", out=tmp_path / "run")
    agentopt.resume(tmp_path / "run", budget=f"+{25 - first}evals", task=make_task(code=False), optimizer=parted, on_event=parted.on_event)
    assert parted.ids == whole.ids
    assert len(set(whole.ids)) == 25
