"""LangGraph graphs: prompts and tool descriptions as parameters of a graph that stays as it is.

A graph does not know the prompts of its nodes, so they are looked for in what the nodes hold: closures, module variables, chains. Current
values take their place where every text has to pass: when a template is formatted and when a chat model is asked. Neither the graph nor its
objects are changed, and candidates that are tried at once do not meet.
"""

# pyright: standard
from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any, cast

from agentopt.adapters.graph_texts import Texts, find
from agentopt.adapters.wrapped import Params, framework, iterated, iterated_async
from agentopt.core.errors import TaskError
from agentopt.trace.clients import capture_clients
from agentopt.trace.context import CURRENT, SPAN
from agentopt.trace.params import Param
from agentopt.trace.recorder import Span
from agentopt.trace.threads import carried

__all__ = ["Wrapped", "wrap"]

_TEXTS: ContextVar[Texts | None] = ContextVar("agentopt_langgraph_texts", default=None)
_HANDLER: ContextVar[Any] = ContextVar("agentopt_langgraph_handler", default=None)


def wrap(
    graph: Any,
    *,
    params: Iterable[str] = ("*",),
    texts: Mapping[str, str] | None = None,
    context: Mapping[str, Any] | None = None,
    configurable: Mapping[str, Any] | None = None,
) -> Wrapped:
    """A compiled graph for ``optimize`` whose prompts and descriptions of tools are parameters.

    ``params`` are shell patterns of the names wanted, such as ``["*_prompt"]``. ``texts`` are prompts by name that nobody can find:
    messages or templates that a node makes of a plain text. ``context`` and ``configurable`` are given to every run, and their texts
    are parameters too.
    Raises ConfigError without LangGraph, TaskError for what is no graph, two parameters of one name, and patterns that match nothing.
    """
    pregel = framework("langgraph.pregel", "langgraph").Pregel
    if not isinstance(graph, pregel):
        raise TaskError(f"wrap() was given a {type(graph).__name__}; give a compiled graph, as builder.compile() makes it")
    return Wrapped(graph, Params(params), texts or {}, (context or {}, configurable or {}))


