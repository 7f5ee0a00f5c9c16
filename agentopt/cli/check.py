"""agentopt check TASK"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["check"]


def check(
    task: Annotated[str, typer.Argument(help="The task.")],
    python: Annotated[str | None, typer.Option(help="An interpreter or environment for a task that runs a Python.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Try a task before a run: noise, seconds, case order, what the box can reach, what is wrong."""
    from agentopt.cli.common import print_json
    from agentopt.cli.terminal import harmless, stdout_console
    from agentopt.inspection import check_task
    from agentopt.loading import load_task

    findings = check_task(load_task(task), python)
    wrong = any(finding.verdict == "wrong" for finding in findings)
    if json:
        print_json({"task": task, "ok": not wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        console = stdout_console()
        for finding in findings:
            line = f"{finding.verdict:>5}  {finding.what}{': ' if finding.detail else ''}{finding.detail}"
            console.print(harmless(line), soft_wrap=True)
    if wrong:
        raise typer.Exit(1)
