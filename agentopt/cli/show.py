"""agentopt show RUN"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["show"]


def show(
    run: Annotated[Path, typer.Argument(help="The run folder, or a folder with one run in it.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Where a run stands: seed against best, the proof, the front, the way there, what failed."""
    from agentopt.cli.common import print_json
    from agentopt.cli.overview import print_overview
    from agentopt.cli.reading import open_log
    from agentopt.cli.terminal import stdout_console

    with open_log(run) as log:
        if json:
            print_json(log.state.summary())
        else:
            print_overview(log, stdout_console())
