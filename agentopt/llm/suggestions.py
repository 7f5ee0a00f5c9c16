"""Replies that name variables and give their new values, in XML elements or in one JSON object, beside the reasoning behind them.

The two forms are those of OptoPrime (Cheng, Nie, Swaminathan, "Trace is the Next AutoDiff", NeurIPS 2024); docs/optoprime.md shows them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from agentopt.core.chat import Finish
from agentopt.core.task import Parameter, Value, Values
from agentopt.core.text import clean_text
from agentopt.llm.naming import Names
from agentopt.llm.outline import Block, prepare
from agentopt.llm.pool import unescaped, unwrapped
from agentopt.llm.replies import LIMIT_BYTES, MOST_CHARACTERS, read_reply
from agentopt.llm.values import accept, decode_json, same
from agentopt.llm.verdicts import Fault, Unusable, Usable, quoted

__all__ = ["mend_suggestion", "read_suggestion", "reasoning_of"]

_THINKING = ("think", "thinking", "thought")
_TAG = re.compile(r"<(/?)(?:variable|var)>", re.I)
_HEAD = re.compile(r"\s*<name>([^<]{0,200})</name>\s*<value>", re.I)
_END = re.compile(r"</value>", re.I)
_NO_CHANGE = re.compile(r"^[ \t]*<no_change>\s*(?:true|yes|1)\s*</no_change>[ \t]*$", re.I | re.M)
_COUNTER = re.compile(r":\d+$")
_HELD = ("suggestion", "suggestions", "variables", "variable", "parameters", "values", "answer")
"""Keys of a JSON reply under which the values may stand."""
_MOST_OBJECTS = 50
_MOST_ELEMENTS = 1000
"""Elements and objects beyond these are not read: nobody writes more, and time stays linear."""
_LONGEST_REASONING = 2000


def read_suggestion(
    text: str,
    parameters: Mapping[str, Parameter],
    parent: Values,
    *,
    finish: Finish = "stop",
    form: str = "xml",
    limit_bytes: int = LIMIT_BYTES,
) -> Usable | Unusable:
    """The values that a reply suggests. ``form`` (``xml`` or ``json``) is the one looked for first; the other one will do too.

    A reply with neither is read as ``read_reply`` reads it. One that says in the field for it that nothing needs to change is
    ``Unusable`` as ``no_change``. Never raises for any text.
    """
    if finish in ("filter", "refusal") or len(text) > MOST_CHARACTERS:
        return read_reply(text, parameters, parent, finish=finish, limit_bytes=limit_bytes)
    body = _thought_out(prepare(text))
    readers = {"xml": _from_xml, "json": _from_json}
    names = Names(parameters)
    try:
        for reader in sorted(readers, key=lambda name: name != form):
            if (found := readers[reader](body, names)) is not None:
                return _usable(found, _Asked(names, parent, finish == "length", limit_bytes))
    except Fault as fault:
        return Unusable(fault.verdict, fault.message)
    return read_reply(text, parameters, parent, finish=finish, limit_bytes=limit_bytes)


def mend_suggestion(problem: Unusable, form: str) -> str:
    """The text of the one prompt that asks for a better reply; ``form`` says how it has to look."""
    return f"Your last reply could not be used. {problem.message} Reply again, and leave nothing out.\n\n{form}"


def reasoning_of(text: str) -> str:
    """What a reply says of why, at most 2,000 characters; empty if it says nothing."""
    body = _thought_out(prepare(text[:MOST_CHARACTERS]))
    if span := _span(body, "reasoning"):
        return clean_text(body[span[0] + len("<reasoning>") : span[1] - len("</reasoning>")].strip(), _LONGEST_REASONING)
    for fields in _objects(body):
        if isinstance(fields.get("reasoning"), str):
            return clean_text(fields["reasoning"].strip(), _LONGEST_REASONING)
    return ""


@dataclass(frozen=True)
class _Given:
    """What a reply gives under one name: text of an element, or a JSON value. ``closed``: its end was found."""

    written: str
    value: Any
    form: str
    closed: bool = True


@dataclass(frozen=True)
class _Asked:
    names: Names
    parent: Values
    cut: bool
    limit: int
    unknown: list[str] = field(default_factory=list[str])


# --- XML


def _from_xml(body: str, names: Names) -> list[_Given] | None:
    """The variables of a reply; None where it holds no element of that form. Raises Fault."""
    answer = _without_reasoning(body)
    found = [variable for inner in _elements(answer) if (variable := _variable(inner))]
    if not found and _NO_CHANGE.search(answer):
        raise _no_change()
    return found or None


def _no_change() -> Fault:
    return Fault("no_change", "The reply says that nothing needs to change.")


def _thought_out(text: str) -> str:
    """Without the reasoning that a reply begins with."""
    for word in _THINKING:
        if (span := _span(text, word)) and not text[: span[0]].strip():
            return text[span[1] :]
    return text


def _without_reasoning(body: str) -> str:
    """The reasoning may name elements, and is none of the answer."""
    span = _span(body, "reasoning")
    return body[span[1] :] if span and not _TAG.search(body, 0, span[0]) else body


def _span(text: str, word: str) -> tuple[int, int] | None:
    """Where the first element of that name begins and ends."""
    start = text.lower().find(f"<{word}>")
    end = text.lower().find(f"</{word}>", start) if start >= 0 else -1
    return (start, end + len(f"</{word}>")) if end >= 0 else None


def _elements(body: str) -> Iterator[str]:
    """What stands in each outermost ``variable`` that begins with a name.

    Tags are counted, as a value may hold elements of the same name. Where they do not come out even, the next one that begins with a
    name ends the one before it.
    """
    tags = list(islice(_TAG.finditer(body), _MOST_ELEMENTS))
    heads = [match for match in tags if not match[1] and _HEAD.match(body, match.end())]
    done = 0
    for number, head in enumerate(heads):
        if head.start() < done:
            continue
        following = heads[number + 1].start() if number + 1 < len(heads) else len(body)
        end = _balanced(tags, head)
        if end is None:
            closing = [match for match in tags if match[1] and head.end() < match.start() < following]
            end = closing[-1].start() if closing else following
        done = end
        yield body[head.end() : end]


def _balanced(tags: Sequence[re.Match[str]], head: re.Match[str]) -> int | None:
    depth = 0
    for match in tags:
        if match.start() >= head.start():
            depth += -1 if match[1] else 1
            if depth == 0:
                return match.start()
    return None


def _variable(inner: str) -> _Given | None:
    head = _HEAD.match(inner)
    if head is None:
        return None
    ends = [match.start() for match in _END.finditer(inner, head.end())]
    return _Given(head[1].strip(), inner[head.end() : ends[-1] if ends else len(inner)], "xml", closed=bool(ends))


# --- JSON


def _from_json(body: str, names: Names) -> list[_Given] | None:
    """The values of the last object that holds any; sentences before and after it do not matter. Raises Fault."""
    found: list[_Given] | None = None
    done = False
    for fields in _objects(body):
        values: Mapping[str, Any] | None = _held(fields, names)
        done = done or fields.get("no_change") is True
        if values is not None:
            found = [_Given(name, value, "json") for name, value in values.items()]
    if done and not found:
        raise _no_change()
    return found


def _held(fields: Mapping[str, Any], names: Names) -> Mapping[str, Any] | None:
    """The part of an object that maps names to values."""
    for key in _HELD:
        if key in fields and key not in names.parameters:
            return _pairs(fields[key])
    return fields if any(_COUNTER.sub("", key) in names.parameters for key in fields) else None


def _pairs(held: Any) -> Mapping[str, Any] | None:
    """``{"a": 1}``, or ``[{"name": "a", "value": 1}]``."""
    if isinstance(held, str) and held.lstrip().startswith(("{", "[")):
        try:
            held = decode_json(held)[0]
        except Fault:
            return None
    if isinstance(held, dict):
        return cast(dict[str, Any], held)
    items = cast(list[Any], held) if isinstance(held, list) else []
    pairs = [cast(dict[str, Any], item) for item in items if isinstance(item, dict)]
    return {str(pair["name"]): pair["value"] for pair in pairs if {"name", "value"} <= pair.keys()} or None


def _objects(body: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects of a text, in order; one that needs leniency only if the text is nothing else."""
    bare = body.strip()
    bare = bare.removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if bare.startswith("{"):
        try:
            value, _ = decode_json(bare)
        except Fault:
            pass
        else:
            yield value
            return
    decoder, position = json.JSONDecoder(strict=False), 0
    for _ in range(_MOST_OBJECTS):
        position = body.find("{", position)
        if position < 0:
            return
        try:
            value, position = decoder.raw_decode(body, position)
        except (ValueError, RecursionError):
            position += 1
        else:
            yield value


