"""The parts of a program that may change: what lies between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END lines."""

from __future__ import annotations

import re

from agentopt.core.regions import MARKER, pieces
from agentopt.core.task import Parameter
from agentopt.llm.naming import defined
from agentopt.llm.verdicts import Fault

__all__ = ["fit", "inside"]

_ANY = re.compile(r"^[^\n]*EVOLVE[-_ ]BLOCK[^\n]*\n?", re.M | re.I)


def inside(text: str) -> list[str]:
    """The parts that may change: the whole text if it has no markers."""
    return (pieces(text) or ["", text])[1::2]


def fit(parameter: Parameter, parent: str, text: str, *, whole: bool) -> tuple[str, tuple[str, ...]]:
    """``text`` with what is frozen exactly as in ``parent``, and notes. Raises Fault with ``markers``.

    ``whole``: the text is known to be all of the program; else it may also be the inside of the one block alone.
    """
    own = pieces(parent)
    if own is None:
        return (text, ()) if whole else _strip(text)
    new = pieces(text)
    if new:
        if len(new) == len(own) and _same(new[::2], own[::2]):
            return _joined(own, new[1::2]), ()
        if len(new) == len(own) and _same(new[::2], [_markers_of(piece) for piece in own[::2]]):
            return _joined(own, new[1::2]), ("the reply gave the block without what lies around it",)
    if new or whole or _ANY.search(text) or len(own) > 3:
        raise Fault("markers", _complaint(parameter, len(own) // 2))
    return _splice(parameter, own, text)


def _strip(text: str) -> tuple[str, tuple[str, ...]]:
    """Marker lines that the parent does not have: the model learned them elsewhere, and in a child they would freeze its code."""
    if not MARKER.search(text):
        return text, ()
    kept = (line for line in text.split("\n") if not MARKER.match(line))
    return "\n".join(kept).strip("\n") + "\n", ("EVOLVE-BLOCK lines that the program does not have were left out",)


def _splice(parameter: Parameter, own: list[str], text: str) -> tuple[str, tuple[str, ...]]:
    """Text without markers: the block's inside, or the program with the markers forgotten."""
    before, after = (_code_lines(MARKER.sub("", piece)) for piece in (own[0], own[2]))
    lines = text.split("\n")
    filled = [i for i, line in enumerate(lines) if line.strip()]
    stripped = [lines[i].rstrip() for i in filled]
    end = len(filled) - len(after)
    if (before or after) and len(before) < end and stripped[: len(before)] == before and stripped[end:] == after:
        middle = lines[filled[len(before)] : filled[end - 1] + 1]
        return _joined(own, ["\n".join(middle) + "\n"]), ("the EVOLVE-BLOCK lines were missing and put back",)
    frozen = defined(own[0]) | defined(own[2])
    again = sorted(frozen & defined(text)) if parameter.is_python else []
    if again:
        raise Fault("markers", f"{_complaint(parameter, 1)[:-1]}, but the reply also defines {again[0]!r}.")
    return _joined(own, [text]), ("the block's inside was put into the program",)


def _joined(own: list[str], insides: list[str]) -> str:
    pieces = list(own)
    pieces[1::2] = [part if part.endswith("\n") or not part else f"{part}\n" for part in insides]
    return "".join(pieces)


def _code_lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _same(a: list[str], b: list[str]) -> bool:
    """Do frozen parts agree but for blank lines and trailing blanks?"""
    return [_code_lines(part) for part in a] == [_code_lines(part) for part in b]


def _markers_of(piece: str) -> str:
    return "\n".join(match[0] for match in MARKER.finditer(piece))


def _complaint(parameter: Parameter, blocks: int) -> str:
    where = "the EVOLVE-BLOCK" if blocks == 1 else f"the {blocks} EVOLVE-BLOCKs"
    return (
        f"Only the lines inside of {where} of {parameter.name!r} may change; the marker lines and all other lines have to stay as they are."
    )
