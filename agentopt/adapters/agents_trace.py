"""What the OpenAI Agents SDK says of a run, as nodes: from its own spans, which go nowhere else meanwhile."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from contextvars import ContextVar
from time import perf_counter
from typing import Any, cast

from agentopt.adapters.captured import StepFailed, import_framework, model_seen
from agentopt.trace.clients import capture_clients
from agentopt.trace.graph import Kind
from agentopt.trace.recorder import CURRENT, SPAN, Span, Trace

__all__ = ["Tracing", "traced_run", "traced_stream", "watched"]

_FRESH: ContextVar[list[bool] | None] = ContextVar("agentopt_agents_fresh", default=None)
"""Not empty until the first agent of a run begins."""
Who = tuple[Any, Callable[[Any], Any]]
"""An agent, and what makes the copy that is run. The copy is made inside of the run's node, where its texts are read."""


async def traced_run(run: Callable[..., Any], who: Who, input: Any, options: Mapping[str, Any]) -> Any:
    """A run is a call of the agent that it starts with."""
    trace, (agent, made) = CURRENT.get(), who
    if trace is None:
        return await run(made(agent), input, **options)
    _FRESH.set([True])
    with trace.span("call", agent.name, {"input": input}) as span:
        result = await run(made(agent), input, **_seen(options))
        span.output = result.final_output
        return result


def traced_stream(run: Callable[..., Any], who: Who, input: Any, options: Mapping[str, Any]) -> Any:
    """The run goes on in a task of its own, and its node ends with that."""
    trace, (agent, made) = CURRENT.get(), who
    span = trace.begin("call", agent.name, {"input": input}) if trace else None
    _FRESH.set([True])
    with span.inside() if span else nullcontext():
        result = run(made(agent), input, **(_seen(options) if span else options))
    held = ExitStack()
    held.enter_context(capture_clients())

    def over(task: Any) -> None:
        held.close()
        if span:
            error = StepFailed("cancelled") if task.cancelled() else task.exception()
            span.end(error=error) if error else span.end(result.final_output)

    result.run_loop_task.add_done_callback(over)
    return result


def _seen(options: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever the user says of tracing: it is the user's own, and what is recorded here does not leave."""
    run_config: Any = import_framework("agents", "openai-agents").RunConfig
    config: Any = options.get("run_config")
    told = {"tracing_disabled": False, "trace_include_sensitive_data": True}
    if isinstance(config, run_config):
        return {**options, "run_config": dataclasses.replace(config, **told)}
    return {**options, "run_config": run_config(**{**(config or {}), **told})}


class Tracing:
    """Stands before the SDK's trace provider. Spans of wrapped runs go to the record, if there is one, and nowhere else."""

    def __init__(self, users: Any, ours: Callable[[], bool]) -> None:
        """``ours``: whether a wrapped run is under way here."""
        self._users, self._ours = users, ours
        self._own: Any = import_framework("agents.tracing.provider", "openai-agents").DefaultTraceProvider()
        self._own.set_disabled(False)
        self._own.register_processor(_Spans())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._users, name)

    def create_trace(self, *args: Any, **kwargs: Any) -> Any:
        return self._provider().create_trace(*args, **kwargs)

    def create_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._provider().create_span(*args, **kwargs)

    def _provider(self) -> Any:
        return self._own if self._ours() else self._users


class _Open:
    """One of the SDK's spans under way, and its node; a model's call is a node only if no client's hook saw it."""

    def __init__(self, trace: Trace, node: Span | None) -> None:
        self.trace, self.node = trace, node
        self.parent, self.since, self.began = SPAN.get(), len(trace.rows), perf_counter()


_KINDS: Mapping[str, Kind] = {"agent": "call", "function": "tool", "handoff": "call", "guardrail": "call"}
_MODELS = ("generation", "response")


class _Spans:
    """A trace processor of the SDK. It is told of spans in the thread or task that they are in."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def on_trace_start(self, trace: Any) -> None:
        """Runs are nodes already."""

    on_trace_end = on_trace_start

    def on_span_start(self, span: Any) -> None:
        trace, data = CURRENT.get(), span.span_data
        if trace is None or data.type not in (*_KINDS, *_MODELS) or (data.type == "agent" and _is_first()):
            return
        node = trace.begin(_KINDS[data.type], _name(data)) if data.type in _KINDS else None
        self._open[span.span_id] = _Open(trace, node)
        if node:
            SPAN.set(node.number)

    def on_span_end(self, span: Any) -> None:
        held = self._open.pop(span.span_id, None)
        if held is None:
            return
        data, error = span.span_data, _failure(span, held.node.number if held.node else -1)
        if held.node is None:
            if not model_seen(held.trace, held.since, held.parent):
                _add_model(held, data, error)
            return
        if SPAN.get() == held.node.number:
            SPAN.set(held.parent)
        if data.type == "function":
            held.node.given(_arguments(data.input))
        held.node.end(_output(data), error=error)

    def shutdown(self) -> None:
        """Nothing is kept here."""

    force_flush = shutdown


def _is_first() -> bool:
    """Whether a run has begun here of whose agents none has: its node is that of the first."""
    fresh = _FRESH.get()
    return bool(fresh) and fresh.pop()


def _name(data: Any) -> str:
    return f"handoff from {data.from_agent}" if data.type == "handoff" else data.name


def _output(data: Any) -> Any:
    if data.type == "function":
        return data.output
    return {"handoff": lambda: data.to_agent, "guardrail": lambda: data.triggered}.get(data.type, lambda: None)()


def _failure(span: Any, number: int) -> BaseException | None:
    """The exception of a tool, or what the SDK says instead of one."""
    raised = _RAISED.pop(number, None)
    return raised or (StepFailed(span.error["message"]) if span.error else None)


_RAISED: dict[int, BaseException] = {}
"""By the number of a tool's node, until it ends: the SDK tells models and spans that something failed, and not what."""


def watched(invoke: Callable[..., Any]) -> Callable[..., Any]:
    """A tool's function whose exception is that of its node."""

    @functools.wraps(invoke)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await invoke(*args, **kwargs)
        except Exception as error:
            if CURRENT.get() is not None:
                _RAISED[SPAN.get()] = error
            raise

    return call


def _arguments(given: str | None) -> dict[str, Any]:
    try:
        read = json.loads(given or "{}")
    except ValueError:
        read = given
    return cast("dict[str, Any]", read) if isinstance(read, dict) else {"input": read}


def _add_model(held: _Open, data: Any, error: BaseException | None) -> None:
    """What the SDK itself knows of a call that went through no client that is hooked."""
    reply = getattr(data, "response", None)
    usage = cast("dict[str, int]", data.usage or {})
    model = getattr(data, "model", None) or getattr(reply, "model", None) or "model"
    output = getattr(data, "output", None) if reply is None else reply.output
    meta = {"tokens_in": usage.get("input_tokens", 0), "tokens_out": usage.get("output_tokens", 0)}
    held.trace.add("llm", str(model), {"messages": data.input}, output, began=held.began, meta=meta, error=error)
