"""What an edit changed, in a few lines."""

from __future__ import annotations

from difflib import unified_diff

__all__ = ["summarise"]

_WIDEST = 160
"""Characters of a line that are shown."""
_MOST_LINES = 2000
"""Longer texts are compared by their heads: comparing takes time that grows with the square of what differs."""


def summarise(before: str, after: str, most: int) -> str:
    """The lines that were taken out and put in, at most ``most`` of them, in the form of a unified diff without its heads.

    An edit of more than three times as many lines is a rewrite, and only told as such. Empty for equal texts.
    """
    old, new = before.splitlines()[:_MOST_LINES], after.splitlines()[:_MOST_LINES]
    lines = [line for line in unified_diff(old, new, n=0, lineterm="") if not line.startswith(("---", "+++", "@@")) and line[1:].strip()]
    if len(lines) > 3 * most:
        return f"(rewritten: {len(old)} lines became {len(new)})"
    shown = [line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}..." for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"(and {len(lines) - most} more lines)")
    return "\n".join(shown)
