"""What several commands share: printing a result, exit codes, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from agentopt.results import Result

__all__ = ["exit_with", "format_scores", "print_json", "print_result"]

_EXIT = {"budget": 0, "target": 0, "exhausted": 0, "interrupted": 130}


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
    from rich.console import Console
    from rich.table import Table

    from agentopt.results import describe

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{result.status}: {result.why}", markup=False)
    if result.seed and result.best:
        has_test = result.summary["seed"]["test"] is not None
        table = Table("", "objective", "seed", "best", box=None, pad_edge=False)
        for name in result.seed.scores:
            table.add_row("search", name, f"{result.seed.train.get(name, 0):.6g}", f"{result.best.train.get(name, 0):.6g}")
            if "validation" in result.cases:
                table.add_row("validation", name, f"{result.seed.scores[name]:.6g}", f"{result.best.scores[name]:.6g}")
            if has_test and result.seed.test and result.best.test:
                table.add_row("test", name, f"{result.seed.test[name]:.6g}", f"{result.best.test[name]:.6g}")
        console.print(table)
        if not has_test:
            console.print(_why_no_test(result), markup=False)
    for comparison in result.comparisons:
        console.print(describe(comparison), markup=False)
    if result.summary.get("self_reported"):
        console.print("self-reported: the candidate computed these scores itself")
    if result.run and result.best:
        console.print(f"best candidate {result.best.id}: {result.run / 'best'}", markup=False)
        console.print(f"look closer: agentopt show {result.run}", markup=False)
        if result.status in ("interrupted", "failed"):
            console.print(f"go on: agentopt resume {result.run}", markup=False)


def _why_no_test(result: Result) -> str:
    if "test" in result.cases:
        return "the test split was not scored"
    return "no held-out split: the search has seen these scores"
