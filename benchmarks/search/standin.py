"""A seeded stand-in for a model: it finds the programs in a chat request, edits the one to be changed, and answers as it was asked to.

The one to be changed is

- in a prompt with quoted sections (``<name-0123456789ab>``): the first of ``PARENTS`` that is the name of a section with a program; else
  the first section with a program;
- in any other: the first program after the last heading among ``HEADINGS``; else the first program.

Every other program in the request can be crossed with it. It answers with hunks (SEARCH/REPLACE) if the request shows their marks, in
``<CODE>`` if it names that, else in a fence. A request that asks for no program gets a sentence, or a list of them, always the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentopt.testing.fake_llm import Received, Step
from benchmarks.search.hunks import hunk
from benchmarks.search.stream import Stream

__all__ = ["Asked", "StandIn", "read"]

Form = Literal["hunks", "fence", "named hunks", "named code", "text"]
PARENTS = ("parent", "current", "program", "elite", "better", "seed", "base", "best")
HEADINGS = ("# Current Program", "# Current program", "## Current Component", "# Incorrect Program to Fix", "following instructions")
SENTENCE = "Keep what works, change one thing at a time, and measure."
REFUSAL = "I see nothing that could be changed."
_SECTION = re.compile(r"<([a-z][a-z0-9-]*)-([0-9a-f]{12})>\n(.*?)\n</\1-\2>", re.DOTALL)
_NUMBERED = re.compile(r"^Program \d+ \(.*\):\n", re.MULTILINE)
_LIST = re.compile(r"numbered list of (\d+) items")
_FORMS = re.compile(r"one fenced block|<<<<<<< SEARCH")
_FENCE = re.compile(r"^(`{3,})[ \t]*([\w+-]*)[ \t]*\n(.*?)^\1[ \t]*$", re.DOTALL | re.MULTILINE)
_ASKS_FOR_A_PROGRAM = re.compile(r"one fenced block|SEARCH/REPLACE|<<<<<<< SEARCH|<CODE>|within ``` blocks|complete new program")


@dataclass(frozen=True)
class Asked:
    """What a request wants: ``form`` "text" wants no program and shows none."""

    form: Form
    parent: str = ""
    others: tuple[str, ...] = ()
    opening: str = ""


def read(messages: Sequence[Mapping[str, Any]]) -> Asked:
    """The programs of a request, and the form of the answer."""
    given = "\n\n".join(_text(message) for message in messages if message.get("role") != "assistant")
    said = "\n\n".join(_text(message) for message in messages if message.get("role") == "assistant")
    if not _ASKS_FOR_A_PROGRAM.search(given):
        return Asked("text")
    parent, programs = _in_sections(given) or _under_headings(given)
    if not parent:
        return Asked("text")
    others = dict.fromkeys(program for program in (*programs, *_fenced(said)) if program != parent)
    last = next((text for text in map(_text, reversed(messages)) if _FORMS.search(text)), given)
    opening = "IDEA: one random change\n\n" if "`IDEA:`" in given else ""
    return Asked(_form(given, last), parent, tuple(others), opening)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)


def _form(given: str, last: str) -> Form:
    """By the last message that shows one: a conversation may ask for another than before."""
    named = "<NAME>" in given
    if "<<<<<<< SEARCH" in last:
        return "named hunks" if named else "hunks"
    return "named code" if named else "fence"


def _in_sections(given: str) -> tuple[str, list[str]] | None:
    """The parent and all programs between tags with twelve digits; None if there are none."""
    found: list[tuple[str, str]] = []
    for match in _SECTION.finditer(given):
        pieces = _fenced(match[3]) or [piece.strip("\n") for piece in _NUMBERED.split(match[3])]
        found += [(match[1], piece) for piece in pieces if is_program(piece)]
    if not found:
        return None
    order = [name for name in PARENTS if name in {name for name, _ in found}] or [found[0][0]]
    parent = next(program for name, program in found if name == order[0])
    return parent, [program for _, program in found]


def _under_headings(given: str) -> tuple[str, list[str]]:
    at = max(given.rfind(heading) for heading in HEADINGS)
    below = _fenced(given[at:]) if at >= 0 else []
    programs = _fenced(given)
    parent = below[0] if below else programs[0] if programs else ""
    return parent, programs


def _fenced(text: str) -> list[str]:
    return [match[3].rstrip("\n") for match in _FENCE.finditer(text) if is_program(match[3])]


def is_program(text: str) -> bool:
    """Is it Python that defines something."""
    try:
        return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


class StandIn:
    """The script of a ``FakeLLM``: ``programs`` counts the requests that asked for one, and is the number that a draw goes by."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.programs = 0
        self.calls = 0

    def __call__(self, received: Received) -> Step:
        self.calls += 1
        asked = read(received.body.get("messages") or ())
        return Step(_bland(received.body) if asked.form == "text" else self.answer(asked))

    def answer(self, asked: Asked) -> str:
        """The text of the reply to a request for a program."""
        child = self._stream.draw(self.programs, asked.parent, asked.others)
        self.programs += 1
        return REFUSAL if child is None else asked.opening + written(asked, child)


def _bland(body: Mapping[str, Any]) -> str:
    wanted = _LIST.search("\n".join(_text(message) for message in body.get("messages") or ()))
    return "\n".join(f"{number}. {SENTENCE}" for number in range(1, int(wanted[1]) + 1)) if wanted else SENTENCE


def written(asked: Asked, child: str) -> str:
    """``child`` in the form that was asked for."""
    if asked.form in ("hunks", "named hunks"):
        search, replacement = hunk(asked.parent, child)
        body = f"<<<<<<< SEARCH\n{search}\n=======\n{replacement}\n>>>>>>> REPLACE"
        return f"{_NAMED}<DIFF>\n{body}\n\n</DIFF>" if asked.form == "named hunks" else f"One change:\n\n{body}"
    fence = f"```python\n{child.strip(chr(10))}\n```"
    return f"{_NAMED}<CODE>\n{fence}\n</CODE>" if asked.form == "named code" else fence


_NAMED = "<NAME>\na_random_edit\n</NAME>\n\n<DESCRIPTION>\nOne change.\n</DESCRIPTION>\n\n"
