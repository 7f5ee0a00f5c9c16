"""Spans of any program as a trace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from agentopt.core.errors import UserError
from agentopt.trace.graph import KINDS, Edge, Feedback, FunctionInfo, Graph, Kind, Node, ParamInfo
from agentopt.trace.jsonl import read_info
from agentopt.trace.messages import from_parts, texts_in
from agentopt.trace.otel_names import (
    ARGUMENTS,
    EVALUATION,
    FACTS,
    FORMER,
    INPUT,
    KINDS_OF,
    MODEL,
    OPERATION,
    OUTPUT,
    RESULT,
    SETTINGS,
    TOOL,
)
from agentopt.trace.otlp import Span, SpanEvent, read_spans
from agentopt.trace.texts import Texts

__all__ = ["from_otlp", "graph_of_spans"]


def from_otlp(source: bytes | str | os.PathLike[str], trace: str = "") -> Graph:
    """The graph of the spans in an OTLP JSON file, or of its bytes. ``trace`` is the beginning of one's id, if there are several.

    Where spans are not ours, data flow is not known: what gives a text that stands in what another was given has an ``inferred`` edge
    to it. Raises UserError, in one sentence.
    """
    if isinstance(source, bytes):
        return _one_trace(read_spans(source), trace)
    try:
        return _one_trace(read_spans(Path(source).read_bytes()), trace)
    except OSError as error:
        raise UserError(f"{os.fspath(source)}: cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{os.fspath(source)}: {error}") from None


def _one_trace(spans: Sequence[Span], trace: str) -> Graph:
    ids = list(dict.fromkeys(span.trace for span in spans))
    chosen = [each for each in ids if each.startswith(trace.lower())]
    if len(chosen) != 1:
        some = ", ".join((chosen or ids)[:5])
        what = f"it holds {len(ids)} traces, and {len(chosen)} of them begin with {trace!r}" if trace else f"it holds {len(ids)} traces"
        raise UserError(f"{what}; name one of {some}")
    try:
        return graph_of_spans([span for span in spans if span.trace == chosen[0]])
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise UserError(f"an attribute of a span in it has another form than its name promises ({why}); export the spans anew") from None


def graph_of_spans(spans: Iterable[Span]) -> Graph:
    """The graph of one trace's spans, in any order; of two with one id the first counts."""
    known = {span.id: span for span in reversed(list(spans))}
    ordered = sorted(known.values(), key=lambda span: (span.attributes.get("agentopt.node", 0), span.began, -span.ended))
    graph, reader = Graph(), _Reader(ordered)
    for number, span in enumerate(ordered):
        graph.add(reader.node(number, span))
        if (info := _param(span)) is not None:
            graph.params[info.name] = info
    reader.finish(graph)
    return graph