# --- values


def _usable(found: Sequence[_Given], asked: _Asked) -> Usable:
    values: dict[str, Value] = {}
    given: dict[str, str] = {}
    notes: list[str] = []
    for one in found:
        name = _named(one.written, asked)
        if name and one.value is not None:
            values[name], more = _value(name, one, asked)
            given[name] = one.form
            notes += more
    if not given:
        if asked.unknown:
            asked.names.unknown.extend(asked.unknown)
            asked.names.refuse_unknown()
        raise Fault("empty", "The reply gives no value.")
    if asked.cut and len(given) < len(asked.names.trainable):
        raise Fault("truncated", "The reply was cut off before it came to every parameter.")
    parameters, parent = asked.names.parameters, asked.parent
    changed = {name: value for name, value in values.items() if not same(parameters[name], value, parent[name])}
    for name in changed:
        if name not in asked.names.trainable:
            asked.names.refuse_frozen(name)
    if not changed:
        raise Fault("unchanged", f"The reply gives {' and '.join(map(repr, values))} as it was, so nothing would change.")
    notes += [f"the task has no {quoted(written)}, so that was left out" for written in asked.unknown]
    return Usable(changed, "json" if "json" in given.values() else "xml", tuple(dict.fromkeys(notes)))


def _named(written: str, asked: _Asked) -> str | None:
    """The parameter that is meant, also by the name with a counter that graphs give it: ``place:0``."""
    name = asked.names.find(written) or asked.names.find(_COUNTER.sub("", written).removeprefix("__"))
    if name is None:
        asked.unknown.append(written)
    return name


def _value(name: str, one: _Given, asked: _Asked) -> tuple[Value, tuple[str, ...]]:
    parameter, parent = asked.names.parameters[name], asked.parent[name]
    if isinstance(one.value, str):
        if not one.closed:
            raise Fault("truncated", f"The value of {name!r} has no end.")
        block = unwrapped(Block(one.value, form="xml" if one.form == "xml" else "json", name=name))
        text = unescaped(block, parameter, parent, asked.limit).body
    elif parameter.kind in ("code", "prompt"):
        raise Fault("syntax", f"The value of {name!r} has to be a text, not {quoted(json.dumps(one.value), 40)}.")
    else:
        text = json.dumps(one.value)
    return accept(parameter, text, parent, whole=False, limit=asked.limit)
