"""Level 1 passes the first stage only, level 2 the second, 3 all; 4 raises in the second and 5 in the first."""

from pathlib import Path

from openevolve.evaluation_result import EvaluationResult


def level_of(path):
    return int(Path(path).read_text().partition("=")[2])


def evaluate(path):
    raise AssertionError("the stages take its place")


async def evaluate_stage1(path):
    level = level_of(path)
    if level == 5:
        raise ValueError("level 5 is broken")
    return EvaluationResult(metrics={"combined_score": 0.2 if level == 1 else 0.6, "stage": 1}, artifacts={"log": "one"})


def evaluate_stage2(path):
    level = level_of(path)
    if level == 4:
        raise ValueError("the second stage broke")
    return EvaluationResult({"combined_score": 0.7 if level == 2 else 0.9, "stage": 2}, {"more": "x" * 5000})


def evaluate_stage3(path):
    return {"combined_score": 1.5, "stage": 3, "artifacts": {"last": b"bytes"}}
