"""Differences between two texts as a patch, and how a patch looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff

import typer
from rich.console import Console
from rich.text import Text

from agentopt.cli.terminal import harmless

__all__ = ["patch", "print_patch"]

_STYLES = (("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"))
_NO_NEWLINE = "\n\\ No newline at end of file"


def patch(before: Mapping[str, str], after: Mapping[str, str], old: str, new: str) -> list[str]:
    """The lines of a unified diff over all files (name -> text); files that agree are left out."""
    lines: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        texts = _lines(before.get(name, "")), _lines(after.get(name, ""))
        for line in unified_diff(*texts, f"{old}/{name}", f"{new}/{name}", lineterm=""):
            lines += line.split("\n")
    return lines


def _lines(text: str) -> list[str]:
    # split at newlines alone: a form feed or a Unicode separator inside a line is content
    lines = text.split("\n")
    if lines[-1] == "":
        return lines[:-1]
    return [*lines[:-1], lines[-1] + _NO_NEWLINE]


def print_patch(console: Console, lines: list[str]) -> None:
    """Coloured in a terminal; elsewhere plain, with its tabs, so that ``patch`` can read it. Long lines are not broken."""
    if not console.is_terminal:
        typer.echo("".join(f"{harmless(line)}\n" for line in lines), nl=False)
        return
    for line in lines:
        style = next((style for start, style in _STYLES if line.startswith(start)), "")
        console.print(Text(harmless(line), style=style), soft_wrap=True)
