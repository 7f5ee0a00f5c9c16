"""A quick task whose every rollout leaves a mark in a file, so that repeated work can be counted from outside."""

import os

from agentopt import Case, Objective, Score, Task

task = Task(
    name="kill",
    goal="Fit a line.",
    parameters={"f": "def f(x):\n    a = 1.0\n    b = 0.0\n    return a * x + b\n"},
    objectives=[Objective("error", "min")],
    cases={
        split: [Case(f"{split}-{k}", {"x": [0.1 * k, 1.0, 2.0], "marks": os.environ.get("KILL_MARKS", os.devnull)}) for k in range(3)]
        for split in ("train", "validation", "test")
    },
)


@task.run
def run(program, input):
    return [program.f(x) for x in input["x"]]


@task.score
def score(case, output, measured):
    with open(case.input["marks"], "a") as file:  # the judge may write; a candidate in its box may not
        file.write(".")
    return Score(error=sum(abs(y - (3.0 * x + 0.7)) for x, y in zip(case.input["x"], output, strict=True)))
