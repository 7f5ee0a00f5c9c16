"""Hunks laid onto a text: exactly, then without regard to white space, then to the one place that is nearly the same.

All hunks are matched against one snapshot of the text and must not touch each other. Nothing is ever replaced that the hunk did not
quote: in the last, fuzzy step each line of the text still answers to one line of the hunk.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentopt.llm.diffs import Hunk, Part
from agentopt.llm.verdicts import Fault, quoted

__all__ = ["apply_hunks"]

_THRESHOLD = 0.85
"""How alike quoted lines and text must be, in shares of their characters."""
_LINE_THRESHOLD = 0.6
_MARGIN = 0.1
"""So much less alike the second best place must be."""
_MOST_LINES = 4000
_MOST_PAIRS = 10_000
_LONGEST_MIDDLE = 40
"""Characters of a line in which it may differ from the one quoted."""
_Lines = Sequence[str]


@dataclass(frozen=True)
class _Place:
    start: int
    end: int
    text: tuple[str, ...]
    note: str = ""


def apply_hunks(source: str, hunks: Sequence[Hunk]) -> tuple[str, tuple[str, ...]]:
    """The new text, and what was lenient. Raises Fault with ``no_match`` or ``ambiguous_match``."""
    end = "\n" if source.endswith("\n") or not source else ""
    finder = _Finder(source.removesuffix("\n").split("\n"))
    places: dict[_Place, int] = {}
    for number, hunk in enumerate(hunks, 1):
        places.setdefault(finder.find(hunk, number), number)
    lines: list[str] = []
    at = before = 0
    for place, number in sorted(places.items(), key=lambda item: item[0].start):
        if place.start < at:
            raise Fault("ambiguous_match", f"Hunks {min(before, number)} and {max(before, number)} change the same lines.")
        lines += [*finder.lines[at : place.start], *place.text]
        at, before = place.end, number
    lines += finder.lines[at:]
    return "\n".join(lines) + (end if lines else ""), tuple(place.note for place in places if place.note)


class _Finder:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self._trimmed = [line.rstrip() for line in lines]
        self._stripped = [line.strip() for line in lines]
        self._filled = [i for i, line in enumerate(self._stripped) if line]
        self._pairs = _MOST_PAIRS

    def find(self, hunk: Hunk, number: int) -> _Place:
        """The one place of a hunk, at the strictest level at which it has any."""
        first = next((line for search, _ in (*hunk.parts, *hunk.spare) for line in search if line.strip()), None)
        if first is None:
            return self._everything(hunk, number)
        place = self._only(hunk.parts, hunk.line, number) or self._only(hunk.spare, hunk.line, number)
        if place is None:
            raise Fault("no_match", f"The lines that hunk {number} searches for are not in the text (they begin with {quoted(first)}).")
        for search, replace in hunk.spare:
            if len(search) > place.end - place.start and self._exact(search, replace, hunk.line):
                raise Fault("ambiguous_match", f"Hunk {number} has two lines that could be its '=======' line; quote other lines.")
        return _Place(place.start, place.end, place.text, place.note and f"hunk {number} {place.note}")

    def _only(self, parts: Sequence[Part], line: int | None, number: int) -> _Place | None:
        """Where one of ``parts`` fits; None if none does. Raises Fault if that is not one place."""
        filled = [(search, replace) for search, replace in parts if any(map(str.strip, search))]
        for level in (self._exact, self._trailing, self._indented, self._fuzzy):
            found = dict.fromkeys(place for search, replace in filled for place in level(search, replace, line))
            if len(found) > 1:
                first = quoted(next(text for text in filled[0][0] if text.strip()))
                where = f"{len(found)} places of the text (it begins with {first})"
                raise Fault("ambiguous_match", f"Hunk {number} fits {where}; quote more lines around the change.")
            for place in found:
                return place
        return None

    def _everything(self, hunk: Hunk, number: int) -> _Place:
        """A hunk that quotes nothing fills an empty text, and no other."""
        if self._filled:
            raise Fault("no_match", f"Hunk {number} searches for nothing; quote the lines that it replaces.")
        return _Place(0, len(self.lines), hunk.parts[0][1])

    # -- levels; each gives all places where the quoted lines are

    def _exact(self, search: _Lines, replace: _Lines, line: int | None) -> list[_Place]:
        starts = _occurrences(self.lines, search)
        if line is not None and len(starts) > 1 and line - 1 in starts:
            starts = [line - 1]
        return [_Place(i, i + len(search), tuple(replace)) for i in starts]

    def _trailing(self, search: _Lines, replace: _Lines, line: int | None) -> list[_Place]:
        quoted_lines, text = _without_edges(search, replace)
        starts = _occurrences(self._trimmed, [part.rstrip() for part in quoted_lines])
        return [_Place(i, i + len(quoted_lines), tuple(text), "matched without trailing white space") for i in starts]

    def _indented(self, search: _Lines, replace: _Lines, line: int | None) -> list[_Place]:
        quoted_lines, text = _without_edges(search, replace)
        wanted = [part.strip() for part in quoted_lines]
        places: list[_Place] = []
        for i in _occurrences(self._stripped, wanted):
            shift = _Shift.between(quoted_lines, self.lines[i : i + len(wanted)])
            if shift:
                places.append(_Place(i, i + len(wanted), tuple(map(shift, text)), "matched with another indentation"))
        return places

    def _fuzzy(self, search: _Lines, replace: _Lines, line: int | None) -> list[_Place]:
        """Lines that are nearly those quoted, blank ones left out; only if no other place comes near."""
        wanted = [part for part in search if part.strip()]
        offsets = self._offsets([part.strip() for part in wanted])
        scored = sorted(((self._likeness(wanted, offset), offset) for offset in offsets), reverse=True)
        if not scored or scored[0][0] < _THRESHOLD:
            return []
        best = [(score, offset) for score, offset in scored if score > scored[0][0] - _MARGIN]
        return [place for score, offset in best for place in self._nearly(wanted, replace, offset, score)]

    def _nearly(self, wanted: _Lines, replace: _Lines, offset: int, score: float) -> list[_Place]:
        indices = self._filled[offset : offset + len(wanted)]
        there = [self.lines[i] for i in indices]
        shift = _Shift.between(wanted, there)
        if not shift:
            return []
        # what REPLACE repeats of SEARCH is meant to stay, so it is taken from the text and not from a wrong quotation
        kept = {line: own for line, own in zip(wanted, there, strict=True) if line.strip() != own.strip()}
        lead, trail = _edges(replace)
        text = tuple(kept.get(line) or shift(line) for line in replace[lead : len(replace) - trail])
        note = "matched without its blank lines" if score == 1 else f"matched a place that is {score:.0%} alike"
        return [_Place(indices[0], indices[-1] + 1, text, note)]

    def _offsets(self, wanted: _Lines) -> list[int]:
        """Where ``wanted`` could begin among the lines that are not blank: where half of its lines are met exactly, if it has three."""
        there = [self._stripped[i] for i in self._filled]
        last = len(there) - len(wanted)
        if last < 0 or len(there) > _MOST_LINES:
            return []
        if len(wanted) < 3:
            offsets = list(range(last + 1))
        else:
            at: defaultdict[str, list[int]] = defaultdict(list)
            for i, line in enumerate(there):
                at[line].append(i)
            votes: defaultdict[int, int] = defaultdict(int)
            for i, line in enumerate(wanted):
                for j in at.get(line, ())[:50]:
                    votes[j - i] += 1
            offsets = [offset for offset, count in votes.items() if 2 * count >= len(wanted) and 0 <= offset <= last]
        self._pairs -= len(offsets) * len(wanted)
        return offsets if self._pairs >= 0 else []

    def _likeness(self, wanted: _Lines, offset: int) -> float:
        """From 0 to 1; 0 when a single line is too different."""
        same = total = 0.0
        for i, line in enumerate(wanted):
            own = self._stripped[self._filled[offset + i]]
            ratio = _ratio(line.strip(), own)
            if ratio < _LINE_THRESHOLD:
                return 0.0
            same += ratio * (len(own) + 1)
            total += len(own) + 1
        return same / total


class _Shift:
    """Indentation as the hunk writes it -> as the text has it."""

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known
        self._keys = sorted(known, key=len, reverse=True)

    @classmethod
    def between(cls, written: _Lines, there: _Lines) -> Callable[[str], str] | None:
        """None if one indentation of the hunk would have to become two."""
        known: dict[str, str] = {}
        for line, own in zip(written, there, strict=True):
            if line.strip() and known.setdefault(_indent(line), _indent(own)) != _indent(own):
                return None
        return cls(known).line

    def line(self, line: str) -> str:
        indent = _indent(line)
        if not line.strip():
            return line
        for key in self._keys:
            if indent.startswith(key):
                return self._known[key] + self._step(key, indent[len(key) :]) + line.lstrip(" \t")
        shallow = self._keys[-1]
        width = len(self._known[shallow].expandtabs(4)) - len(shallow.expandtabs(4)) + len(indent.expandtabs(4))
        return " " * max(0, width) + line.lstrip(" \t")

    def _step(self, key: str, rest: str) -> str:
        """What is deeper than a known indentation, in tabs where the text has tabs for the hunk's blanks."""
        tabs = self._known[key].count("\t")
        if tabs and key and not key.strip(" ") and not rest.strip(" ") and len(key) % tabs == 0:
            return "\t" * round(len(rest) * tabs / len(key))
        return rest


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _occurrences(lines: _Lines, wanted: _Lines) -> list[int]:
    """Where ``wanted`` begins in ``lines``; at most 20 places are looked for."""
    if not wanted:
        return []
    text, part = "\n" + "\n".join(lines) + "\n", "\n" + "\n".join(wanted) + "\n"
    starts: list[int] = []
    at, line, counted = text.find(part), 0, 0
    while at >= 0 and len(starts) < 20:
        line += text.count("\n", counted, at)
        starts.append(line)
        counted, at = at, text.find(part, at + 1)
    return starts


