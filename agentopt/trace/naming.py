"""Names for what a listing shows: identifiers of Python, all different, the same each time."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Sequence

from agentopt.trace.graph import Graph

__all__ = ["Names", "function_name", "identifier", "node_names"]

_LONGEST = 60


def identifier(text: str) -> str:
    """The identifier most like ``text``; ``x`` if nothing of it can be kept."""
    text = unicodedata.normalize("NFKC", text[: 4 * _LONGEST])
    kept = "".join(char if f"x{char}".isidentifier() else "_" for char in text).strip("_")[:_LONGEST] or "x"
    kept = kept if kept[0].isidentifier() else f"_{kept}"
    return f"{kept}_" if keyword.iskeyword(kept) else kept


def function_name(text: str) -> str:
    """As ``identifier``, with the dots of a qualified name."""
    return ".".join(map(identifier, text[: 4 * _LONGEST].split("."))) if text else "x"


class Names:
    """Gives each name once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}
        self._cleaned: dict[str, str] = {}

    def take(self, wanted: str, numbered: bool = False) -> str:
        """``wanted`` as an identifier; with a number from 1 on if ``numbered``, or from 2 on if it is taken."""
        base = self._cleaned.get(wanted) or self._cleaned.setdefault(wanted, identifier(wanted))
        name = base
        while numbered or name in self._taken:
            count = self._counts.get(base, 0 if numbered else 1) + 1
            self._counts[base] = count
            name = f"{base}_{count}"
            numbered = False
        self._taken.add(name)
        return name


def node_names(graph: Graph, names: Names, params: dict[str, str], order: Sequence[int]) -> list[str]:
    """A name per node. ``params`` has those of parameters; ``order`` is that of the listing, by which calls are numbered."""
    found = [""] * len(graph)
    for number in order:
        kind, name = graph.kind(number), graph.name(number)
        found[number] = params[name] if kind == "param" else names.take(name, numbered=kind != "input")
    return found
