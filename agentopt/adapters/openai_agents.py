"""Agents of the OpenAI Agents SDK as a workflow that ``optimize`` can improve: ``wrap(agent)``."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from agentopt.adapters.agents_trace import Tracing, traced_run, traced_stream, watched
from agentopt.adapters.captured import (
    Texts,
    at_home,
    begin_at_home,
    described,
    identifier,
    import_framework,
    items_at_home,
    one_input,
    redescribed,
    wait_at_home,
)
from agentopt.core.errors import TaskError
from agentopt.trace.calling import is_async
from agentopt.trace.clients import capture_clients
from agentopt.trace.params import Param

__all__ = ["AgentsPipeline", "wrap"]

_CASTS: ContextVar[_Cast | None] = ContextVar("agentopt_agents_cast", default=None)
"""Whose agents take the places of the user's in runs that begin here."""
_INSTALLING = threading.Lock()


def wrap(program: Any, *, agents: Iterable[Any] = (), params: Iterable[str] | None = None) -> Any:
    """An agent, with those that it reaches by handoffs and as tools, or a function that runs ``agents``, as a workflow with parameters.

    Parameters are the texts that models read: ``AGENT_instructions``, ``AGENT_handoff``, ``AGENT_output_FIELD``, ``TOOL_description``,
    ``TOOL_ARGUMENT``. ``params`` are shell patterns of the names wanted, such as ``["*_instructions"]``. Instructions that are functions
    stay as they are. The agents themselves are never changed: each run has copies of its own. An agent gives an ``AgentsPipeline``, a
    function one that is called in the same way and has ``params``.

    Raises ConfigError without the SDK, TaskError for two agents of one name.
    """
    sdk = import_framework("agents", "openai-agents")
    roots = [program] if isinstance(program, sdk.Agent) else list(agents)
    if not roots or (not callable(program) and roots != [program]):
        raise TaskError("wrap() takes an Agent, or a function and agents=[...], the agents that it runs")
    if wrong := [root for root in roots if not isinstance(root, sdk.Agent)]:
        raise TaskError(f"agents has {wrong[0]!r}, which is no Agent; name the agents that the function runs")
    cast = _Cast(sdk, roots, params)
    _install()
    return AgentsPipeline(program, cast) if roots == [program] else _around(program, cast)


class AgentsPipeline:
    """``await pipeline(input)`` is the final output; ``run``, ``run_sync`` and ``run_streamed`` are those of ``Runner``, without the agent.

    All of them work in one event loop in a thread of its own, for connections of clients belong to the loop that opened them.
    """

    def __init__(self, agent: Any, cast: _Cast) -> None:
        self.agent, self._cast = agent, cast
        self.params: Sequence[Param] = cast.params
        self.__name__ = identifier(agent.name)

    async def __call__(self, *args: Any, **row: Any) -> Any:
        """Of one value, or of a row with one field. Raises TaskError for more."""
        return (await self.run(one_input(args, row))).final_output

    async def run(self, input: Any, **options: Any) -> Any:
        return await at_home(self._run(input, options))

    def run_sync(self, input: Any, **options: Any) -> Any:
        """Raises RuntimeError in a running event loop."""
        return wait_at_home(self._run(input, options))

    def run_streamed(self, input: Any, **options: Any) -> Any:
        with self._cast.inside():
            return _Streamed(begin_at_home(lambda: self._cast.sdk.Runner.run_streamed(self.agent, input, **options)))

    async def _run(self, input: Any, options: Mapping[str, Any]) -> Any:
        with self._cast.inside():
            return await self._cast.sdk.Runner.run(self.agent, input, **options)


