"""Optimizers beside each other on a bundled task, all with as many evaluations: the score of each one's best on the test split.

    python -m benchmarks.equal.run online_bin_packing --evaluations 28 --seeds 5
    python -m benchmarks.equal.run signal_filter --evaluations 90 --optimizers memetic --play reevo evolve auto

``--recording`` and ``--play`` play recorded runs of ``tests/recordings`` too. Each is one run, made once with one model: its row has n = 1
and no interval, and says how one search went, not how good a method is. A task without a test split gives scores that the search has seen.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import agentopt
from benchmarks.rows import ROOT, append, summary
from tests.e2e.recorded import play

OPTIMIZERS = ("mutate", "tune", "memetic")
RECORDED = {"name": "reevo", "options": {"init_pop_size": 8, "pop_size": 5, "mutation_rate": 0.4}}


def scores(task: str, budget: str, rng_seed: int, **options: Any) -> tuple[float, float, int]:
    """Seed's and best's first objective on test, and evaluations made."""
    found = agentopt.evolve(task, budget=budget, rng_seed=rng_seed, workers=1, out=None, **options)
    return of(found)


def of(found: agentopt.Result) -> tuple[float, float, int]:
    assert found.seed
    assert found.best
    seed, best = found.seed.test or found.seed.scores, found.best.test or found.best.scores
    name = next(iter(seed))
    return seed[name], best[name], found.summary["evaluations"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--evaluations", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--optimizers", nargs="+", default=OPTIMIZERS)
    parser.add_argument("--recording", action="store_true")
    parser.add_argument("--play", nargs="+", default=())
    given = parser.parse_args()
    about = {"task": given.task, "evaluations": given.evaluations, "unit": "first objective of the best, on test"}
    rows: list[dict[str, Any]] = []
    for optimizer in given.optimizers:
        runs = [scores(given.task, f"{given.evaluations}evals", seed, optimizer=optimizer) for seed in range(1, given.seeds + 1)]
        rows.append({"what": optimizer, **about, "seed": runs[0][0], **summary([best for _, best, _ in runs])})
    if given.recording:
        tape = ROOT / "tests" / "recordings" / f"reevo_{given.task}.jsonl"
        calls = len(tape.read_text().splitlines())
        seed, best, evaluations = scores(given.task, f"{calls}calls", 1, optimizer=RECORDED, model=f"replay:{tape}")
        rows.append({"what": f"reevo, recorded, {calls} calls", **about, "evaluations": evaluations, "seed": seed, **summary([best])})
    for optimizer in given.play:
        with tempfile.TemporaryDirectory() as folder:
            found = play(f"{optimizer}_{given.task}", Path(folder) / "run")
        seed, best, evaluations = of(found)
        about |= {"evaluations": evaluations, "seed": seed}
        rows.append({"what": f"{optimizer}, recorded, {found.summary['calls']['replies']} calls", **about, **summary([best])})
    append("equal", rows)


if __name__ == "__main__":
    main()
