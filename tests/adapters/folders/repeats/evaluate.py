"""How near the mean of three guesses comes to pi."""

import argparse
import math

from shinka.core import run_shinka_eval


def valid(result):
    return (True, None) if result >= 0 else (False, f"{result} is below zero")


def together(results):
    score = -abs(sum(results) / len(results) - math.pi)
    private = {"key": "kept to itself"}
    return {"combined_score": score, "public": {"runs": len(results)}, "private": private, "text_feedback": "closer to pi"}


def main(program_path, results_dir, workers):
    run_shinka_eval(
        program_path=program_path,
        results_dir=results_dir,
        experiment_fn_name="guess",
        num_runs=3,
        get_experiment_kwargs=lambda k: {"seed": k + 1},
        aggregate_metrics_fn=together,
        validate_fn=valid,
        run_workers=workers,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--program_path", default="initial.py")
    parser.add_argument("--results_dir", default="results")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    main(given.program_path, given.results_dir, given.workers)
