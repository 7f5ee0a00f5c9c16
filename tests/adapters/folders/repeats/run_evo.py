"""Read by us, and never run."""

import yaml
from shinka.core import EvolutionConfig, ShinkaEvolveRunner
from shinka.launch import LocalJobConfig

GOAL = "Guess a number."

job = LocalJobConfig(eval_program_path="evaluate.py", time="00:00:20", extra_cmd_args={"workers": 2})
evolution = EvolutionConfig(task_sys_msg=GOAL, num_generations=7, init_program_path="initial.py")

if __name__ == "__main__":
    with open("shinka.yaml") as file:
        settings = yaml.safe_load(file)
    ShinkaEvolveRunner(evo_config=evolution, job_config=job, db_config=settings["db_config"]).run()
