"""A small form of benchmarks/racing: of noisy runs of known truth, few false improvements are kept, for half of the rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from agentopt import Case, Objective, Proposal
from agentopt.archives.pareto import Pareto
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import ArchiveContext
from agentopt.engine.plan import Plan
from agentopt.engine.rules import Rules
from tests.engine.world import World, make_task

CASES, REPEATS, EVALS, RUNS = 4, 8, 30, 20
EFFECTS = {"none": (0.0, 0.0, -0.5, -2.0), "some": (0.0, 0.0, -0.5, -2.0, -2.0, -2.0, -3.0, 2.0)}


class Children:
    """Children of the best with a random effect; notes the truth of who was kept and of who was displaced."""

    def __init__(self, effects: tuple[float, ...]) -> None:
        self.effects, self.made = effects, 0
        self.truth: dict[str, float] = {}
        self.kept: list[tuple[float, float]] = []

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        best = view.front()[0]
        self.made += 1
        return [Proposal({"x": round(best.candidate.values["x"] + rng.choice(self.effects), 3) + 1e-9 * self.made}, (best.id,))]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.truth[entry.id] = round(entry.candidate.values["x"], 3)
        if admission.displaced:
            self.kept.append((self.truth[entry.id], self.truth[admission.displaced[0]]))


def by_case(values: Mapping[str, Any], case: str, repeat: int) -> float:
    """Harder cases scatter more."""
    return values["x"] + Random(f"{values['x']}:{case}:{repeat}").gauss(0, 0.5 * 1.5 ** int(case))


async def run(effects: tuple[float, ...], rng_seed: int) -> tuple[int, int, int]:
    """Rollouts, kept, and how many of those are false."""
    task = make_task(cases={"train": [Case(str(n), n) for n in range(CASES)]}, repeats=REPEATS)
    children, archive = Children(effects), Pareto(ArchiveContext((Objective("score", "max"),)))

    def judge(values: Mapping[str, Any], case: str, repeat: int) -> float:
        return by_case({"x": values["x"] + 1e-3 * rng_seed}, case, repeat) - 1e-3 * rng_seed

    rules, plan = Rules(race=True, duel=True), Plan(rng_seed=rng_seed)
    world = World(task, judge=judge, optimizer=children, archive=archive, rules=rules, plan=plan, budget={"evals": EVALS})
    state = await world.run()
    return state.rollouts, len(children.kept), sum(new <= old for new, old in children.kept)


@pytest.mark.thorough
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
async def test_few_are_false_and_half_of_the_rollouts_do(effects: tuple[float, ...]):
    runs = [await run(effects, seed) for seed in range(RUNS)]
    assert sum(rollouts for rollouts, _, _ in runs) < RUNS * EVALS * CASES * REPEATS / 2
    assert sum(false / max(1, kept) for _, kept, false in runs) / RUNS <= 0.05
    if max(effects) > 0:
        assert sum(kept for _, kept, _ in runs) > RUNS, "what is better is found"