class Wrapped:
    """Called like ``graph.invoke``, or with the fields of the state by name; with the current values of ``params`` in it."""

    def __init__(self, graph: Any, params: Params, texts: Mapping[str, str], given: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        self.graph = graph
        self.__name__ = graph.get_name()
        self._texts = find(graph, params, texts)
        self._given = [{name: _given(name, value, params) for name, value in each.items()} for each in given]
        self.params: dict[str, Param] = params.check("wrap")
        # a node that is answered from a cache of nodes would have the texts of another candidate
        self._fresh = graph.copy({"cache": None}) if graph.cache is not None else graph

    def __call__(self, state: Any = None, /, **fields: Any) -> Any:
        return self.invoke(fields if state is None else state)

    def invoke(self, state: Any, config: Any = None, **kwargs: Any) -> Any:
        """As ``graph.invoke``. A graph with a checkpointer starts a thread of its own, unless ``config`` names one."""
        with self.inside():
            return self._fresh.invoke(state, *self._called(config, kwargs), **kwargs)

    async def ainvoke(self, state: Any = None, config: Any = None, **kwargs: Any) -> Any:
        """As ``graph.ainvoke``; without ``state`` the keyword arguments are its fields, as in rows of ``optimize``."""
        with self.inside():
            if state is None:
                return await self._fresh.ainvoke(kwargs, *self._called(config, context := {}), **context)
            return await self._fresh.ainvoke(state, *self._called(config, kwargs), **kwargs)

    def stream(self, state: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        """As ``graph.stream``."""
        return iterated(self.inside, lambda: self._fresh.stream(state, *self._called(config, kwargs), **kwargs))

    def astream(self, state: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        """As ``graph.astream``."""
        return iterated_async(self.inside, lambda: self._fresh.astream(state, *self._called(config, kwargs), **kwargs))

    def _called(self, config: Any, kwargs: dict[str, Any]) -> tuple[Any]:
        """The config; the context is put among ``kwargs``."""
        context, configurable = ({name: _now(value) for name, value in each.items()} for each in self._given)
        if context and isinstance(kwargs.get("context"), Mapping | None):
            kwargs["context"] = context | dict(kwargs.get("context") or {})
        if self.graph.checkpointer:
            configurable["thread_id"] = uuid.uuid4().hex
        if not configurable:
            return (config,)
        config = dict(config or {})
        return ({**config, "configurable": configurable | dict(config.get("configurable") or {})},)

    @contextmanager
    def inside(self) -> Generator[None]:
        """Inside, the graph itself has the current values, however it is called, and is recorded if anybody records.

        Caches of replies are off: a reply from one would be an old score for nothing.
        """
        with ExitStack() as stack:
            stack.enter_context(capture_clients())
            stack.enter_context(carried())
            stack.enter_context(_HOOKS.held())
            before = SPAN.get()
            tokens = _TEXTS.set(self._texts), _HANDLER.set(_handler_class()())
            try:
                yield
            finally:
                _HANDLER.reset(tokens[1])
                _TEXTS.reset(tokens[0])
                SPAN.set(before)


def _given(name: str, value: Any, params: Params) -> Any:
    if not isinstance(value, str):
        return value
    param = params.add(name, value, f"the text {name} that the graph is given")
    return value if param is None else param


def _now(value: Any) -> Any:
    return value.value if isinstance(value, Param) else value


# --- hooks ---------------------------------------------------------------------------------------------------------------


class _Hooks:
    """Methods of LangChain's classes that put texts in place, there while anybody is inside of a wrapped graph."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: list[tuple[Any, str, Any]] = []

    @contextmanager
    def held(self) -> Generator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._place()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    for owner, name, original in self._before:
                        setattr(owner, name, original)

    def _place(self) -> None:
        _registered()
        chat = framework("langchain_core.language_models.chat_models", "langgraph").BaseChatModel
        template = framework("langchain_core.prompts", "langgraph").PromptTemplate
        hooks = {"generate": _generate, "agenerate": _agenerate, "stream": _stream, "astream": _astream}
        self._before = [(chat, name, vars(chat)[name]) for name in hooks] + [(template, "format", template.format)]
        for owner, name, original in self._before:
            setattr(owner, name, functools.wraps(original)(hooks.get(name, _format)(original)))


_HOOKS = _Hooks()


def _format(original: Callable[..., Any]) -> Callable[..., Any]:
    def format(self: Any, **kwargs: Any) -> Any:
        texts = _TEXTS.get()
        return original(self if texts is None else texts.template(self), **kwargs)

    return format


def _generate(original: Callable[..., Any]) -> Callable[..., Any]:
    def generate(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        texts = _TEXTS.get()
        if texts is None:
            return original(self, messages, *args, **kwargs)
        asked = _Asked(self, [texts.messages(each) for each in messages], texts.asked(kwargs))
        with asked.watched():
            result = original(_uncached(self), asked.messages, *args, **asked.settings)
        asked.answered([generation[0].message for generation in result.generations if generation])
        return result

    return generate


def _agenerate(original: Callable[..., Any]) -> Callable[..., Any]:
    async def agenerate(self: Any, messages: Any, *args: Any, **kwargs: Any) -> Any:
        texts = _TEXTS.get()
        if texts is None:
            return await original(self, messages, *args, **kwargs)
        asked = _Asked(self, [texts.messages(each) for each in messages], texts.asked(kwargs))
        with asked.watched():
            result = await original(_uncached(self), asked.messages, *args, **asked.settings)
        asked.answered([generation[0].message for generation in result.generations if generation])
        return result

    return agenerate


def _stream(original: Callable[..., Any]) -> Callable[..., Any]:
    def stream(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        texts = _TEXTS.get()
        if texts is None or not self._should_stream(async_api=False, **{**kwargs, "stream": True}):
            yield from original(self, input, *args, **kwargs)  # which asks ``generate``, or is not ours
            return
        asked = _Asked(self, [texts.messages(self._convert_input(input).to_messages())], texts.asked(kwargs))
        pieces = []
        with asked.watched():
            for piece in original(self, asked.messages[0], *args, **asked.settings):
                pieces.append(piece)
                yield piece
        asked.answered([functools.reduce(lambda one, other: one + other, pieces)] if pieces else [])

    return stream


def _astream(original: Callable[..., Any]) -> Callable[..., Any]:
    async def astream(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        texts = _TEXTS.get()
        if texts is None or not self._should_stream(async_api=True, **{**kwargs, "stream": True}):
            async for piece in original(self, input, *args, **kwargs):
                yield piece
            return
        asked = _Asked(self, [texts.messages(self._convert_input(input).to_messages())], texts.asked(kwargs))
        pieces = []
        with asked.watched():
            async for piece in original(self, asked.messages[0], *args, **asked.settings):
                pieces.append(piece)
                yield piece
        asked.answered([functools.reduce(lambda one, other: one + other, pieces)] if pieces else [])

    return astream


def _uncached(model: Any) -> Any:
    get_llm_cache = framework("langchain_core.globals", "langgraph").get_llm_cache
    cached = model.cache or (model.cache is None and get_llm_cache() is not None)
    return model.model_copy(update={"cache": False}) if cached else model


class _Asked:
    """A chat model that is asked: a node of the trace, unless its client's hook makes one."""

    def __init__(self, model: Any, messages: list[Any], settings: dict[str, Any]) -> None:
        self.messages, self.settings = messages, settings
        self._name = str(getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__)
        self._trace, self._span = CURRENT.get(), SPAN.get()
        self._since = len(self._trace.rows) if self._trace else 0
        self._began = perf_counter()

    @contextmanager
    def watched(self) -> Generator[None]:
        try:
            yield
        except Exception as error:
            self._add(None, error=error)
            raise

    def answered(self, replies: list[Any]) -> None:
        used: Any = next((reply.usage_metadata for reply in replies if getattr(reply, "usage_metadata", None)), None)
        meta = {"tokens_in": used["input_tokens"], "tokens_out": used["output_tokens"]} if used else {}
        shown = [list(reply.tool_calls) or reply.content for reply in replies]
        self._add(shown[0] if len(shown) == 1 else shown, meta=meta)

    def _add(self, value: Any, **more: Any) -> None:
        if self._trace is None or self._seen():
            return
        shown = [{"role": message.type, "content": message.content} for message in self.messages[0]] if self.messages else []
        self._trace.add("llm", self._name, {"messages": shown}, value, began=self._began, **more)

    def _seen(self) -> bool:
        rows = cast("Any", self._trace).rows[self._since :]
        return any(row[1] in ("llm", "exception") and row[3] == self._span and "provider" in (row[9] or ()) for row in rows)


# --- the trace -----------------------------------------------------------------------------------------------------------


@functools.cache
def _registered() -> None:
    """LangChain asks for handlers in this variable wherever something is called."""
    framework("langchain_core.tracers.context", "langgraph").register_configure_hook(_HANDLER, True)


class _Nodes:
    """Graphs, their nodes and tools as nodes of the trace that is recorded where they are called."""

    run_inline = True

    def __init__(self) -> None:
        self._open: dict[Any, tuple[Span, int, str]] = {}
        self._parents: dict[Any, Any] = {}
        """Of all runs that are open, also those that are no nodes."""

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
        self._parents[run_id] = parent_run_id
        name = kwargs.get("name") or "chain"
        of_node = name == (kwargs.get("metadata") or {}).get("langgraph_node")
        inner = self._open.get(parent_run_id, (None, -1, ""))[2] == name
        if parent_run_id is None or name == "LangGraph" or (of_node and not inner):
            self._begin(run_id, "call", name, inputs)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
        self._parents[run_id] = parent_run_id
        inputs = kwargs.get("inputs")
        self._begin(run_id, "tool", kwargs.get("name") or (serialized or {}).get("name", "tool"), input_str if inputs is None else inputs)

    def _begin(self, run_id: Any, kind: Any, name: str, inputs: Any) -> None:
        trace = CURRENT.get()
        if trace is None:
            return
        named = {str(key): value for key, value in inputs.items()} if isinstance(inputs, Mapping) else {"input": inputs}
        around = self._parents[run_id]
        while around is not None and around not in self._open:
            around = self._parents.get(around)
        span = trace.begin(kind, name, named, parent=self._open[around][0] if around is not None else None)
        self._open[run_id] = (span, SPAN.get(), name)
        SPAN.set(span.number)

    def _end(self, run_id: Any, output: Any, error: BaseException | None = None) -> None:
        self._parents.pop(run_id, None)
        span, before, _ = self._open.pop(run_id, (None, -1, ""))
        if span is None:
            return
        if SPAN.get() == span.number:  # an end may be told in another task than the begin
            SPAN.set(before)
        span.end(output, error=None if _is_flow(error) else error)

    def on_chain_end(self, outputs: Any, *, run_id: Any, **kwargs: Any) -> None:
        self._end(run_id, outputs)

    def on_chain_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        self._end(run_id, None, error)

    def on_tool_end(self, output: Any, *, run_id: Any, **kwargs: Any) -> None:
        self._end(run_id, output)

    def on_tool_error(self, error: BaseException, *, run_id: Any, **kwargs: Any) -> None:
        self._end(run_id, None, error)


def _is_flow(error: BaseException | None) -> bool:
    """Whether it is how LangGraph interrupts a run, or goes on elsewhere."""
    return isinstance(error, framework("langgraph.errors", "langgraph").GraphBubbleUp)


@functools.cache
def _handler_class() -> type[Any]:
    base = framework("langchain_core.callbacks", "langgraph").BaseCallbackHandler
    return type("AgentoptHandler", (_Nodes, base), {})
