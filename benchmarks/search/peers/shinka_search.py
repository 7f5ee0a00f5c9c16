"""Shinka with its defaults, but one proposal and one evaluation at a time, without embeddings and summaries (other models make them)."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from client import Job
from shinka.core import EvolutionConfig, ShinkaEvolveRunner
from shinka.database import DatabaseConfig
from shinka.launch import LocalJobConfig


def main(job: Job) -> None:
    random.seed(job.rng_seed)
    np.random.seed(job.rng_seed)
    evolution = EvolutionConfig(
        task_sys_msg=job.goal,
        num_generations=2 * job.evaluations,
        llm_models=[f"local/stand-in@{job.url}"],
        llm_dynamic_selection=None,
        embedding_model=None,
        meta_rec_interval=None,
        init_program_path=str(job.folder / "marked.py"),
        results_dir=str(job.folder / "results"),
        **job.options,
    )
    runner = ShinkaEvolveRunner(
        evo_config=evolution,
        job_config=LocalJobConfig(eval_program_path=str(Path(__file__).with_name("shinka_evaluate.py")), python_executable=sys.executable),
        db_config=DatabaseConfig(db_path="programs.sqlite"),
        max_evaluation_jobs=1,
        max_proposal_jobs=1,
        verbose=False,
    )
    runner.run()


if __name__ == "__main__":
    main(Job(sys.argv[1]))
