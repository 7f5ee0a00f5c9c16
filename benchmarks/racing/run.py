"""Races and duels on noisy tasks of known truth: what they cost beside evaluating everything fully, and how many improvements they keep.

    python -m benchmarks.racing.run --seeds 20

The truth of a candidate is a number; a rollout adds noise to it. ``none``: no child is better than its parent, half are as good.
``some``: one child in ten is better, a quarter of the others as good. Each run is made three times: with races and duels; *full*, which
evaluates every candidate fully and keeps the higher score; and *full at the same cost*, as many rollouts as the first took. A kept
improvement is false if the truth is not above that of the candidate it displaced; ``false_share`` is the mean over runs of false ones
among those kept (0 where nothing was kept).
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any

import agentopt
from agentopt import Case, Objective, Parameter, Proposal, Task
from benchmarks.rows import append

CASES, REPEATS = 8, 8
Noise = Callable[[Random, int], float]
SHAPES: Mapping[str, Noise] = {
    "normal": lambda rng, case: rng.gauss(0, 1),
    "heavy": lambda rng, case: rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1.5, 2) / 3),
    "by_case": lambda rng, case: rng.gauss(0, 0.25 * 2 ** (case / 2)),
    "skewed": lambda rng, case: rng.expovariate(1) - 1,
}
"""Per (generator, case): normal; Student's t with 3 degrees; harder cases scatter more; a long tail on one side."""
EFFECTS: Mapping[str, Callable[[Random], float]] = {
    "none": lambda rng: rng.choice([0.0, 0.0, -0.3, -1.0]),
    "some": lambda rng: rng.choice([0.5, 1.0]) if rng.random() < 0.1 else rng.choice([0.0, -0.3, -1.0, -2.0]),
}
"""Truth of the child - truth of the parent, in standard deviations of the noise of one rollout."""


def make_task(shape: str, noisy: bool) -> Task:
    cases = {"train": [Case(f"c{n}", n) for n in range(CASES)]}
    parts: dict[str, Any] = {"parameters": {"x": Parameter("x", "config", {"truth": 0.0, "name": 0})}, "cases": cases}
    task = Task("noise", "Climb.", objectives=[Objective("score")], repeats=REPEATS, noisy=noisy, **parts)

    @task.run
    def run(program: Any, input: Any) -> float:  # pyright: ignore[reportUnusedFunction]
        own = Random(f"{program.x['name']}:{random.getrandbits(64)}")  # no noise in common with another candidate: the hardest case
        return program.x["truth"] + SHAPES[shape](own, input) + input

    @task.score
    def score(case: Any, output: float, measured: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        return agentopt.Score(score=output)

    return task


class Children:
    """Children of the best, with an effect that nobody is told."""

    def __init__(self, effect: Callable[[Random], float]) -> None:
        self.effect, self.made = effect, 0
        self.truth: dict[str, float] = {}
        self.kept: list[tuple[float, float]] = []
        """Truths of who was kept and of who was displaced."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        best = view.front()[0]
        self.made += 1
        return [Proposal({"x": {"truth": best.candidate.values["x"]["truth"] + self.effect(rng), "name": self.made}}, (best.id,))]

    def observe(self, entry: Any, admission: Any) -> None:
        self.truth[entry.id] = entry.candidate.values["x"]["truth"]
        if admission.displaced:
            self.kept.append((self.truth[entry.id], self.truth[admission.displaced[0]]))


def one(shape: str, effect: str, noisy: bool, rng_seed: int, budget: str) -> dict[str, float]:
    """One run: what it spent, what it kept, what it came to, and by how much the score shown of its best is above the truth."""
    children = Children(EFFECTS[effect])
    task = make_task(shape, noisy)
    found = agentopt.evolve(task, budget=budget, executor="inline", optimizer=children, workers=1, rng_seed=rng_seed, out=None)
    assert found.best
    false = sum(new <= old for new, old in children.kept)
    truth = found.best.values["x"]["truth"]
    shown = found.best.scores["score"] - truth - fmean(range(CASES))
    made = {"rollouts": found.spent["rollouts"], "evaluations": found.evaluations, "kept": len(children.kept), "false": false}
    made |= {"true": len(children.kept) - false, "truth": truth, "shown_above_truth": shown if children.kept else math.nan}
    return made | {"duels": found.summary["duels"].get("held", 0)}


def rows_of(shape: str, effect: str, seeds: Sequence[int], evaluations: int) -> list[dict[str, Any]]:
    """A row per way of evaluating."""
    raced = [one(shape, effect, True, seed, f"{evaluations}evals") for seed in seeds]
    full = [one(shape, effect, False, seed, f"{evaluations}evals") for seed in seeds]
    least = 2 * CASES * REPEATS
    same = [one(shape, effect, False, seed, f"{max(least, run['rollouts']):.0f}rollouts") for seed, run in zip(seeds, raced, strict=True)]
    everything = sum(run["rollouts"] for run in full)
    ways = {"races and duels": raced, "full": full, "full at the same cost": same}
    about = {"noise": shape, "improvements": effect, "runs": len(seeds), "unit": "standard deviations of one rollout's noise (about)"}
    return [{"what": way, **about, **_mean(runs, everything)} for way, runs in ways.items()]


def _mean(runs: Sequence[Mapping[str, float]], everything: float) -> dict[str, Any]:
    total = {name: sum(run[name] for run in runs) for name in ("rollouts", "evaluations", "kept", "false", "true", "duels")}
    shown = [run["shown_above_truth"] for run in runs if run["kept"]]
    return {
        **{name: int(amount) for name, amount in total.items()},
        "of_full": round(total["rollouts"] / everything, 4),
        "false_share": round(fmean(run["false"] / max(1, run["kept"]) for run in runs), 4),
        "false_of_kept": round(total["false"] / max(1, total["kept"]), 4),
        "truth": round(fmean(run["truth"] for run in runs), 4),
        "shown_above_truth": round(fmean(shown), 4) if shown else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--noise", nargs="+", default=list(SHAPES))
    given = parser.parse_args()
    for effect in EFFECTS:
        for shape in given.noise:
            append("racing", rows_of(shape, effect, range(1, given.seeds + 1), given.evaluations))


if __name__ == "__main__":
    main()
