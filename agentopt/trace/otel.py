"""OpenTelemetry: traces as spans with the GenAI attributes, and spans of any program as traces.

All names are those of one version of the conventions, so that what we write means the same for years. Names that the conventions lack are
our own and begin with ``agentopt.``; with them a trace comes back with the structure it had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from agentopt.trace.export import plain
from agentopt.trace.graph import Feedback, Graph, Node, ParamInfo
from agentopt.trace.messages import to_parts
from agentopt.trace.otel_names import (
    ARGUMENTS,
    CONVENTION,
    EVALUATION,
    FACTS,
    INPUT,
    MESSAGES,
    MODEL,
    OPERATION,
    OUTPUT,
    RESULT,
    SETTINGS,
    TOOL,
)
from agentopt.trace.otel_reading import from_otlp
from agentopt.trace.otlp import attributes_of
from agentopt.trace.written import raised

__all__ = ["CONVENTION", "from_otlp", "to_otlp"]

_Attributes = dict[str, Any]


def to_otlp(graph: Graph, began: float = 0.0) -> dict[str, Any]:
    """One span per node, as the JSON object of an OTLP file. ``began`` is when the trace began, in seconds since 1970."""
    names = json.dumps([[node.kind, node.name, node.span] for node in graph])
    trace = hashlib.sha256(f"{began}{names}".encode()).hexdigest()[:32]
    said: dict[int, list[dict[str, Any]]] = {}
    for place, each in enumerate(graph.feedback):
        if each.target >= 0:
            said.setdefault(each.target, []).extend(_evaluations(each, place))
    spans = [_span_of(graph, node, trace, began, said.get(node.id, [])) for node in graph]
    about = {
        "service.name": "agentopt",
        "agentopt.convention": CONVENTION,
        "agentopt.output": graph.output,
        "agentopt.functions": json.dumps({key: asdict(info) for key, info in graph.functions.items()}),
        "agentopt.feedback": json.dumps([plain(asdict(each)) for each in graph.feedback if each.target < 0]),
        "agentopt.meta": json.dumps(plain(graph.meta)),
    }
    scope = {"scope": {"name": "agentopt"}, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": attributes_of(about)}, "scopeSpans": [scope]}]}


def _span_of(graph: Graph, node: Node, trace: str, began: float, events: list[dict[str, Any]]) -> dict[str, Any]:
    start = round((began + node.started) * 1e9)
    span: dict[str, Any] = {
        "traceId": trace,
        "spanId": f"{node.id + 1:016x}",
        "name": _span_name(node),
        "kind": 3 if node.kind == "llm" else 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + round(node.seconds * 1e9)),
        "attributes": attributes_of(_own(graph, node) | _conventional(node)),
        "events": events,
    }
    if node.span >= 0:
        span["parentSpanId"] = f"{node.span + 1:016x}"
    if node.kind == "exception":
        kind, _, message = raised(node).partition(": ")
        span["status"] = {"code": 2, "message": message}
        about = {"exception.type": kind, "exception.message": message, "exception.stacktrace": str(node.meta.get("where") or "") or None}
        span["events"] = [{"timeUnixNano": span["endTimeUnixNano"], "name": "exception", "attributes": attributes_of(about)}, *events]
    return span


def _span_name(node: Node) -> str:
    return {"llm": f"chat {node.name}", "tool": f"execute_tool {node.name}"}.get(node.kind, node.name)


def _own(graph: Graph, node: Node) -> _Attributes:
    own: _Attributes = {"agentopt.node": node.id, "agentopt.kind": node.kind, "agentopt.name": node.name}
    own["agentopt.value"] = json.dumps(plain(node.value))
    if node.inputs:
        own["agentopt.inputs.nodes"] = [edge.source for edge in node.inputs]
        own["agentopt.inputs.roles"] = [edge.role for edge in node.inputs]
        own["agentopt.inputs.how"] = [edge.how for edge in node.inputs]
    if node.literals:
        own["agentopt.inputs.literals"] = json.dumps(plain(node.literals))
    if node.meta:
        own["agentopt.meta"] = json.dumps(plain(dict(node.meta)))
    if node.kind == "param":
        info = graph.params.get(node.name, ParamInfo(node.name))
        own |= {f"agentopt.param.{key}": value for key, value in asdict(info).items()}
    return own


def _conventional(node: Node) -> _Attributes:
    """What programs that know nothing of us understand."""
    named: _Attributes = {convention: node.meta.get(ours) for ours, convention in FACTS.items()}
    literals = dict(node.literals)
    if node.kind == "llm":
        said = next((literals[role] for role in MESSAGES if role in literals), None)
        named |= {OPERATION: "chat", MODEL: node.name, OUTPUT: json.dumps(_replies(node))}
        named[INPUT] = None if said is None else json.dumps(to_parts(said, "user"))
        settings: Any = node.meta.get("settings")
        if isinstance(settings, Mapping):
            named |= {SETTINGS[key]: plain(value) for key, value in cast("Mapping[str, Any]", settings).items() if key in SETTINGS}
        if node.meta.get("finish"):
            named["gen_ai.response.finish_reasons"] = [str(node.meta["finish"])]
    elif node.kind == "tool":
        named |= {OPERATION: "execute_tool", TOOL: node.name, RESULT: json.dumps(plain(node.value))}
        named[ARGUMENTS] = json.dumps(plain(literals)) if literals else None
    elif node.kind == "exception":
        named["error.type"] = raised(node).partition(": ")[0]
    return named


def _replies(node: Node) -> list[dict[str, Any]]:
    finish = str(node.meta.get("finish") or "stop")
    return [{**message, "finish_reason": finish} for message in to_parts(node.value, "assistant")]


def _evaluations(said: Feedback, place: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for name, value in said.scores.items() or [("feedback", None)]:
        about = {
            "gen_ai.evaluation.name": name,
            "gen_ai.evaluation.score.value": None if value is None else float(value),
            "gen_ai.evaluation.explanation": said.text or None,
            "agentopt.feedback": place,
        }
        events.append({"timeUnixNano": "0", "name": EVALUATION, "attributes": attributes_of(about)})
    return events
