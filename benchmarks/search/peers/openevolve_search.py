"""OpenEvolve with its defaults: diffs, five islands, MAP-Elites over complexity and diversity; one worker, no cascade.

Iterations are given as four times the evaluations, since one whose reply is of no use evaluates nothing; the cell ends it in time.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from client import Job
from openevolve import OpenEvolve
from openevolve.config import Config, LLMConfig


def main(job: Job) -> None:
    config = Config(max_iterations=4 * job.evaluations, random_seed=job.rng_seed, log_level="ERROR", checkpoint_interval=10**6)
    config.llm = LLMConfig(primary_model="stand-in", api_base=job.url, api_key="none", retries=1, retry_delay=0)
    config.llm.update_model_params({"system_message": "system_message"})
    config.evaluator.cascade_evaluation = False
    config.database.random_seed = job.rng_seed
    for name, value in job.options.items():
        setattr(config, name, value)
    seed = job.folder / "seed.py"
    evaluator = Path(__file__).with_name("openevolve_evaluator.py")
    search = OpenEvolve(str(seed), str(evaluator), config=config, output_dir=str(job.folder / "output"))
    asyncio.run(search.run())


if __name__ == "__main__":
    main(Job(sys.argv[1]))