class _Reader:
    """What is known of all spans while they become nodes."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        self.numbers = {span.id: number for number, span in enumerate(spans)}
        self.parents = [self._parent(number) for number in range(len(spans))]
        self.children: dict[int, list[int]] = {}
        for number, parent in enumerate(self.parents):
            self.children.setdefault(parent, []).append(number)
        self.began = min(span.began for span in spans)
        self.texts = Texts()
        self.given: list[tuple[int, int, str]] = []
        """(when it ended, node, text) of what came out so far."""

    def _parent(self, number: int) -> int:
        """-1 for one whose parent is missing or began later, which no parent does."""
        parent = self.numbers.get(self.spans[number].parent, -1)
        return parent if parent < number else -1

    def node(self, number: int, span: Span) -> Node:
        about = span.attributes
        kind = _kind(span)
        literals = _literals(span)
        if "agentopt.kind" in about:
            inputs = _known_inputs(about, len(self.spans))
        else:
            inputs = tuple(Edge(source, role, "inferred") for source, role in self._guesses(number, literals))
            inputs += tuple(Edge(child, "", "contains") for child in self.children.get(number, ()))
        value = _value(span, kind)
        self.given += [(span.ended, number, text) for text in texts_in(value)]
        started, seconds = (span.began - self.began) / 1e9, (span.ended - span.began) / 1e9
        return Node(0, kind, _name(span, kind), value, inputs, literals, self.parents[number], started, seconds, _meta(span, kind))

    def _guesses(self, number: int, literals: Iterable[tuple[str, Any]]) -> list[tuple[int, str]]:
        """What had ended before this began and gave a text that stands in what this was given."""
        began = self.spans[number].began
        for _, source, text in (each for each in self.given if each[0] <= began):
            self.texts.add(source, text)
        self.given = [each for each in self.given if each[0] > began]
        found = [(source, role) for role, value in literals for text in texts_in(value) for source in self.texts.find(text)]
        return list(dict.fromkeys(found))

    def finish(self, graph: Graph) -> None:
        """What is said of the whole."""
        about = self.spans[0].resource
        tops = self.children[-1]
        output: Any = about.get("agentopt.output", tops[0] if len(tops) == 1 else -1)
        graph.output = output if isinstance(output, int) and -1 <= output < len(graph) else -1
        graph.functions = {name: read_info(FunctionInfo, info) for name, info in _parsed(about, "agentopt.functions", dict).items()}
        graph.meta = _parsed(about, "agentopt.meta", dict)
        said: dict[Any, Feedback] = {}
        for number, span in enumerate(self.spans):
            for place, event in enumerate(span.events):
                if event.name == EVALUATION:
                    _add_remark(said, number, place, event)
        graph.feedback = [said[key] for key in sorted(said)]
        for each in _parsed(about, "agentopt.feedback", list):
            scores = {str(name): float(score) for name, score in each["scores"].items()}
            graph.feedback.append(Feedback(-1, str(each["text"]), scores))


def _kind(span: Span) -> Kind:
    own = span.attributes.get("agentopt.kind")
    if own in KINDS:
        return own
    if span.failed:
        return "exception"
    operation = span.attributes.get(OPERATION)
    return KINDS_OF.get(str(operation), "call")


def _name(span: Span, kind: Kind) -> str:
    about = span.attributes
    key = {"llm": MODEL, "tool": TOOL}.get(kind, "gen_ai.agent.name")
    return str(about.get("agentopt.name", about.get(key) or span.name))


def _known_inputs(about: Mapping[str, Any], count: int) -> tuple[Edge, ...]:
    nodes, roles, hows = (about.get(f"agentopt.inputs.{key}", []) for key in ("nodes", "roles", "how"))
    return tuple(Edge(node, str(role), how) for node, role, how in zip(nodes, roles, hows, strict=False) if 0 <= node < count)


def _literals(span: Span) -> tuple[tuple[str, Any], ...]:
    about = _renamed(span.attributes)
    if "agentopt.kind" in about:
        return tuple((str(role), value) for role, value in _parsed(about, "agentopt.inputs.literals", list))
    found: list[tuple[str, Any]] = []
    if INPUT in about:
        found.append(("messages", from_parts(about[INPUT])))
    if "gen_ai.system_instructions" in about:
        found.append(("instructions", _loose(about["gen_ai.system_instructions"])))
    if ARGUMENTS in about:
        arguments = _loose(about[ARGUMENTS])
        found += cast("dict[str, Any]", arguments).items() if isinstance(arguments, dict) else [("arguments", arguments)]
    return tuple(found)


def _value(span: Span, kind: Kind) -> Any:
    about = _renamed(span.attributes)
    if "agentopt.value" in about:
        return _loose(about["agentopt.value"])
    if kind == "exception":
        return ": ".join(filter(None, [str(about.get("error.type", "")), span.message])) or "error"
    if RESULT in about:
        return _loose(about[RESULT])
    messages: Any = from_parts(about.get(OUTPUT))
    if not isinstance(messages, list) or len(cast("list[Any]", messages)) != 1:
        return cast("Any", messages)
    said = cast("list[Any]", messages)
    return cast("dict[str, Any]", said[0]).get("content") if isinstance(said[0], dict) else said[0]


def _meta(span: Span, kind: Kind) -> dict[str, Any]:
    about = _renamed(span.attributes)
    if "agentopt.kind" in about:
        return _parsed(about, "agentopt.meta", dict)
    meta = {ours: about[convention] for ours, convention in FACTS.items() if convention in about}
    if settings := {ours: about[convention] for ours, convention in SETTINGS.items() if convention in about}:
        meta["settings"] = settings
    if finish := about.get("gen_ai.response.finish_reasons"):
        meta["finish"] = finish[0] if isinstance(finish, list) else finish
    if kind == "exception":
        nothing: Mapping[str, Any] = {}
        event = next((event.attributes for event in span.events if event.name == "exception"), nothing)
        meta["error"] = str(event.get("exception.type") or about.get("error.type") or "error")
        meta["message"] = str(event.get("exception.message") or span.message)
        meta["where"] = str(event.get("exception.stacktrace", ""))
    return meta


def _param(span: Span) -> ParamInfo | None:
    about: dict[str, Any] = {
        key.removeprefix("agentopt.param."): value for key, value in span.attributes.items() if key.startswith("agentopt.param.")
    }
    if "name" not in about:
        return None
    texts = {key: str(about.get(key, "")) for key in ("name", "kind", "description", "constraint")}
    return ParamInfo(**texts, trainable=bool(about.get("trainable", True)))


def _add_remark(said: dict[Any, Feedback], number: int, place: int, event: SpanEvent) -> None:
    about = event.attributes
    key = (about["agentopt.feedback"],) if "agentopt.feedback" in about else (1 << 30, number, place)
    before = said.get(key, Feedback(number, str(about.get("gen_ai.evaluation.explanation", ""))))
    score = about.get("gen_ai.evaluation.score.value")
    scores = {} if score is None else {str(about.get("gen_ai.evaluation.name", "score")): float(score)}
    said[key] = Feedback(number, before.text, {**before.scores, **scores})


def _renamed(about: Mapping[str, Any]) -> Mapping[str, Any]:
    former = {FORMER[key]: value for key, value in about.items() if key in FORMER}
    return {**former, **about} if former else about


def _parsed(about: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    """JSON in an attribute; empty if it is not there or of another kind."""
    found = _loose(about.get(key))
    return found if isinstance(found, kind) else kind()


def _loose(value: Any) -> Any:
    """JSON if it is a text that is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
