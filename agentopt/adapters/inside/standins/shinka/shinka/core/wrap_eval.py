"""Runs a function of a program a number of times, has the results validated and put together, and writes what came of it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pickle
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["load_program", "run_shinka_eval", "save_json_results"]

_DEFAULTS: dict[str, Any] = {
    "combined_score": 0.0,
    "execution_time_mean": 0.0,
    "execution_time_std": 0.0,
    "num_successful_runs": 0,
    "num_valid_runs": 0,
    "num_invalid_runs": 0,
    "all_validation_errors": [],
}


def load_program(program_path: str) -> Any:
    """The module that a file holds, under the name ``program``."""
    spec = importlib.util.spec_from_file_location("program", program_path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{program_path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_json_results(results_dir: str, metrics: Any, correct: bool, error: str | None = None, verbose: bool = True) -> None:
    os.makedirs(results_dir, exist_ok=True)
    for name, data in (("correct.json", {"correct": correct, "error": error}), ("metrics.json", metrics)):
        with open(os.path.join(results_dir, name), "w") as file:
            json.dump(data, file, indent=4, default=_as_json)


def _as_json(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _timed(program_path: str, name: str, kwargs: dict[str, Any]) -> tuple[Any, float]:
    function = getattr(load_program(program_path), name)
    return _run(function, kwargs)


def _run(function: Callable[..., Any], kwargs: dict[str, Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return function(**kwargs), time.perf_counter() - begun


def run_shinka_eval(
    program_path: str,
    results_dir: str,
    experiment_fn_name: str,
    num_runs: int,
    get_experiment_kwargs: Callable[[int], dict[str, Any]] | None = None,
    aggregate_metrics_fn: Callable[[list[Any]], Any] | None = None,
    **others: Any,
) -> tuple[dict[str, Any], bool, str | None]:
    """``(metrics, correct, error)``, also written to ``results_dir``. Runs are never stopped early, and nothing is plotted.

    Of the ``others`` these count: ``validate_fn``, ``default_metrics_on_error``, ``run_workers`` and ``max_workers_cap``.
    """
    validate_fn, most = others.get("validate_fn"), others.get("max_workers_cap") or num_runs
    if others.get("early_stop_method") not in (None, "none"):
        sys.stdout.write(f"runs are not stopped early here: all {num_runs} are made\n")
    kwargs = [get_experiment_kwargs(k) if get_experiment_kwargs else {"seed": k + 1} for k in range(num_runs)]
    workers = max(1, min(others.get("run_workers") or 1, most, num_runs))
    try:
        results, seconds = _all_runs(program_path, experiment_fn_name, kwargs, workers)
        faults, invalid = _validated(results, validate_fn)
        metrics = _metrics(results, seconds, aggregate_metrics_fn)
        if validate_fn:
            metrics.update(num_valid_runs=len(results) - invalid, num_invalid_runs=invalid, all_validation_errors=faults)
        correct, error = not invalid, f"Validation failed: {faults[0]}" if faults else None
        score = metrics.get("combined_score")
        if isinstance(score, float) and not math.isfinite(score):
            correct, error = False, error or f"combined_score is {score}"
    except Exception as failure:
        sys.stdout.write(f"Evaluation error: {failure}\n")
        given: dict[str, Any] = others.get("default_metrics_on_error") or {}
        metrics = {name: given.get(name, value) for name, value in _DEFAULTS.items()}
        correct, error = False, str(failure) or type(failure).__name__
    if "extra_data" in metrics:
        os.makedirs(results_dir, exist_ok=True)
        with open(os.path.join(results_dir, "extra.pkl"), "wb") as file:
            pickle.dump(metrics.pop("extra_data"), file)
    save_json_results(results_dir, metrics, correct, error)
    return metrics, correct, error


def _all_runs(program_path: str, name: str, kwargs: list[dict[str, Any]], workers: int) -> tuple[list[Any], list[float]]:
    """Results and seconds, in the order of the runs."""
    function = getattr(load_program(program_path), name, None)
    if function is None:
        raise AttributeError(f"the program has no function {name!r}")
    if workers == 1:
        pairs = [_run(function, given) for given in kwargs]
    else:
        with ProcessPoolExecutor(workers) as pool:
            waiting = [pool.submit(_timed, program_path, name, given) for given in kwargs]
            pairs = [one.result() for one in waiting]
    return [result for result, _ in pairs], [taken for _, taken in pairs]


def _validated(results: list[Any], validate_fn: Callable[[Any], Any] | None) -> tuple[list[str], int]:
    """The distinct reasons, and how many results are not valid."""
    faults: list[str] = []
    invalid = 0
    if validate_fn is None:
        return faults, invalid
    for result in results:
        valid, reason = validate_fn(result)
        if not valid:
            invalid += 1
            if reason and reason not in faults:
                faults.append(reason)
    return faults, invalid


def _metrics(results: list[Any], seconds: list[float], aggregate: Callable[[list[Any]], Any] | None) -> dict[str, Any]:
    metrics: dict[str, Any] = aggregate(results) if aggregate else {"num_successful_runs": len(results)}
    metrics["execution_time_mean"] = statistics.fmean(seconds) if seconds else 0.0
    metrics["execution_time_std"] = statistics.pstdev(seconds) if seconds else 0.0
    return metrics
