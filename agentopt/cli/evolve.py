"""agentopt evolve TASK"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["evolve"]


def evolve(
    task: Annotated[str, typer.Argument(help="A task file, a folder with task.py, module:attr, or a bundled task's name.")],
    budget: Annotated[
        str | None, typer.Option(help='Like "60s,500evals" (s, m, h, evals, rollouts); the first spent ends the run.')
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="mutate, tune, memetic, or package.module:Name.")] = None,
    workers: Annotated[int | None, typer.Option(help="Candidates evaluated at once; default: the usable cores.")] = None,
    rng_seed: Annotated[int | None, typer.Option(help="Where all random numbers come from.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make; default runs/<task>-<time>.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting, like optimizer.options.sigma=0.3; may be repeated.")] = None,
    target: Annotated[float | None, typer.Option(help="Stop when the best's first objective is this good.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many evaluations without a better best.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Take a run's best, or a file, as the seed.")] = None,
    select: Annotated[str | None, typer.Option(help="The objective (or several, by commas) that decides which is the best.")] = None,
    sandbox: Annotated[str | None, typer.Option(help="The walls around candidates: auto (the best there are), L2 or L1.")] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="No walls at all (level L0); the run is stamped with it.")] = False,
    allow_weak_sandbox: Annotated[bool, typer.Option("--allow-weak-sandbox", help="Let code from elsewhere run below level L2.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Search for better candidates of TASK until the budget is spent."""
    from agentopt.api import evolve as run_evolve
    from agentopt.cli.common import exit_with, print_json, print_result, with_consent
    from agentopt.cli.progress import Progress

    given: dict[str, Any] = {
        "budget": budget,
        "optimizer": optimizer,
        "workers": workers,
        "rng_seed": rng_seed,
        "out": out,
        "config": config,
        "set": set_,
        "target": target,
        "patience": patience,
        "from_": from_,
        "select": select,
        "sandbox": sandbox,
        "unsafe": unsafe or None,
        "allow_weak_sandbox": allow_weak_sandbox or None,
    }
    options = {key: value for key, value in given.items() if value is not None}
    with Progress() as progress:
        result = with_consent(lambda consent: run_evolve(task, on_event=progress, **options | consent))
    if json:
        print_json(result.summary)
    else:
        print_result(result)
    exit_with(result.status)
