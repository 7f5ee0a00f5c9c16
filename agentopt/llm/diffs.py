"""Edits as a reply states them: the parts of SEARCH/REPLACE hunks, and unified diffs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from agentopt.llm.outline import Block
from agentopt.llm.verdicts import Fault

__all__ = ["MOST_HUNKS", "Hunk", "Part", "is_unified", "search_replace", "unified"]

MOST_HUNKS = 100
"""A reply with more of them is refused."""
_MOST_DIVIDERS = 8
_DIVIDER = re.compile(r"^[=＝]{7}$")
_LOOSE_DIVIDER = re.compile(r"^[ \t]*[=＝]{5,12}[ \t]*$")
_HEAD_LINE = re.compile(r"^:(?:start|end)_line: ?(\d{1,9})$")
_AT = re.compile(r"^@@+(?:[ \t]+-(\d{1,9})(?:,\d{1,9})?[ \t]+\+\d{1,9}(?:,\d{1,9})?)?(?=[ \t@]|$)")
Part = tuple[tuple[str, ...], tuple[str, ...]]
_NOISE = ("diff --git ", "index ", "new file mode", "old mode", "new mode", "similarity index", "rename ", "Index: ", "\\ No newline")


@dataclass(frozen=True)
class Hunk:
    """``parts``: the possible (search, replace) line lists; more than one where a line of the text looks like the divider."""

    parts: tuple[Part, ...]
    spare: tuple[Part, ...] = ()
    """Unlikely ones, for when none of ``parts`` is in the text: their divider underlines a heading, or they lie in fences."""
    line: int | None = None
    """Where it says that it begins, counted from 1."""
    name: str | None = None


def search_replace(block: Block, number: int) -> Hunk:
    """The hunk between a SEARCH and a REPLACE line. Raises Fault when it was cut off or has no divider."""
    if not block.closed:
        raise Fault("truncated", f"Hunk {number} is not complete: it has no '>>>>>>> REPLACE' line.")
    start, lines = _without_head(block.body.split("\n")[:-1])
    at = _dividers(lines)
    if not at:
        raise Fault("no_match", f"Hunk {number} has no '=======' line between what it searches for and what replaces it.")
    if len(at) > _MOST_DIVIDERS:
        raise Fault("ambiguous_match", f"Hunk {number} has {len(at)} lines that could be its '=======' line.")
    underlines = {i for i in at if i and len(lines[i - 1].strip()) == len(lines[i].strip()) and i - 1 not in at}
    parts = [(tuple(lines[:i]), tuple(lines[i + 1 :])) for i in at if i not in underlines]
    spare = [(tuple(lines[:i]), tuple(lines[i + 1 :])) for i in at if i in underlines]
    fenced = [(search, replace) for search, replace in (*parts, *spare) if _unfenced(search) != search]
    if not parts:
        parts, spare = spare, []
    spare += [(_unfenced(search), _unfenced(replace)) for search, replace in fenced]
    return Hunk(tuple(parts), tuple(spare), start, block.name)


def _without_head(lines: list[str]) -> tuple[int | None, list[str]]:
    """Some models were taught to begin a hunk with ``:start_line:7`` and a rule."""
    heads = [match for match in map(_HEAD_LINE.match, lines[:3]) if match]
    if not heads:
        return None, lines
    rest = lines[len(heads) :]
    return int(heads[0][1]), rest[1:] if rest and rest[0].strip() == "-------" else rest


def _dividers(lines: list[str]) -> list[int]:
    """Exact dividers, or else loose ones."""
    exact = [i for i, line in enumerate(lines) if _DIVIDER.match(line.rstrip())]
    return exact or [i for i, line in enumerate(lines) if _LOOSE_DIVIDER.match(line)]


def _unfenced(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Some models put a fence around each part as well."""
    return lines[1:-1] if len(lines) >= 2 and lines[0].startswith("```") and lines[-1].strip() == "```" else lines


def is_unified(text: str, tag: str = "") -> bool:
    """Does text look like a unified diff: tagged as one, or with its headers at line starts?"""
    if tag in ("diff", "patch", "udiff"):
        return any(line[:1] in ("+", "-") for line in text.split("\n"))
    if "@@" not in text and "\n+++ " not in text:
        return False
    lines = text.split("\n")
    changed = any(line[:1] in ("+", "-") and not line.startswith(("+++ ", "--- ")) for line in lines)
    headed = any(_AT.match(line) for line in lines) or any(a.startswith("--- ") and b.startswith("+++ ") for a, b in _pairs(lines))
    return headed and changed


def unified(text: str, *, fenced: bool = True) -> list[Hunk]:
    """The hunks of a unified diff. Line counts are not believed; a hunk reaches up to the next header.

    Outside of a fence it also ends where a line bears none of the diff's marks.
    """
    return _Unified(fenced).read(text)


class _Unified:
    def __init__(self, fenced: bool) -> None:
        self._fenced = fenced
        self._inside = fenced
        self._hunks: list[Hunk] = []
        self._name: str | None = None
        self._line: int | None = None
        self._search: list[str] = []
        self._replace: list[str] = []
        self._blank = 0
        """Unmarked blank lines at the end: context, or what separates the hunk from the next."""

    def read(self, text: str) -> list[Hunk]:
        lines = iter(_pairs(text.rstrip("\n").split("\n")))
        for current, following in lines:
            if len(self._hunks) > MOST_HUNKS:
                break
            header = _AT.match(current)
            if current.startswith("--- ") and following.startswith("+++ "):
                self._flush()
                self._name, self._line, self._inside = _file(current, following), None, self._fenced
                next(lines)
            elif header:
                self._flush()
                self._line, self._inside = int(header[1]) if header[1] else None, True
            elif self._inside and not current.startswith(_NOISE):
                self._take(current)
        self._flush()
        return self._hunks

    def _take(self, current: str) -> None:
        mark, rest = current[:1], current[1:]
        if mark not in ("+", "-", " ", "") and not self._fenced:
            self._inside = False
            return
        self._blank = 0 if current else self._blank + 1
        if mark != "+":
            self._search.append(rest if mark in ("-", " ") else current)
        if mark != "-":
            self._replace.append(rest if mark in ("+", " ") else current)

    def _flush(self) -> None:
        search, replace = (tuple(part[: len(part) - self._blank]) for part in (self._search, self._replace))
        if search != replace:
            self._hunks.append(Hunk(((search, replace),), (), self._line, self._name))
        self._search, self._replace, self._blank = [], [], 0


def _pairs(lines: list[str]) -> Iterator[tuple[str, str]]:
    return zip(lines, [*lines[1:], ""], strict=True)


def _file(old: str, new: str) -> str | None:
    for written in (new[4:], old[4:]):
        path = written.partition("\t")[0].strip()
        if path and path != "/dev/null":
            return path[2:] if path.startswith(("a/", "b/")) else path
    return None
