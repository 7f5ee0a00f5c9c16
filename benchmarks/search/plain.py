"""The controls: the proposal stream with no search behind it, or with the least that is one.

``best_of_n`` edits the seed, over and over. ``restarts`` climbs: a child that is as good takes its parent's place, and after 25
evaluations without a better one the climb begins anew at the seed.
"""

from __future__ import annotations

import sys

from benchmarks.search.peers.client import Job, ask
from benchmarks.search.stream import Stream

__all__ = ["best_of_n", "restarts"]

PATIENCE = 25


def best_of_n(job: Job) -> int:
    """Requests made."""
    stream, calls, done = Stream(job.rng_seed), 0, 1
    ask(source=job.seed)
    while done < job.evaluations:
        child = stream.draw(calls, job.seed)
        calls += 1
        if child is not None:
            ask(source=child)
            done += 1
    return calls


def restarts(job: Job) -> int:
    """Requests made."""
    stream, calls, done = Stream(job.rng_seed), 0, 1
    first = parent_fitness = ask(source=job.seed)["fitness"]
    parent, idle = job.seed, 0
    while done < job.evaluations:
        if idle >= PATIENCE:
            parent, parent_fitness, idle = job.seed, first, 0
        child = stream.draw(calls, parent)
        calls += 1
        if child is None:
            continue
        fitness = ask(source=child)["fitness"]
        done += 1
        idle = 0 if fitness > parent_fitness else idle + 1
        if fitness >= parent_fitness:
            parent, parent_fitness = child, fitness
    return calls


if __name__ == "__main__":
    job = Job(sys.argv[1])
    ask(calls={"best_of_n": best_of_n, "restarts": restarts}[job.options["search"]](job))
