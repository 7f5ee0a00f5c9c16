"""Agents of pydantic-ai as a workflow that ``optimize`` can improve: ``wrap(agent)``."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

from agentopt.adapters.captured import (
    Texts,
    at_home,
    described,
    identifier,
    import_framework,
    items_at_home,
    model_seen,
    one_input,
    redescribed,
    wait_at_home,
)
from agentopt.core.errors import TaskError
from agentopt.trace.calling import is_async
from agentopt.trace.clients import capture_clients
from agentopt.trace.params import Param
from agentopt.trace.recorder import CURRENT, SPAN

__all__ = ["AgentPipeline", "wrap"]


def wrap(program: Any, *, agents: Iterable[Any] = (), params: Iterable[str] | None = None) -> Any:
    """An agent, or a function that runs ``agents``, as a workflow with parameters.

    Parameters are the texts that models read: ``AGENT_instructions`` and ``AGENT_system_prompt`` (``_2`` and so on where there are
    several), ``TOOL_description``, ``TOOL_ARGUMENT``, ``AGENT_OUTPUT_FIELD`` of tools for output. ``agents`` are also those that the
    agent's tools run. ``params`` are shell patterns of the names wanted, such as ``["*_instructions"]``. Texts that functions make stay as
    they are, and so do the tools of servers. The agents themselves are never changed. An agent gives an ``AgentPipeline``, a function one
    that is called in the same way and has ``params``.

    Raises ConfigError without pydantic-ai, TaskError for two agents of one name or an agent without one.
    """
    ai = import_framework("pydantic_ai", "pydantic-ai")
    one = isinstance(program, ai.Agent)
    known = [program, *agents] if one else list(agents)
    if not known or not (one or callable(program)):
        raise TaskError("wrap() takes an Agent, or a function and agents=[...], the agents that it runs")
    cast = _Cast(ai, known, params)
    return AgentPipeline(program, cast) if one else _around(program, cast)


class AgentPipeline:
    """``await pipeline(prompt)`` is the output; ``run``, ``run_sync`` and ``run_stream_events`` are those of the agent.

    All of them work in one event loop in a thread of its own, for connections of clients belong to the loop that opened them.
    """

    def __init__(self, agent: Any, cast: _Cast) -> None:
        self.agent, self._cast = agent, cast
        self.params: Sequence[Param] = cast.params
        self.__name__ = identifier(agent.name)

    async def __call__(self, *args: Any, **row: Any) -> Any:
        """Of one value, or of a row with one field. Raises TaskError for more."""
        return (await self.run(one_input(args, row))).output

    async def run(self, user_prompt: Any = None, **options: Any) -> Any:
        return await at_home(self._run(user_prompt, options))

    def run_sync(self, user_prompt: Any = None, **options: Any) -> Any:
        """Raises RuntimeError in a running event loop."""
        return wait_at_home(self._run(user_prompt, options))

    def run_stream_events(self, user_prompt: Any = None, **options: Any) -> AsyncIterator[Any]:
        """The events of a run; the last one has its result."""
        return items_at_home(self._events(user_prompt, options))

    async def _run(self, user_prompt: Any, options: Mapping[str, Any]) -> Any:
        with self._cast.inside():
            return await self.agent.run(user_prompt, **options)

    async def _events(self, user_prompt: Any, options: Mapping[str, Any]) -> AsyncIterator[Any]:
        with self._cast.inside():
            async with self.agent.run_stream_events(user_prompt, **options) as events:
                async for event in events:
                    yield event


def _around(function: Callable[..., Any], cast: _Cast) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with cast.inside():
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def call_later(*args: Any, **kwargs: Any) -> Any:
        with cast.inside():
            return await at_home(function(*args, **kwargs))

    made: Any = call_later if is_async(function) else call
    made.params = cast.params
    return made


# --- texts -------------------------------------------------------------------------------------------------------------


class _Cast:
    """Agents that belong together, and their texts."""

    def __init__(self, ai: Any, agents: Sequence[Any], patterns: Iterable[str] | None) -> None:
        """Raises TaskError for agents that cannot be told apart."""
        self.agents: dict[str, Any] = {}
        self._texts = Texts(patterns)
        tools: dict[Any, Any] = {}
        for agent in agents:
            self._meet(ai, agent)
        self._said = {name: self._own(name, agent) for name, agent in self.agents.items()}
        for name, agent in self.agents.items():
            for definition in _output_tools(agent):
                self._add_tool(f"{name}_{definition.name}", definition, f"the output {definition.name} of the agent {agent.name}")
            for toolset in agent.toolsets:
                found: Mapping[str, Any] = toolset.tools if isinstance(toolset, ai.FunctionToolset) else {}
                tools |= {tool.function: tool.tool_def for tool in found.values()}
        for definition in tools.values():
            self._add_tool(definition.name, definition, f"the tool {definition.name}")
        self.params = self._texts.wanted()
        self._by_name = {param.name: param for param in self.params}

    def _meet(self, ai: Any, agent: Any) -> None:
        if not isinstance(agent, ai.Agent):
            raise TaskError(f"agents has {agent!r}, which is no Agent; name the agents that the function runs")
        if not agent.name:
            raise TaskError(f"{agent!r} has no name; give it one, as in Agent(..., name='support')")
        name = identifier(agent.name)
        if self.agents.setdefault(name, agent) is not agent:
            raise TaskError(f"two agents are named {agent.name!r}; give each a name of its own, or their texts cannot be told apart")

    def _own(self, name: str, agent: Any) -> dict[str, str]:
        """Parameter names by the agent's own texts."""
        found: dict[str, str] = {}
        instructions = [sourced.instruction for sourced in agent._instructions]
        for kind, texts in (("instructions", instructions), ("system_prompt", agent._system_prompts)):
            literal = [text for text in dict.fromkeys(map(_literal, texts)) if text]
            for number, text in enumerate(literal, 1):
                key = identifier(name, kind) if number == 1 else identifier(name, kind, str(number))
                self._texts.add(key, text, f"the {kind.replace('_', ' ')} of the agent {agent.name}")
                found[text] = key
        return found

    def _add_tool(self, owner: str, definition: Any, what: str) -> None:
        self._texts.add(identifier(owner, "description"), definition.description or "", f"what {what} does")
        for argument, text in described(definition.parameters_json_schema).items():
            self._texts.add(identifier(owner, argument), text, f"the argument {argument} of {what}")

    # --- of the candidate

    def text(self, name: str, otherwise: str) -> str:
        """The current value of the parameter, if it is one."""
        return self._by_name[name].value if name in self._by_name else otherwise  # type: ignore[return-value]

    def said(self, agent: str, text: str) -> str:
        """What is told in the place of one of the agent's own texts, or of several that the framework joined."""
        own = self._said[agent]
        if text in own:
            return self.text(own[text], text)
        longest_first = "|".join(re.escape(part) for part in sorted(own, key=len, reverse=True))
        return re.sub(longest_first, lambda part: self.text(own[part[0]], part[0]), text) if own else text

    def tool(self, owner: str, definition: Any) -> Any:
        """A definition as the model is told it."""
        schema = definition.parameters_json_schema
        names = {path: (identifier(owner, path), text) for path, text in described(schema).items()}
        told = {path: self.text(name, text) for path, (name, text) in names.items() if name in self._by_name}
        description = self.text(identifier(owner, "description"), definition.description or "")
        changed = redescribed(schema, told) if told else schema
        return replace(definition, description=description or definition.description, parameters_json_schema=changed)

    @contextmanager
    def inside(self) -> Generator[None]:
        """Runs of these agents that begin here read the texts of the candidate, and are recorded."""
        some = import_framework("pydantic_ai._utils", "pydantic-ai").Some
        together = import_framework("pydantic_ai.capabilities", "pydantic-ai").CombinedCapability
        with ExitStack() as stack:
            stack.enter_context(capture_clients())
            for name, agent in self.agents.items():
                variable, own = agent._override_root_capability, agent._effective_root_capability()
                token = variable.set(some(together([*own.capabilities, _hooks(self, name)])))
                stack.callback(variable.reset, token)
            yield


