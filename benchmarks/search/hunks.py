"""A change of a program as one SEARCH/REPLACE hunk that every reader applies in the same way."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["hunk"]

_MARK = "EVOLVE-BLOCK"


def hunk(parent: str, child: str) -> tuple[str, str]:
    """The lines of ``parent`` to look for, and those to put there.

    The lines that differ, and around them so many that the piece occurs once, is not empty and begins and ends with a line that is not
    blank: readers strip blank lines at the edges. Lines that mark an evolve block stay outside.
    """
    old, new = parent.strip("\n").split("\n"), child.strip("\n").split("\n")
    low, high = _allowed(old)
    head, tail = _common(old, new)
    head, tail = max(head, low), max(tail, len(old) - high)
    while not _clear(old, new, head, tail) and (head > low or len(old) - tail < high):
        if head > low:
            head -= 1
        if len(old) - tail < high:
            tail -= 1
    return "\n".join(old[head : len(old) - tail]), "\n".join(new[head : len(new) - tail])


def _allowed(lines: Sequence[str]) -> tuple[int, int]:
    """Where a hunk may lie: between the marks, if there are any."""
    marks = [at for at, line in enumerate(lines) if _MARK in line]
    return (marks[0] + 1, marks[-1]) if len(marks) > 1 else (0, len(lines))


def _common(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """How many lines are equal at the head and, of the rest, at the tail."""
    shorter = min(len(old), len(new))
    head = next((at for at in range(shorter) if old[at] != new[at]), shorter)
    tail = next((at for at in range(shorter - head) if old[-1 - at] != new[-1 - at]), shorter - head)
    return head, tail


def _clear(old: Sequence[str], new: Sequence[str], head: int, tail: int) -> bool:
    piece, replacement = old[head : len(old) - tail], new[head : len(new) - tail]
    edges = [lines[at].strip() for lines in (piece, replacement) for at in (0, -1) if lines]
    if not piece or not replacement or not all(edges):
        return False
    wanted = [line.rstrip() for line in piece]
    plain = [line.rstrip() for line in old]
    return sum(plain[at : at + len(wanted)] == wanted for at in range(len(plain) - len(wanted) + 1)) == 1
