"""From text that a reply gives for one parameter to its new value, or to the reason why it has none."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from typing import Any, cast

from agentopt.core.conform import conform
from agentopt.core.normalise import normalise_python
from agentopt.core.task import Parameter, Value
from agentopt.llm.regions import fit
from agentopt.llm.sources import check_entry, elision, parse, tidied
from agentopt.llm.verdicts import Fault, quoted, reads_as_refusal

__all__ = ["accept", "decode_json", "same", "with_plain_ends"]

_DEEPEST = 32
_MOST_LENIENT = 100_000
"""Characters of JSON in which stray commas are looked for."""


def accept(parameter: Parameter, text: str, parent: Value, *, whole: bool, limit: int) -> tuple[Value, tuple[str, ...]]:
    """The value that ``text`` stands for, as it may be tried, and notes.

    ``whole``: the text was made from the parent's, so it is all there. Raises Fault.
    """
    value, notes = _accepted(parameter, text, parent, whole, limit)
    if not parameter.trainable or value == parent:
        return value, notes
    try:
        return conform(parameter, value), notes
    except ValueError as error:
        raise Fault("constraint", str(error)) from None


def _accepted(parameter: Parameter, text: str, parent: Value, whole: bool, limit: int) -> tuple[Value, tuple[str, ...]]:
    size = len(text.strip("\n").encode("utf-8", "surrogatepass"))
    if size > limit:
        raise Fault("oversize", f"The text of {parameter.name!r} has {size} bytes; at most {limit} are allowed.")
    if not text.strip():
        raise Fault("empty", f"The reply gives an empty text for {parameter.name!r}.")
    text = _encodable(text)
    if parameter.kind == "config":
        return _config(parameter, text, parent)
    if parameter.kind == "value":
        return _value(parameter, text, parent), ()
    plain = with_plain_ends(parent)
    read = _code if parameter.kind == "code" else _prompt
    text, notes = read(parameter, text, plain, whole)
    return (text.replace("\n", "\r\n") if plain != parent else text), notes


def _prompt(parameter: Parameter, text: str, parent: str, whole: bool) -> tuple[str, tuple[str, ...]]:
    if whole:
        return text, ()
    if reads_as_refusal(text, block=True):
        raise Fault("refusal", "The reply declines the task instead of giving a text.")
    # a fence or tag adds line ends that are not the prompt's
    return text.strip("\n") + ("\n" if parent.endswith("\n") else ""), ()


def _code(parameter: Parameter, text: str, parent: str, whole: bool) -> tuple[str, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if not whole:
        text = text.strip("\n") + "\n"
        if parameter.is_python:
            text, notes = tidied(text)
    left_out = elision(text, parent)
    if left_out:
        raise Fault("truncated", f"The code of {parameter.name!r} leaves a part out ({quoted(left_out)}); give all of it.")
    text, fitted = fit(parameter, parent, text, whole=whole)
    notes += fitted
    if parameter.is_python:
        tree = parse(text, f" of {parameter.name!r}")
        if parameter.entry:
            notes += check_entry(parameter.entry, tree, _tree_or_empty(parent))
    return text, notes


def with_plain_ends(parent: str) -> str:
    """A text all of whose lines end as on Windows, with plain ends; its children get those ends back."""
    return parent.replace("\r\n", "\n") if parent.count("\n") == parent.count("\r\n") else parent


def _tree_or_empty(source: str) -> ast.Module:
    try:
        return parse(source)
    except Fault:
        return ast.Module([], [])


def _encodable(text: str) -> str:
    """Without lone surrogates, which JSON can spell and no file can hold."""
    return text.encode("utf-8", "ignore").decode()


def _config(parameter: Parameter, text: str, parent: Value) -> tuple[Value, tuple[str, ...]]:
    value, notes = decode_json(text)
    if not isinstance(value, dict):
        raise Fault("syntax", f"The config {parameter.name!r} has to be a JSON object, not {quoted(text, 40)}.")
    fields = cast(dict[str, Any], value)
    if set(fields) == {parameter.name} and isinstance(fields[parameter.name], dict):
        fields = cast(dict[str, Any], fields[parameter.name])
    if not _is_sound(fields):
        raise Fault("syntax", f"The config {parameter.name!r} is nested too deeply, or holds half of a surrogate pair.")
    kept = [name for name in parent if name not in fields]
    if kept:
        notes += (f"fields that the reply left out stay as they were: {', '.join(kept)}",)
    return {**parent, **fields}, notes


def _is_sound(value: Any, depth: int = 0) -> bool:
    """Can it be kept? JSON can also spell halves of surrogate pairs, and nest deeper than others can read."""
    if isinstance(value, str):
        return _encodable(value) == value
    if isinstance(value, dict):
        parts = [part for item in cast(dict[str, Any], value).items() for part in item]
    else:
        parts = cast(list[Any], value) if isinstance(value, list) else []
    return depth < _DEEPEST and all(_is_sound(part, depth + 1) for part in parts)


def _value(parameter: Parameter, text: str, parent: Value) -> Value:
    if isinstance(parent, str):
        return text.strip()
    try:
        value = decode_json(text.strip().lower() if isinstance(parent, bool) else text)[0]
    except Fault:
        value = None
    if not isinstance(value, int | float) or isinstance(value, bool) is not isinstance(parent, bool):
        wanted = "true or false" if isinstance(parent, bool) else "a number"
        raise Fault("syntax", f"The value of {parameter.name!r} has to be {wanted}, not {quoted(text, 40)}.")
    return value


def same(parameter: Parameter, value: Value, parent: Value) -> bool:
    """Would they be one candidate, or differ in blanks at the ends of lines only?"""
    if value == parent:
        return type(value) is type(parent) or isinstance(value, Mapping)
    if parameter.is_python:
        return normalise_python(value) == normalise_python(parent)
    if isinstance(value, str) and isinstance(parent, str):
        return [line.rstrip() for line in value.strip().split("\n")] == [line.rstrip() for line in parent.strip().split("\n")]
    return False


def decode_json(text: str) -> tuple[Any, tuple[str, ...]]:
    """JSON as models write it: raw line breaks in strings and a comma before a closing bracket are forgiven, in notes.

    Raises Fault with ``truncated`` where the text stops too early, with ``syntax`` for anything else.
    """
    try:
        return _loads(text, strict=True), ()
    except (ValueError, RecursionError):
        bare = _without_trailing_commas(text) if len(text) <= _MOST_LENIENT else text
    note = "a comma before a closing bracket was left out" if bare != text else "raw line breaks in JSON strings were kept"
    try:
        return _loads(bare, strict=False), (note,)
    except json.JSONDecodeError as error:
        if error.pos >= len(bare.rstrip()) or error.msg.startswith("Unterminated string"):
            raise Fault("truncated", "The JSON ends before it is complete.") from None
        raise Fault("syntax", f"The JSON is not valid in line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except ValueError as error:
        raise Fault("syntax", f"The JSON cannot be used: {quoted(str(error))}.") from None
    except RecursionError:
        raise Fault("syntax", "The JSON is nested too deeply.") from None


def _loads(text: str, strict: bool) -> Any:
    return json.loads(text, strict=strict, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _without_trailing_commas(text: str) -> str:
    """``text`` without each comma outside of strings that only blanks separate from a closing bracket, if a value precedes it."""
    parts: list[str] = []
    in_string = False
    for i, part in enumerate(text.split('"')):
        in_string = _escaped(parts[-1]) if in_string else i > 0
        parts.append(part if in_string else _closed(part, first=i == 0))
    return '"'.join(parts)


def _escaped(part: str) -> bool:
    """Does what precedes a quote end in an odd number of backslashes?"""
    return (len(part) - len(part.rstrip("\\"))) % 2 == 1


def _closed(part: str, first: bool) -> str:
    pieces = part.split(",")
    for i in range(1, len(pieces)):
        before = pieces[i - 1].rstrip()
        filled = before[-1] not in "[{:," if before else i == 1 and not first
        if not (filled and pieces[i].lstrip().startswith(("}", "]"))):
            pieces[i] = "," + pieces[i]
    return "".join(pieces)
