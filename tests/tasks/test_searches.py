"""A short search without a model improves each of the tasks that are there to tell searches apart."""

from __future__ import annotations

import pytest

import agentopt
from tests.tasks import bundled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "evaluations", "rng_seed"),
    [
        ("heilbronn/task.py", 100, 1),
        ("online_scheduling/task.py", 60, 1),
        ("signal_filter/task.py", 100, 2),
        ("sorting_network/task.py", 180, 1),
    ],
)
def test_memetic_improves_the_seed(file: str, evaluations: int, rng_seed: int) -> None:
    found = agentopt.evolve(bundled.TASKS / file, budget=f"{evaluations}evals", optimizer="memetic", workers=1, rng_seed=rng_seed, out=None)
    objective = bundled.task(file).objectives[0]
    assert objective.better(found.best.scores[objective.name], found.seed.scores[objective.name])
