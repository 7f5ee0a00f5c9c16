"""agentopt why RUN CANDIDATE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["why"]


def why(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    candidate: Annotated[
        str, typer.Argument(help="Its id or the beginning of it, best or seed; ask:N for an ask that was refused.")
    ] = "best",
    full: Annotated[bool, typer.Option("--full", help="Prompts and replies of models without a cut.")] = False,
) -> None:
    """How a candidate came about: its lineage, what it changed, what models were asked, and everything that happened to it."""
    from agentopt.cli.asked import print_ask
    from agentopt.cli.reading import open_log
    from agentopt.cli.story import print_story
    from agentopt.cli.terminal import stdout_console

    with open_log(run) as log:
        index = candidate.removeprefix("ask:")
        if candidate != index and index.isdigit():
            print_ask(log, int(index), stdout_console(), full)
        else:
            print_story(log, log.resolve(candidate), stdout_console(), full)
