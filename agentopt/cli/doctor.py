"""agentopt doctor"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from agentopt.core.errors import ConfigError

__all__ = ["doctor"]


def doctor(
    require: Annotated[str | None, typer.Option(help="Exit non-zero unless this sandbox level holds here: L1.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Attack the sandbox on this machine, live, and say what it stops."""
    from rich.table import Table

    from agentopt.attacks import LEVELS, examine
    from agentopt.cli.common import print_json
    from agentopt.cli.terminal import stdout_console

    if require is not None and require not in LEVELS:
        raise ConfigError(f"--require {require}: this version has the levels {', '.join(LEVELS)}")
    report = examine()
    if json:
        print_json(asdict(report) | {"holds": report.holds})
    else:
        console = stdout_console()
        console.print(f"{report.system}, Python {report.python}, {report.cores} usable cores; sandbox level {report.level}", soft_wrap=True)
        table = Table("attack", "outcome", "by", box=None, pad_edge=False)
        for attack in report.attacks:
            table.add_row(attack.name, "stopped" if attack.stopped else "NOT stopped", attack.by)
        console.print(table)
        for advice in report.advice:
            console.print(advice, soft_wrap=True)
    if not report.holds:
        raise typer.Exit(1)
