"""OTLP as JSON: what is in a file of spans, whoever wrote it, and how ours are written.

The format is that of https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: one object with ``resourceSpans``, or one such
object per line, as the collector's file exporter writes them.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agentopt.core.errors import UserError

__all__ = ["Span", "SpanEvent", "attributes_of", "is_otlp", "read_spans"]

_DEEPEST = 50


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened during a span."""

    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Span:
    """One span with plain values. Times are nanoseconds since 1970."""

    trace: str
    id: str
    parent: str
    name: str
    began: int
    ended: int
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    events: Sequence[SpanEvent] = ()
    failed: bool = False
    message: str = ""
    """Of the status."""
    resource: Mapping[str, Any] = field(default_factory=dict[str, Any])


def is_otlp(data: bytes) -> bool:
    """Whether this looks like a file of spans rather than a trace of ours."""
    head = data[:4096].lstrip()
    return head.startswith((b"{", b"[")) and b"agentopt_trace" not in head.split(b"\n", 1)[0][:200]


def read_spans(data: bytes) -> list[Span]:
    """In the order of the file. Raises UserError, in one sentence, for what is no OTLP JSON."""
    spans: list[Span] = []
    for where, document in _documents(data):
        try:
            spans += _spans(document)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UserError(f"{where} is no OTLP JSON ({why}); export the spans with an OTLP file or HTTP/JSON exporter") from None
    if not spans:
        raise UserError("there is no span in it; export a trace with at least one span")
    return spans


def _documents(data: bytes) -> Iterator[tuple[str, Any]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("it is no UTF-8 text; OTLP is read as JSON, not as protobuf") from None
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2:
            raise UserError(f"it is no JSON ({error}); give OTLP JSON or a trace that agentopt saved") from None
    else:
        yield from (("it", document) for document in cast("list[Any]", whole if isinstance(whole, list) else [whole]))
        return
    for number, line in lines:
        try:
            yield f"line {number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"line {number} is no JSON ({error}); give OTLP JSON or a trace that agentopt saved") from None


def _spans(document: Any) -> Iterator[Span]:
    for group in document["resourceSpans"]:
        resource = _attributes(group.get("resource", {}).get("attributes", ()))
        for scope in group.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield _span(span, resource)


def _span(span: Mapping[str, Any], resource: Mapping[str, Any]) -> Span:
    status: Mapping[str, Any] = span.get("status") or {}
    began = int(span["startTimeUnixNano"])
    return Span(
        str(span["traceId"]).lower(),
        str(span["spanId"]).lower(),
        str(span.get("parentSpanId") or "").lower(),
        str(span.get("name", "")),
        began,
        max(began, int(span.get("endTimeUnixNano") or began)),
        _attributes(span.get("attributes", ())),
        tuple(SpanEvent(str(event.get("name", "")), _attributes(event.get("attributes", ()))) for event in span.get("events", ())),
        status.get("code") in (2, "STATUS_CODE_ERROR"),
        str(status.get("message", "")),
        resource,
    )


def _attributes(pairs: Iterable[Mapping[str, Any]], depth: int = 0) -> dict[str, Any]:
    return {str(pair["key"]): _value(pair.get("value"), depth) for pair in pairs}


def _value(value: Mapping[str, Any] | None, depth: int = 0) -> Any:
    """An AnyValue. Whole numbers are texts in JSON, for they may have 64 bits."""
    if depth > _DEEPEST:
        raise ValueError("an attribute is nested too deep")
    for kind, held in (value or {}).items():
        if kind == "intValue":
            return int(held)
        if kind == "doubleValue":
            return float(held)
        if kind == "bytesValue":
            return base64.b64decode(held)
        if kind == "arrayValue":
            return [_value(item, depth + 1) for item in held.get("values", ())]
        if kind == "kvlistValue":
            return _attributes(held.get("values", ()), depth + 1)
        return held
    return None


def attributes_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Texts, numbers, truth values and lists of those as the JSON of attributes; nothing for None."""
    return [{"key": key, "value": _any_value(value)} for key, value in values.items() if value is not None]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return {"intValue": str(value)}
    if isinstance(value, int | float):
        return {"doubleValue": _double(value)}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_any_value(item) for item in cast("list[Any]", value)]}}
    return {"stringValue": str(value)}


def _double(value: float) -> float | str:
    """JSON has no infinite numbers; a whole number may be too large for a double."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    return number if math.isfinite(number) else "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
