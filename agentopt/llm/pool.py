"""The texts that a reply offers: what its fences, tags and JSON objects hold, taken out of their wrapping."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from agentopt.core.task import Parameter
from agentopt.llm.naming import GENERAL_WORDS, Names
from agentopt.llm.outline import Block, outline
from agentopt.llm.sources import parses
from agentopt.llm.values import decode_json

__all__ = ["members", "opens_json", "unescaped", "unwrapped"]

_WRAPPERS = frozenset(
    ("parameters", "params", "values", "files", "answer", "result", "output", "response", "update", "updates", "changes", "edits")
)
_Member = tuple[str | None, str, Any]
"""The name of a parameter, or a general word for the one that there is, and what is held under it."""
_DEEPEST = 2
_MOST_MEMBERS = 1000
_NAMES = ("name", "path", "file", "filename", "parameter", "param")
_TEXTS = ("content", "contents", "code", "text", "value", "new_code", "source", "new_text")
_ENTITIES = ("&lt;", "&gt;", "&amp;", "&quot;", "&apos;", "&#39;", "&#34;")


def opens_json(text: str) -> bool:
    return text[:200].lstrip().startswith(("{", "["))


def members(text: str, names: Names, above: str = "") -> list[Block]:
    """The parameters' texts in a JSON object; none when the object is about something else.

    Raises Fault when the text is no JSON.
    """
    value, notes = decode_json(text)
    found: list[_Member] = list(_members(value, names, depth=0))
    only = names.only
    if not found and only and names.parameters[only].kind == "config" and isinstance(value, dict):
        found = [(only, "", cast(Any, value))]
    return [Block(_text(held), word, name, above, form="json", notes=notes) for name, word, held in found]


def _members(value: Any, names: Names, depth: int) -> Iterator[_Member]:
    if isinstance(value, list):
        for item in cast(list[Any], value)[:_MOST_MEMBERS]:
            yield from _described(item)
    elif isinstance(value, dict) and depth <= _DEEPEST:
        fields = cast(dict[str, Any], value)
        described = [] if any(key in names.parameters for key in fields) else list(_described(fields))
        if described:
            yield from described
            return
        for key, held in islice(fields.items(), _MOST_MEMBERS):
            yield from _member(key, held, names, depth)


def _member(key: str, held: Any, names: Names, depth: int) -> Iterator[_Member]:
    word = key.lower()
    only = names.parameters[names.only] if names.only else None
    if names.find(key):
        yield key, "", held
    elif only and only.kind == "config":
        if word in GENERAL_WORDS["config"] and key not in only.initial and isinstance(held, dict):
            yield None, word, held
    elif word in _WRAPPERS and isinstance(held, dict | list):
        yield from _members(held, names, depth + 1)
    elif only and word in GENERAL_WORDS[only.kind]:
        yield None, word, held
    elif isinstance(held, str) and "def " in held and "\n" in held.strip():
        yield key, "", held


def _described(item: Any) -> Iterator[_Member]:
    """``{"path": "a.py", "content": "..."}``"""
    fields = cast(dict[str, Any], item) if isinstance(item, dict) else {}
    name = next((fields[key] for key in _NAMES if isinstance(fields.get(key), str)), None)
    text = next((fields[key] for key in _TEXTS if key in fields), None)
    if name is not None and text is not None:
        yield name, "content", text


def _text(held: Any) -> str:
    if isinstance(held, str):
        return held
    lines = cast(list[Any], held) if isinstance(held, list) else []
    if lines and all(isinstance(line, str) for line in lines):
        return "\n".join(line.rstrip("\n") for line in lines)
    return json.dumps(held)


def unwrapped(block: Block) -> Block:
    """An element's or member's text without a CDATA section or fence around all of it."""
    text = block.body.strip("\n") if block.form == "xml" else block.body
    if block.form == "xml" and text.strip().startswith("<![CDATA["):
        inner = text.strip().removeprefix("<![CDATA[").removesuffix("]]>").replace("]]]]><![CDATA[>", "]]>")
        return replace(block, body=inner.strip("\n") + "\n", escaped=False)
    if block.form != "rewrite" and text.lstrip()[:3] in ("```", "~~~"):
        inside = outline(text, (), hunks=False)
        if len(inside.blocks) == 1 and not inside.prose:
            return replace(block, body=inside.blocks[0].body, closed=block.closed and inside.blocks[0].closed)
    return replace(block, body=text)


def unescaped(block: Block, parameter: Parameter, parent: Any, limit: int) -> Block:
    """Text of an element in which ``<`` is written ``&lt;``. Models mostly write code as it is, so this has to be the better reading."""
    body = block.body
    if block.form != "xml" or not block.escaped or len(body) > limit or not any(entity in body for entity in _ENTITIES):
        return block
    plain = html.unescape(body)
    if parameter.is_python:
        better = not parses(body) or ("<" not in body and not any(entity in parent for entity in _ENTITIES))
        better = better and parses(plain)
    else:
        better = "<" not in body and not (isinstance(parent, str) and any(entity in parent for entity in _ENTITIES))
    return replace(block, body=plain) if better else block
