"""A processor for the OpenTelemetry SDK: what a program's own instrumentation reports becomes traces, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from agentopt.core.errors import MissingExtra
from agentopt.trace.graph import Graph
from agentopt.trace.otel_reading import graph_of_spans
from agentopt.trace.otlp import Span, SpanEvent

__all__ = ["SpanTraces", "span_traces"]

_KEPT = 1000


class SpanTraces:
    """Spans that have ended, by trace: of the last ``kept`` traces, for a program may go on for ever."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._spans: dict[str, deque[Span]] = {}
        self._kept = kept

    def graph(self, trace: str = "") -> Graph:
        """The graph of a trace, by default the newest; with what has ended so far. Raises KeyError."""
        if not self._spans:
            raise KeyError("no span has ended yet")
        return graph_of_spans(list(self._spans[trace or list(self._spans)[-1]]))

    @property
    def traces(self) -> tuple[str, ...]:
        """Ids, in the order in which a span of each ended first."""
        return tuple(self._spans)

    def add(self, span: Any) -> None:
        """A ``ReadableSpan`` of the SDK."""
        context = span.get_span_context()
        trace = f"{context.trace_id:032x}"
        events = [SpanEvent(event.name, _plain(event.attributes)) for event in span.events]
        self._spans.setdefault(trace, deque()).append(
            Span(
                trace,
                f"{context.span_id:016x}",
                f"{span.parent.span_id:016x}" if span.parent else "",
                span.name,
                span.start_time or 0,
                max(span.start_time or 0, span.end_time or 0),
                _plain(span.attributes),
                events,
                span.status.status_code.name == "ERROR",
                span.status.description or "",
                _plain(span.resource.attributes),
            )
        )
        while len(self._spans) > self._kept:
            self._spans.pop(next(iter(self._spans)), None)


def span_traces(kept: int = _KEPT) -> tuple[Any, SpanTraces]:
    """A ``SpanProcessor`` for ``TracerProvider.add_span_processor``, and what it fills. Raises MissingExtra without the SDK."""
    try:
        sdk: Any = import_module("opentelemetry.sdk.trace")
    except ImportError:
        raise MissingExtra("spans of OpenTelemetry need its SDK; install it with: pip install 'agentopt[otel]'") from None
    traces = SpanTraces(kept)

    def on_end(processor: Any, span: Any) -> None:
        traces.add(span)

    return type("SpanTraceProcessor", (sdk.SpanProcessor,), {"on_end": on_end})(), traces


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: [*value] if isinstance(value, tuple) else value for key, value in (attributes or {}).items()}
