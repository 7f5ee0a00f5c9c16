"""What several commands share: printing a result, exit codes, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from agentopt.results import Found, Result

__all__ = ["exit_with", "format_scores", "print_json", "print_result", "with_consent"]

_T = TypeVar("_T")
_EXIT = {"budget": 0, "target": 0, "exhausted": 0, "interrupted": 130}


def with_consent(act: Callable[[dict[str, Any]], _T]) -> _T:
    """``act({})``; if that needs a consent, a person at a terminal is asked, and nobody else."""
    from agentopt.core.errors import ConsentError

    try:
        return act({})
    except ConsentError as error:
        if not sys.stdin.isatty():
            raise
        typer.echo(str(error), err=True)
        if not typer.confirm("Allow it this once?", err=True):
            raise
    return act({"allow_weak_sandbox": True})


def print_json(data: Mapping[str, Any]) -> None:
    """One line on stdout."""
    typer.echo(json.dumps(data))


def exit_with(status: str) -> None:
    """End the process as the run ended: 0 done, 1 failed, 130 interrupted."""
    raise typer.Exit(_EXIT.get(status, 1))


def format_scores(scores: Mapping[str, float] | None) -> str:
    """``excess 0.0214, seconds 1.2``; a dash when there are none."""
    return ", ".join(f"{name} {value:.6g}" for name, value in scores.items()) if scores else "-"


def print_result(result: Result) -> None:
    """What a person wants to know at the end of a run."""
    from agentopt.cli.arms import arms_table
    from agentopt.cli.terminal import harmless, stdout_console
    from agentopt.results import describe

    console = stdout_console()
    lines = [f"{result.status}: {harmless(result.why)}"]
    if result.seed and result.best:
        console.print(lines.pop())
        console.print(_seed_and_best(result.seed, result.best, result.cases))
        if table := arms_table(result.summary["arms"]):
            console.print(table)
        if result.best.test is None:
            lines.append(_why_no_test(result))
    lines += [describe(comparison) for comparison in result.comparisons]
    lines += [f"warning: {harmless(text)}" for text in result.summary.get("warnings", ())]
    if result.summary.get("self_reported"):
        lines.append("self-reported: the candidate computed these scores itself")
    if result.run and result.best:
        lines.append(f"best candidate {result.best.id}: {result.run / 'best'}")
        lines.append(f"look closer: agentopt show {result.run}")
        if result.status in ("interrupted", "failed"):
            lines.append(f"go on: agentopt resume {result.run}")
    for line in lines:
        console.print(line, soft_wrap=True)


def _seed_and_best(seed: Found, best: Found, cases: Mapping[str, int]) -> Table:
    from rich.table import Table

    table = Table("", "objective", "seed", "best", box=None, pad_edge=False)
    for name in seed.scores:
        rows = {"search": (seed.train, best.train)}
        if "validation" in cases:
            rows["validation"] = (seed.scores, best.scores)
        if seed.test and best.test:
            rows["test"] = (seed.test, best.test)
        for split, (before, after) in rows.items():
            table.add_row(split, name, f"{before[name]:.6g}", f"{after[name]:.6g}")
    return table


def _why_no_test(result: Result) -> str:
    if "test" in result.cases:
        return "the test split was not scored"
    return "no held-out split: the search has seen these scores"
