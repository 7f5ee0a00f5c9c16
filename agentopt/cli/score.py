"""agentopt score TASK FILE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["score"]


def score(
    task: Annotated[str, typer.Argument(help="The task.")],
    file: Annotated[Path, typer.Argument(help="A file with the candidate's parameter, or a folder such as a run's best/.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    sandbox: Annotated[str, typer.Option(help="The walls around the candidate: auto (the best there are), L2 or L1.")] = "auto",
    unsafe: Annotated[bool, typer.Option("--unsafe", help="No walls at all (level L0).")] = False,
    allow_weak_sandbox: Annotated[bool, typer.Option("--allow-weak-sandbox", help="Let a file from elsewhere run below level L2.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Score one candidate on a split, outside of any run."""
    from rich.table import Table

    from agentopt.cli.common import format_scores, print_json, with_consent
    from agentopt.cli.terminal import harmless, stdout_console
    from agentopt.inspection import read_candidate, score_candidate
    from agentopt.loading import load_task
    from agentopt.sandbox.levels import brief

    loaded = load_task(task)
    values = read_candidate(loaded, file)
    walls: dict[str, Any] = {"sandbox": sandbox, "unsafe": unsafe, "allow_weak_sandbox": allow_weak_sandbox}
    found = with_consent(lambda consent: score_candidate(loaded, values, split, **walls | consent))
    if json:
        print_json(found.to_json())
    else:
        console = stdout_console()
        table = Table("case", "scores", "seconds", "", box=None, pad_edge=False)
        for rollout in found.rollouts:
            failed = harmless(f"{rollout.failure.kind}: {rollout.failure.message}") if rollout.failure else ""
            table.add_row(rollout.case, format_scores(rollout.scores), f"{rollout.measured.wall:.3f}", failed)
        console.print(table)
        console.print(f"{found.split}: {format_scores(found.scores)}; sandbox {brief(found.sandbox)}", soft_wrap=True)
    if found.failure:
        raise typer.Exit(1)