class _Streamed:
    """The SDK's ``RunResultStreaming``, whose run is in another loop than who reads it."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)

    def stream_events(self) -> AsyncIterator[Any]:
        return items_at_home(self._result.stream_events())

    def cancel(self, *args: Any, **kwargs: Any) -> None:
        begin_at_home(lambda: self._result.cancel(*args, **kwargs))


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


# --- agents and their copies -------------------------------------------------------------------------------------------


class _Cast:
    """Agents that belong together, and their texts."""

    def __init__(self, sdk: Any, roots: Iterable[Any], patterns: Iterable[str] | None) -> None:
        self.sdk = sdk
        self.agents: dict[int, Any] = {}
        self.handed: set[int] = set()
        for root in roots:
            self._meet(root)
        texts = Texts(patterns)
        self._name_texts(texts)
        self.params = texts.wanted()
        self._by_name = {param.name: param for param in self.params}

    def text(self, name: str, otherwise: str) -> str:
        """The current value of the parameter, if it is one."""
        return self._by_name[name].value if name in self._by_name else otherwise  # type: ignore[return-value]

    @contextmanager
    def inside(self) -> Generator[None]:
        """Runs that begin here are those of copies."""
        token = _CASTS.set(self)
        try:
            with capture_clients():
                yield
        finally:
            _CASTS.reset(token)

    # --- what there is

    def _meet(self, agent: Any) -> None:
        """Raises TaskError for two agents of one name."""
        left = [agent]
        while left:
            agent = left.pop(0)
            if id(agent) in self.agents:
                continue
            if any(identifier(other.name) == identifier(agent.name) for other in self.agents.values()):
                raise TaskError(f"two agents are named {agent.name!r}; give each a name of its own, or their texts cannot be told apart")
            self.agents[id(agent)] = agent
            left += [target for target in map(self._target, agent.handoffs) if target is not None]
            left += [tool._agent_instance for tool in agent.tools if getattr(tool, "_agent_instance", None) is not None]

    def _target(self, handoff: Any) -> Any:
        """The agent behind a handoff, where it can be known before it happens."""
        if isinstance(handoff, self.sdk.Agent):
            self.handed.add(id(handoff))
            return handoff
        known = getattr(handoff, "_agent_ref", None)
        return known() if known else None

    def _name_texts(self, texts: Texts) -> None:
        tools: dict[int, Any] = {}
        for agent in self.agents.values():
            name = agent.name
            if isinstance(agent.instructions, str):
                texts.add(identifier(name, "instructions"), agent.instructions, f"the instructions of the agent {name}")
            if id(agent) in self.handed:
                what = f"what the agent {name} is for, told to agents that may hand off to it"
                texts.add(identifier(name, "handoff"), agent.handoff_description or "", what)
            for handoff in self._handoffs(agent):
                what = f"what the handoff {handoff.tool_name} is for, told to the agent {name}"
                texts.add(identifier(name, handoff.tool_name), handoff.tool_description, what)
            if schema := self._output_schema(agent):
                for field, text in described(schema.json_schema()).items():
                    texts.add(identifier(name, "output", field), text, f"the field {field} of what the agent {name} returns")
            tools |= {id(tool): tool for tool in agent.tools if isinstance(tool, self.sdk.FunctionTool)}
        for tool in tools.values():
            texts.add(identifier(tool.name, "description"), tool.description, f"what the tool {tool.name} does")
            for argument, text in described(tool.params_json_schema).items():
                texts.add(identifier(tool.name, argument), text, f"the argument {argument} of the tool {tool.name}")

    def _handoffs(self, agent: Any) -> list[Any]:
        return [item for item in agent.handoffs if isinstance(item, self.sdk.Handoff)]

    def _output_schema(self, agent: Any) -> Any:
        """None for plain text."""
        kind = agent.output_type
        if kind is None or kind is str:
            return None
        schema = kind if isinstance(kind, self.sdk.AgentOutputSchemaBase) else self.sdk.AgentOutputSchema(kind)
        return None if schema.is_plain_text() else schema

    # --- copies

    def copy(self, agent: Any) -> Any:
        """The agent with the texts of the candidate that is tried here. Agents that were not met stay themselves."""
        if id(agent) not in self.agents:
            return agent
        changed: dict[str, Any] = {
            "tools": [self._tool(tool) for tool in agent.tools],
            "handoffs": [self._handoff(agent, item) for item in agent.handoffs],
        }
        if isinstance(agent.instructions, str):
            changed["instructions"] = self._instructions(agent)
        if schema := self._output_schema(agent):
            changed["output_type"] = self._output(agent, schema) or agent.output_type
        return agent.clone(**changed)

    def _instructions(self, agent: Any) -> Any:
        """Read when they are sent, so that the trace tells which agent was."""
        name, own = identifier(agent.name, "instructions"), agent.instructions

        def instructions(context: Any, agent: Any) -> str:
            return self.text(name, own)

        return instructions if name in self._by_name else own

    def _texts(self, schema: Any, *owner: str) -> dict[str, str]:
        """The descriptions of a schema that are parameters."""
        found = {path: (identifier(*owner, path), text) for path, text in described(schema).items()}
        return {path: self.text(name, text) for path, (name, text) in found.items() if name in self._by_name}

    def _tool(self, tool: Any) -> Any:
        if not isinstance(tool, self.sdk.FunctionTool):
            return tool
        made = copy.copy(tool)
        invoker = made.on_invoke_tool
        if invoker is not tool.on_invoke_tool and hasattr(invoker, "_invoke_tool_impl"):
            invoker._invoke_tool_impl = watched(invoker._invoke_tool_impl)
        made.description = self.text(identifier(tool.name, "description"), tool.description)
        made.params_json_schema = redescribed(tool.params_json_schema, self._texts(tool.params_json_schema, tool.name))
        return made

    def _handoff(self, agent: Any, item: Any) -> Any:
        if isinstance(item, self.sdk.Handoff):
            made = copy.copy(item)
            made.tool_description = self.text(identifier(agent.name, item.tool_name), item.tool_description)
        else:
            name = identifier(item.name, "handoff")
            said = self.text(name, item.handoff_description or "")
            made = self.sdk.handoff(item)
            if name in self._by_name:
                made.tool_description = f"Handoff to the {item.name} agent to handle the request. {said}"
        invoke = made.on_invoke_handoff

        async def to_a_copy(context: Any, given: str) -> Any:
            return self.copy(await invoke(context, given))

        made.on_invoke_handoff = to_a_copy
        return made

    def _output(self, agent: Any, schema: Any) -> Any:
        texts = self._texts(schema.json_schema(), agent.name, "output")
        if not texts:
            return None
        made = copy.copy(schema)
        changed = redescribed(schema.json_schema(), texts)
        made.json_schema = lambda: changed
        return made


# --- in the SDK --------------------------------------------------------------------------------------------------------


class _Runner:
    """Stands before the SDK's runner, also for agents that are tools of others. Runs outside of a wrapped one go through untouched."""

    def __init__(self, users: Any) -> None:
        self._users = users

    def __getattr__(self, name: str) -> Any:
        return getattr(self._users, name)

    async def run(self, starting_agent: Any, input: Any, **options: Any) -> Any:
        cast = _CASTS.get()
        if cast is None:
            return await self._users.run(starting_agent, input, **options)
        return await traced_run(self._users.run, (starting_agent, cast.copy), input, options)

    def run_sync(self, starting_agent: Any, input: Any, **options: Any) -> Any:
        """The SDK's makes a coroutine of its own ``run``; here that is this one's."""
        if _CASTS.get() is None:
            return self._users.run_sync(starting_agent, input, **options)
        users = copy.copy(self._users)
        users.run = self.run
        return users.run_sync(starting_agent, input, **options)

    def run_streamed(self, starting_agent: Any, input: Any, **options: Any) -> Any:
        cast = _CASTS.get()
        if cast is None:
            return self._users.run_streamed(starting_agent, input, **options)
        return traced_stream(self._users.run_streamed, (starting_agent, cast.copy), input, options)


def _install() -> None:
    """Once in a process."""
    runs = import_framework("agents.run", "openai-agents")
    tracing = import_framework("agents.tracing", "openai-agents")
    with _INSTALLING:
        if not isinstance(users := runs.get_default_agent_runner(), _Runner):
            runs.set_default_agent_runner(_Runner(users))
        if not isinstance(provider := tracing.get_trace_provider(), Tracing):
            tracing.set_trace_provider(Tracing(provider, lambda: _CASTS.get() is not None))
