"""What is written to a terminal: its width, numbers, and text by strangers made harmless."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

__all__ = ["capped", "gist", "harmless", "number", "print_parts", "scores_text", "stdout_console"]

_WIDEST = 120
_PIPED = 100


def stdout_console() -> Console:
    """Results go here. Text is taken as it is: no markup, no emoji codes, no guessing of colours; at most 120 columns are used."""
    out: Any = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        # a terminal that cannot show a character gets its escape instead of a traceback
        out.reconfigure(errors="backslashreplace")
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED
    console.width = min(console.width, _WIDEST)
    return console


def harmless(text: str) -> str:
    """``text`` with every character that could steer a terminal or hide text spelt out, as in ``\\x1b``; newlines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char if _is_plain(char) else char.encode("unicode_escape").decode() for char in text)


def _is_plain(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def capped(text: str, lines: int, characters: int = 4000) -> str:
    """The beginning of a text, harmless, and how much of it was left out."""
    kept = text[:characters].split("\n")[:lines]
    shown = "\n".join(kept)
    left = len(text) - len(shown)
    return harmless(shown) + (f"\n... {left} more characters" if left else "")


def gist(text: str) -> str:
    """The one line of a message that says most: the last one of a traceback, the first one of anything else."""
    lines = [line for line in text.split("\n") if line.strip()] or [""]
    is_traceback = any(line.startswith(("Traceback ", '  File "')) for line in lines)
    return harmless(lines[-1] if is_traceback else lines[0]).expandtabs(1).strip()


def print_parts(console: Console, parts: Iterable[RenderableType]) -> None:
    """Tables fit the width; sentences and commands are left to the terminal to break, so that they can be copied whole."""
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))


def number(value: float) -> str:
    return f"{value:.6g}"


def scores_text(scores: Mapping[str, float]) -> str:
    """``excess 0.0214, seconds 1.2``"""
    return ", ".join(f"{name} {number(value)}" for name, value in scores.items())