def _edges(lines: _Lines) -> tuple[int, int]:
    """How many blank lines it begins and ends with; all are counted as the beginning if there is nothing else."""
    filled = [i for i, line in enumerate(lines) if line.strip()]
    return (filled[0], len(lines) - 1 - filled[-1]) if filled else (len(lines), 0)


def _without_edges(search: _Lines, replace: _Lines) -> tuple[_Lines, _Lines]:
    """Both without the blank lines that ``search`` begins and ends with, as far as ``replace`` has them too."""
    lead, trail = _edges(search)
    own_lead, own_trail = _edges(replace)
    return search[lead : len(search) - trail], replace[min(lead, own_lead) : len(replace) - min(trail, own_trail)]


def _ratio(a: str, b: str) -> float:
    """As difflib's ratio, but what the lines begin and end with in common is counted first, so that the rest is short."""
    if a == b:
        return 1.0
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])
    middles = a[head : len(a) - tail], b[head : len(b) - tail]
    possible = 2 * (head + tail + min(map(len, middles))) / (len(a) + len(b))
    if possible < _LINE_THRESHOLD or max(map(len, middles)) > _LONGEST_MIDDLE:
        return 0.0
    blocks = difflib.SequenceMatcher(None, *middles, autojunk=False).get_matching_blocks()
    return 2 * (head + tail + sum(block.size for block in blocks)) / (len(a) + len(b))


def _common(a: str, b: str) -> int:
    """How many characters they begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
