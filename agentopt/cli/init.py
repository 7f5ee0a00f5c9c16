"""agentopt init NAME"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from agentopt.core.errors import ConfigError

__all__ = ["init"]

_TASK = '''"""{name}: a small working task. Run it with: agentopt evolve {folder}"""

import math

from agentopt import Case, Objective, Reject, Score, Task


def cases(split, rng):
    """train is searched on, validation confirms, test is scored once at the end; each split has its own rng."""
    size = {{"train": 4, "validation": 4, "test": 12}}[split]
    grids = [[rng.uniform(0, 3) for _ in range(50)] for _ in range(size)]
    # expected never enters the box in which the candidate runs
    return [Case(f"{{split}}-{{k}}", input=grid, expected=[math.sin(x) for x in grid]) for k, grid in enumerate(grids)]


task = Task(
    name="{name}",
    goal="Approximate the sine of x for 0 <= x <= 3 with plain arithmetic.",
    # name -> seed file beside this one; a dict, a number or a prompt text work as well
    parameters={{"approximate": "seed.py"}},
    # several objectives give a Pareto front; the first one decides what "best" means
    objectives=[Objective("error", "min")],
    cases=cases,
    budget="20s",
)


@task.run
def run(program, input):
    """Works inside the box, beside the candidate: ask it for an answer, do not judge."""
    return [program.approximate(x) for x in input]


@task.score
def score(case, output, measured):
    """Works outside, where the candidate cannot reach: check the answer, then score it."""
    if not isinstance(output, list) or len(output) != len(case.expected):
        raise Reject("the output is not a list with one number per x")
    if not all(isinstance(y, int | float) for y in output):
        raise Reject("the output holds something that is not a number")
    errors = [abs(y - truth) for y, truth in zip(output, case.expected)]
    worst = max(range(len(errors)), key=errors.__getitem__)
    return Score(error=sum(errors) / len(errors), feedback=f"the largest error is at x = {{case.input[worst]:.2f}}")
'''

_SEED = '''def approximate(x):
    """The seed: the first candidate. Its signature stays, its body is what gets improved."""
    return 1.0 * x - 0.1 * x * x
'''

_README = """# {name}

Goal: approximate the sine on [0, 3]. Objective: mean absolute error (min). The seed scores about 0.6.

    agentopt check {folder}
    agentopt evolve {folder}
"""


def init(name: Annotated[str, typer.Argument(help="The folder to make; its last part is the task's name.")]) -> None:
    """Write a small working task with comments to start from."""
    folder = Path(name)
    task_name = re.sub(r"\W+", "_", folder.name).strip("_") or "task"
    if folder.exists():
        raise ConfigError(f"{folder}: it exists already; choose another name")
    try:
        folder.mkdir(parents=True)
        for file, text in (("task.py", _TASK), ("seed.py", _SEED), ("README.md", _README)):
            content = text.format(name=task_name, folder=folder) if text is not _SEED else text
            (folder / file).write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); choose another place") from None
    typer.echo(f"{folder} is ready: agentopt check {folder} && agentopt evolve {folder}")
