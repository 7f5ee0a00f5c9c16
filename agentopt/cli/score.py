"""agentopt score TASK FILE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["score"]


def score(
    task: Annotated[str, typer.Argument(help="The task.")],
    file: Annotated[
        Path | None, typer.Argument(help="A file with the candidate's parameter, or a folder such as a run's best/; default: the seed.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test; default: test, or train for a task without.")] = None,
    sandbox: Annotated[str, typer.Option(help="The walls around the candidate: auto (the best there are), L2 or L1.")] = "auto",
    unsafe: Annotated[bool, typer.Option("--unsafe", help="No walls at all (level L0).")] = False,
    allow_weak_sandbox: Annotated[bool, typer.Option("--allow-weak-sandbox", help="Let a file from elsewhere run below level L2.")] = False,
    python: Annotated[str | None, typer.Option(help="An interpreter or environment for a task that runs a Python.")] = None,
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
    values = read_candidate(loaded, file) if file else loaded.seed_values
    walls: dict[str, Any] = {"sandbox": sandbox, "unsafe": unsafe, "allow_weak_sandbox": allow_weak_sandbox}
    walls |= {"box": {"python": python}} if python else {}
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
        for rollout in found.rollouts if loaded.self_reported else ():
            if rollout.feedback:
                console.print(f"the evaluator on {rollout.case}: {harmless(rollout.feedback)}", soft_wrap=True)
        for text in loaded.notes:
            console.print(f"note: {harmless(text)}", soft_wrap=True)
        reported = "; self-reported: the candidate could have forged it" if loaded.self_reported else ""
        console.print(f"{found.split}: {format_scores(found.scores)}; sandbox {brief(found.sandbox)}{reported}", soft_wrap=True)
    if found.failure:
        raise typer.Exit(1)
