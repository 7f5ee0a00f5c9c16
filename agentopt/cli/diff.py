"""agentopt diff RUN A B"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from agentopt.cli.reading import RunLog

__all__ = ["diff"]


def diff(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    a: Annotated[str, typer.Argument(help="A candidate: its id or the beginning of it, best or seed.")] = "seed",
    b: Annotated[str, typer.Argument(help="The candidate to compare with it.")] = "best",
) -> None:
    """What distinguishes two candidates of a run: their parameters as a patch, and their scores."""
    from agentopt.cli.changes import patch, print_patch
    from agentopt.cli.reading import open_log
    from agentopt.cli.terminal import stdout_console

    with open_log(run) as log:
        old, new = log.resolve(a), log.resolve(b)
        if old == new:
            typer.echo(f"{a} and {b} are the same candidate: {old}", err=True)
            return
        console = stdout_console()
        print_patch(console, patch(log.files(log.entry(old)), log.files(log.entry(new)), old, new))
        console.print()
        console.print(_scores(log, old, new))


def _scores(log: RunLog, old: str, new: str) -> Table:
    """Score by score where both have one; a failed candidate says so instead."""
    from rich.table import Table

    from agentopt.cli.terminal import number

    table = Table("objective", "split", box=None, pad_edge=False, header_style="dim")
    for title in (old, new, "difference"):
        table.add_column(title, justify="right")
    before, after = _by_split(log, old), _by_split(log, new)
    for objective in log.state.ranking:
        for split in log.cases:
            values = [found.get(split, {}).get(objective.name) for found in (before, after)]
            if values == [None, None]:
                continue
            low, high = values
            difference = "-" if low is None or high is None else f"{high - low:+.6g}"
            name = f"{objective.name} ({objective.direction})"
            table.add_row(name, split, *("-" if value is None else number(value) for value in values), difference)
    for key in (old, new):
        failure = log.entry(key).failure
        if failure:
            table.add_row("failed", "", *(failure.kind if key == shown else "" for shown in (old, new)), "")
    return table


def _by_split(log: RunLog, key: str) -> dict[str, dict[str, float]]:
    evaluation = log.entry(key).evaluation
    splits = {split: dict(found.scores) for split, found in evaluation.splits.items()} if evaluation else {}
    return splits | {"test": dict(log.test_scores(key))}
