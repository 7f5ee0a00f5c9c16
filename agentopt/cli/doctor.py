"""agentopt doctor"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentopt.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from agentopt.attacks.live import Report, Tried

__all__ = ["doctor"]


def doctor(
    require: Annotated[str | None, typer.Option(help="Exit non-zero unless this sandbox level holds here: L1, L2, L3.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Attack the sandbox on this machine, live, and say what it stops at each of its levels."""
    from agentopt.attacks.live import LEVELS, examine
    from agentopt.cli.common import print_json
    from agentopt.cli.terminal import harmless, stdout_console

    if require is not None and require not in LEVELS:
        raise ConfigError(f"--require {require}: this version has the levels {', '.join(LEVELS)}")
    report = examine()
    if json:
        print_json(_plain(report))
    else:
        console = stdout_console()
        console.print(f"{report.system}, Python {report.python}, {report.cores} usable cores", soft_wrap=True)
        for found in report.levels:
            if not found.why:
                console.print(f"level {found.level}: {found.sandbox}", soft_wrap=True)
        console.print(_table(report))
        for advice in report.advice:
            console.print(harmless(advice), soft_wrap=True)
    unmet = _unmet(report, require)
    for line in unmet:
        typer.echo(harmless(line), err=True)
    if unmet:
        raise typer.Exit(1)


def _plain(report: Report) -> dict[str, Any]:
    levels = {found.level: asdict(found) | {"holds": found.holds} for found in report.levels}
    return asdict(report) | {"levels": levels, "holds": report.holds}


def _table(report: Report) -> Table:
    """A line per attack, a column per level where attacks were tried; the layer is the one of the highest."""
    from rich.table import Table

    from agentopt.cli.terminal import harmless

    shown = [level for level in report.levels if level.attacks]
    found = [{tried.name: tried for tried in level.attacks} for level in shown]
    table = Table("attack", *(level.level for level in shown), "by", box=None, pad_edge=False)
    for name in dict.fromkeys(name for tried in reversed(found) for name in tried):
        last = next(tried[name] for tried in reversed(found) if name in tried)
        table.add_row(harmless(name), *(_word(tried.get(name)) for tried in found), harmless(last.by))
    return table


def _word(tried: Tried | None) -> str:
    if tried is None:
        return "-"
    return "stopped" if tried.stopped else "NOT stopped"


def _unmet(report: Report, require: str | None) -> list[str]:
    """Sentences on what should hold and does not."""
    lines: list[str] = []
    for found in report.levels:
        broken = [tried.name for tried in found.attacks if tried.promised and not tried.stopped]
        if broken:
            lines.append(f"level {found.level} does not hold: {', '.join(broken)}")
        elif found.why and found.level == require:
            lines.append(f"level {found.level} does not hold: {found.why}")
    return lines