def _literal(text: Any) -> str:
    content = getattr(text, "content", text)
    return content if isinstance(content, str) else ""


def _output_tools(agent: Any) -> Sequence[Any]:
    toolset = agent._output_toolset
    return toolset._tool_defs if toolset else ()


# --- in the framework --------------------------------------------------------------------------------------------------


def _hooks(cast: _Cast, name: str) -> Any:
    """What the framework calls while the agent runs."""
    hooks = import_framework("pydantic_ai.capabilities", "pydantic-ai").Hooks

    async def before_model_request(ctx: Any, request: Any) -> Any:
        return _told(cast, name, request)

    return hooks(
        run=_run,
        before_model_request=before_model_request,
        model_request=_ask,
        tool_validate=_validate,
        tool_execute=_execute,
    )


def _told(cast: _Cast, name: str, request: Any) -> Any:
    """The request with the texts of the candidate in their places."""
    asked = request.model_request_parameters
    parts = asked.instruction_parts
    changed = replace(
        asked,
        instruction_parts=parts and [replace(part, content=cast.said(name, part.content)) for part in parts],
        function_tools=[cast.tool(tool.name, tool) for tool in asked.function_tools],
        output_tools=[cast.tool(f"{name}_{tool.name}", tool) for tool in asked.output_tools],
    )
    messages = [_message(cast, name, message) for message in request.messages]
    return replace(request, model_request_parameters=changed, messages=messages)


