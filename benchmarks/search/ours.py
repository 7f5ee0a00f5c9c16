"""Our own searches through the public interface, on the same task with its train cases, with the stand-in as their model."""

from __future__ import annotations

import os
import sys
from typing import Any

import agentopt
from benchmarks.search import problems
from benchmarks.search.peers.client import Job, ask

__all__ = ["main"]


def main(job: Job) -> None:
    """One evaluation is one candidate whose rollouts started, as the run's budget counts them."""
    problem = problems.load(job.name)
    objective = problem.task.objectives[0].name
    os.environ.pop("AGENTOPT_MODEL", None)
    os.environ["OPENAI_API_KEY"] = "none"
    options: dict[str, Any] = dict(job.options)
    if options.pop("asks"):
        options |= {"model": "openai:stand-in", "llm": {"base_url": job.url, "retries": 1}}
    found = agentopt.evolve(
        problem.searched(),
        budget=f"{job.evaluations}evals,{40 * job.evaluations}calls" if "model" in options else f"{job.evaluations}evals",
        rng_seed=job.rng_seed,
        workers=1,
        out=None,
        **options,
    )
    assert found.best
    curve = [[point.evals, point.scores[objective]] for point in found.curve]
    ask(
        best=found.best.values[problem.parameter.name],
        curve=curve,
        used=found.evaluations,
        failures=sum(found.failures.values()),
        why=found.why,
    )


if __name__ == "__main__":
    main(Job(sys.argv[1]))
