"""The parts of a program that may change: what lies between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END lines."""

from __future__ import annotations

import re

__all__ = ["MARKER", "open_spans", "pieces", "within"]

MARKER = re.compile(r"^[ \t]*(?:#|//|--|/\*|<!--|;|%|\(\*)[^\n]{0,40}EVOLVE-BLOCK-(START|END)[^\n]*$", re.M)


def pieces(text: str) -> list[str] | None:
    """Frozen, inside, frozen, inside, ..., frozen; marker lines are frozen. None without markers or when they do not pair up."""
    markers = list(MARKER.finditer(text))
    kinds = [match[1] for match in markers]
    if not kinds or kinds != ["START", "END"] * (len(kinds) // 2):
        return None
    cuts = [0]
    for match in markers:
        cuts.append(min(match.end() + 1, len(text)) if match[1] == "START" else match.start())
    return [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def open_spans(text: str) -> list[tuple[int, int]]:
    """Bytes ``start:end`` of the UTF-8 form of ``text`` that may change: all of it if there are no markers."""
    spans: list[tuple[int, int]] = []
    done = 0
    for number, piece in enumerate(pieces(text) or ["", text]):
        size = len(piece.encode())
        if number % 2:
            spans.append((done, done + size))
        done += size
    return spans


def within(span: tuple[int, int], spans: list[tuple[int, int]]) -> bool:
    """Whether one of ``spans`` holds all of ``span``."""
    return any(start <= span[0] and span[1] <= end for start, end in spans)
