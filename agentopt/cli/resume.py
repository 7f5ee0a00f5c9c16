"""agentopt resume RUN"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["resume"]


def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    budget: Annotated[str | None, typer.Option(help='More budget on top, like "+500evals" or "+60s".')] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Go on with a run that was killed, interrupted or, with more budget, finished."""
    from agentopt.api import resume as run_resume
    from agentopt.cli.common import exit_with, print_json, print_result
    from agentopt.cli.progress import Progress

    worked = False

    with Progress() as progress:

        def observe(event: object, state: object) -> None:
            nonlocal worked
            worked = True
            progress(event, state)  # pyright: ignore[reportArgumentType]

        result = run_resume(run, budget=budget, on_event=observe)
    if not worked:
        typer.echo(f"{run} is finished ({result.status}: {result.why}); to go on: agentopt resume {run} --budget +500evals", err=True)
    if json:
        print_json(result.summary)
    else:
        print_result(result)
    exit_with(result.status)
