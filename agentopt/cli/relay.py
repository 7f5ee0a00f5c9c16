"""agentopt relay DIR"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentopt.core.errors import ConfigError

if TYPE_CHECKING:
    from agentopt.llm.relay import OpenRequest

__all__ = ["relay"]

_SHORT = 12
"""Hex digits of an id that people see."""


def relay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that relay:DIR names.")],
    file: Annotated[str, typer.Argument(help="The file with the answer for --answer; - is stdin.")] = "-",
    show: Annotated[str | None, typer.Option(metavar="ID", help="Print a question; the beginning of its id is enough.")] = None,
    claim: Annotated[
        str | None, typer.Option(metavar="ID", help="Keep others from a question for --seconds; exit code 1 if taken.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long --claim holds.")] = 600.0,
    answer: Annotated[str | None, typer.Option(metavar="ID", help="Answer a question with the text of FILE.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Answer the questions of a relay: list those that are open, show, claim or answer one."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; name the one of relay:DIR")
    if sum(given is not None for given in (show, claim, answer)) > 1:
        raise ConfigError("--show, --claim and --answer do different things; give one of them")
    try:
        if show is not None:
            _show(folder, show)
        elif claim is not None:
            _claim(folder, claim, seconds)
        elif answer is not None:
            _answer(folder, answer, file)
        else:
            _list(folder, json)
    except PermissionError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; the folder has to be yours to read and to write") from None


def _list(folder: Path, json: bool) -> None:
    from rich.table import Table

    from agentopt.cli.common import print_json
    from agentopt.cli.terminal import harmless, stdout_console
    from agentopt.llm.relay import open_requests

    found = [_plain(request) for request in open_requests(folder)]
    if json:
        print_json({"folder": str(folder), "questions": found})
    elif not found:
        typer.echo("no question is open", err=True)
    else:
        table = Table("id", "purpose", "waits", "ends with", box=None, pad_edge=False)
        for row in found:
            table.add_row(row["id"][:_SHORT], harmless(row["purpose"]), f"{time.time() - row['asked']:.0f} s", harmless(row["ends"]))
        stdout_console().print(table)


def _plain(request: OpenRequest) -> dict[str, Any]:
    words = " ".join(request.messages[-1].content.split()) if request.messages else ""
    return {"id": request.id, "purpose": request.purpose, "asked": request.asked, "ends": words[-80:]}


def _show(folder: Path, beginning: str) -> None:
    """To a program as it is, to a terminal without what could steer it."""
    from agentopt.cli.terminal import harmless
    from agentopt.llm.relay import find, question

    data = question(folder, find(folder, beginning))
    if sys.stdout.isatty():
        data = harmless(data.decode(errors="replace")).encode()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def _claim(folder: Path, beginning: str, seconds: float) -> None:
    import os
    import platform

    from agentopt.llm import relay as room

    key = room.find(folder, beginning)
    if not room.claim(folder, key, f"user {os.getuid()} on {platform.node()}", seconds):
        typer.echo(f"{key}: somebody else works on it", err=True)
        raise typer.Exit(1)
    typer.echo(key)


def _answer(folder: Path, beginning: str, file: str) -> None:
    from agentopt.llm import relay as room

    key = room.find(folder, beginning)
    try:
        text = (sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()).decode()
    except OSError as error:
        raise ConfigError(f"{file}: the answer cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: the answer is not UTF-8 (byte {error.start}); write it as UTF-8") from None
    if not text.strip():
        raise ConfigError(f"{file}: the answer is empty; nothing was answered")
    room.answer(folder, key, text)
    typer.echo(f"{key}: answered", err=True)