def _message(cast: _Cast, name: str, message: Any) -> Any:
    if not any(part.part_kind == "system-prompt" for part in message.parts):
        return message
    parts = [replace(part, content=cast.said(name, part.content)) if part.part_kind == "system-prompt" else part for part in message.parts]
    return replace(message, parts=parts)


async def _run(ctx: Any, *, handler: Any) -> Any:
    trace = CURRENT.get()
    if trace is None:
        return await handler()
    with trace.span("call", ctx.agent.name, {"input": ctx.prompt}) as span:
        result = await handler()
        span.output = result.output
        return result


async def _ask(ctx: Any, *, request_context: Any, handler: Any) -> Any:
    """A call of a model that no client's hook sees becomes a node of what the framework knows."""
    trace = CURRENT.get()
    if trace is None:
        return await handler(request_context)
    since, span, began = len(trace.rows), SPAN.get(), perf_counter()
    model = request_context.model.model_name
    try:
        response = await handler(request_context)
    except Exception as error:
        if not model_seen(trace, since, span):
            trace.add("llm", model, {"messages": request_context.messages}, began=began, error=error)
        raise
    if not model_seen(trace, since, span):
        meta = {"tokens_in": response.usage.input_tokens, "tokens_out": response.usage.output_tokens}
        output = response.text or [{"name": part.tool_name, "arguments": part.args} for part in response.tool_calls]
        trace.add("llm", model, {"messages": request_context.messages}, output, began=began, meta=meta)
    return response


async def _validate(ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
    """Arguments that do not fit are an exception of the tool."""
    trace = CURRENT.get()
    try:
        return await handler(args)
    except Exception as error:
        if trace is not None:
            trace.add("tool", call.tool_name, args if isinstance(args, dict) else {"arguments": args}, error=error)
        raise


async def _execute(ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
    trace = CURRENT.get()
    if trace is None or tool_def.kind == "output":
        return await handler(args)
    with trace.span("tool", call.tool_name, args) as span:
        span.output = await handler(args)
        return span.output
