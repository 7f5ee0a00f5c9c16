"""agentopt why RUN CANDIDATE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["why"]


def why(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    candidate: Annotated[str, typer.Argument(help="Its id or the beginning of it, best or seed.")] = "best",
) -> None:
    """How a candidate came about: its lineage, what it changed, and everything that happened to it."""
    from agentopt.cli.reading import open_log
    from agentopt.cli.story import print_story
    from agentopt.cli.terminal import stdout_console

    with open_log(run) as log:
        print_story(log, log.resolve(candidate), stdout_console())
