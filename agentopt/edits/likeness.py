"""How alike two programs are, from the tokens of their normal form; and the programs known so far, a bounded number of them."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from zlib import crc32

from agentopt.core.normalise import normalise_python
from agentopt.core.task import Parameter, Values

__all__ = ["Known", "KnownPrograms", "Sketch", "likeness", "sketch"]

_SHINGLE = 4
"""Tokens in a row that are compared as one."""
_SKETCH = 256
"""Hashes kept of a program: the standard error of a likeness is then at most 0.032, and nothing for programs with fewer shingles."""
_MOST_CHARS = 262_144
_TOKEN = re.compile(r"\w+|[^\w\s]")
Sketch = tuple[int, ...]
"""The smallest hashes of a program's shingles, in order."""


def sketch(values: Values, parameters: Mapping[str, Parameter]) -> Sketch:
    """Of what can be trained: comments, layout and names of locals do not count, numbers do.

    The bottom-k sketch of Broder, "On the resemblance and containment of documents", 1997.
    """
    hashes: set[int] = set()
    for name, parameter in parameters.items():
        if parameter.trainable:
            tokens = _tokens(values[name], parameter)
            last = max(len(tokens) - _SHINGLE, 0)
            hashes.update(crc32("\0".join([name, *tokens[i : i + _SHINGLE]]).encode(errors="replace")) for i in range(last + 1))
    return tuple(nsmallest(_SKETCH, hashes))


def _tokens(value: object, parameter: Parameter) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    text = text[:_MOST_CHARS]
    return normalise_python(text).split("\n") if parameter.is_python else _TOKEN.findall(text)


def likeness(a: Sketch, b: Sketch) -> float:
    """The Jaccard index of two programs' shingles, estimated from the smallest hashes of both together; 1 for equal programs."""
    both = nsmallest(_SKETCH, {*a, *b})
    return len({*a} & {*b} & {*both}) / len(both) if both else 1.0


@dataclass(frozen=True)
class Known:
    """A program that was tried. ``outcome`` is a few words on what came of it."""

    id: str
    sketch: Sketch
    outcome: str


class KnownPrograms:
    """The last ``size`` programs that were added."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[str, Known] = OrderedDict()

    def add(self, known: Known) -> None:
        self._known[known.id] = known
        self._known.move_to_end(known.id)
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    def get(self, candidate_id: str) -> Known | None:
        return self._known.get(candidate_id)

    def nearest(self, program: Sketch, parent: Sketch, least: float, also: Sequence[Known] = ()) -> Known | None:
        """The program, known or among ``also``, most like ``program``, if they are alike by ``least`` and more than it is like ``parent``.

        A small change of a parent is close to the parent and to all other small changes of it, and closest to the parent.
        """
        best, most = None, max(least, likeness(program, parent) + 1e-9)
        for known in (*self._known.values(), *also):
            if known.sketch and (alike := likeness(program, known.sketch)) >= most and (best is None or alike > most):
                best, most = known, alike
        return best
