"""GEPA through ``optimize_anything``, its interface for programs: one rollout per train case, a cache, otherwise its defaults.

With one case it searches a single task, with several it is the multi-task mode with its front over cases. Its minibatches are as large
as its default, or as there are cases.
"""

from __future__ import annotations

import sys
from typing import Any

from client import Job, ask, chat
from gepa.optimize_anything import EngineConfig, GEPAConfig, ReflectionConfig, optimize_anything


def main(job: Job) -> None:
    def evaluate(candidate: str, example: int = 0) -> tuple[float, dict[str, Any]]:
        rated = ask(source=candidate, case=example)
        return rated["fitness"], {"error": rated["failure"]} if rated["failure"] else {}

    def reflect(prompt: Any) -> str:
        return chat(job.url, prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}])

    several = job.cases > 1
    config = GEPAConfig(
        engine=EngineConfig(
            seed=job.rng_seed,
            max_metric_calls=20 * job.evaluations * job.cases,  # it counts what its cache answers; the cell ends it in time
            parallel=False,
            cache_evaluation=True,
            raise_on_exception=True,
            **job.options,
        ),
        reflection=ReflectionConfig(reflection_lm=reflect, reflection_minibatch_size=min(3, job.cases)),
    )
    optimize_anything(
        job.seed,
        evaluator=evaluate,
        dataset=list(range(job.cases)) if several else None,
        objective=job.goal,
        config=config,
    )


if __name__ == "__main__":
    main(Job(sys.argv[1]))
