"""DSPy programs: instructions, field descriptions and tool descriptions as parameters of a program that stays as it is.

DSPy asks its adapter to turn a predictor's signature into messages. A wrapped program runs under an adapter that puts the current values
into the signature first, so predictors, modules and tools are never changed, and candidates that are tried at once do not meet.
"""

# pyright: standard
from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, cast

from agentopt.adapters.wrapped import Params, framework, identifier, iterated_async
from agentopt.core.chat import Usage
from agentopt.core.errors import TaskError
from agentopt.trace.calls import INSIDE, Call
from agentopt.trace.clients import capture_clients
from agentopt.trace.context import CURRENT, SPAN
from agentopt.trace.exchange import Reply
from agentopt.trace.params import Param
from agentopt.trace.recorder import Span
from agentopt.trace.threads import carried

__all__ = ["Wrapped", "wrap"]

_ENTRIES: ContextVar[list[Any] | None] = ContextVar("agentopt_dspy_entries", default=None)
"""What DSPy wrote down of the model's call that is under way here."""
_CAPS = ("max_tokens", "max_completion_tokens")


def _dspy() -> Any:
    return framework("dspy", "dspy")


def wrap(module: Any, params: Iterable[str] = ("*",), every_field: bool = False) -> Wrapped:
    """A program for ``optimize`` whose texts are parameters: of all predictors, in nested modules too, and of all tools.

    ``params`` are shell patterns of the names wanted, such as ``["*_instructions"]``. Descriptions of fields are parameters where somebody
    wrote one; with ``every_field`` the others are too. Modules that DSPy compiled, and so froze, are left alone, as DSPy's own optimizers
    do. Raises ConfigError without DSPy, TaskError for what is no module, two parameters of one name, and patterns that match nothing.
    """
    dspy = _dspy()
    if not isinstance(module, dspy.Module):
        raise TaskError(f"wrap() was given a {type(module).__name__}; give a dspy.Module")
    return Wrapped(module, Params(params), every_field)


class Wrapped:
    """Called like the program, with the current values of ``params`` in it. ``acall`` is the same for event loops."""

    def __init__(self, module: Any, params: Params, every_field: bool) -> None:
        self.module = module
        self.__name__ = type(module).__name__
        self.__signature__ = _signature(module)
        self._texts = _Texts(module, params, every_field)
        self.params: dict[str, Param] = params.check("wrap")
        self._names = {id(part): name for name, part in module.named_sub_modules()}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.inside():
            return self.module(*args, **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """As ``module.acall``."""
        with self.inside():
            return await self.module.acall(*args, **kwargs)

    def astream(self, *args: Any, stream: Mapping[str, Any] | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """What ``dspy.streamify(module, **stream)`` gives: pieces, and the prediction last."""
        program = _dspy().streamify(self.module, **(stream or {}))
        return iterated_async(self.inside, lambda: program(*args, **kwargs))

    @contextmanager
    def inside(self) -> Generator[None]:
        """Inside, the program itself has the current values, however it is called, and is recorded if anybody records.

        DSPy's cache of replies is off: a reply from it would be an old score for nothing.
        """
        dspy = _dspy()
        settings = dspy.settings
        change: dict[str, Any] = {"adapter": self._texts.adapter(settings.adapter or dspy.ChatAdapter())}
        change["callbacks"] = [*(settings.callbacks or []), _recorder(self._names)]
        if settings.lm is not None:
            change["lm"] = _metered(settings.lm)
        with ExitStack() as stack:
            stack.enter_context(capture_clients())
            stack.enter_context(carried())
            stack.enter_context(dspy.context(**change))
            yield


def _signature(module: Any) -> inspect.Signature:
    """Of what the program is called with."""
    found = inspect.signature(type(module).forward)
    return found.replace(parameters=list(found.parameters.values())[1:])


# --- texts ---------------------------------------------------------------------------------------------------------------


class _Predictor:
    """The texts of one predictor: as they are written, and their parameters."""

    def __init__(self, signature: Any) -> None:
        self.signature = signature
        self.written: str = signature.instructions
        self.instructions: Param | None = None
        self.tools: list[Any] = []
        """Tools that are listed in the instructions, as ReAct does: the list is written anew each time."""
        self.before = self.after = ""
        self.fields: dict[str, tuple[str, Param]] = {}


class _Texts:
    """All texts of a program, and how they get into a predictor's signature."""

    def __init__(self, module: Any, params: Params, every_field: bool) -> None:
        self._tools: dict[int, tuple[Any, dict[str, Param]]] = {}
        """By the tool's id; kept with it, so that the id is not used twice."""
        self._predictors: dict[int, _Predictor] = {}
        for name, part in module.named_sub_modules():
            self._find_tools(_path(name), part, params)
        for name, predictor in module.named_predictors():
            self._predictors[id(predictor)] = self._read(_path(name), predictor, module, (params, every_field))

    def _find_tools(self, path: str, part: Any, params: Params) -> None:
        tool_type = _dspy().Tool
        for attribute, held in vars(part).items():
            for tool in _members(held):
                if isinstance(tool, tool_type) and id(tool) not in self._tools:
                    self._add_tool(identifier(path, attribute, tool.name), tool, params)

    def _add_tool(self, name: str, tool: Any, params: Params) -> None:
        found: dict[str, Param | None] = {}
        if tool.desc:
            found[""] = params.add(f"{name}_desc", tool.desc, f"description of the tool {tool.name}")
        for argument, schema in (tool.args or {}).items():
            if isinstance(schema, dict) and schema.get("description"):
                place = f"description of the argument {argument} of the tool {tool.name}"
                found[argument] = params.add(identifier(name, argument, "desc"), schema["description"], place)
        self._tools[id(tool)] = (tool, {key: param for key, param in found.items() if param is not None})

    def _read(self, path: str, predictor: Any, module: Any, how: tuple[Params, bool]) -> _Predictor:
        params, every_field = how
        signature = predictor.signature
        found = _Predictor(signature)
        text = self._list_of_tools(found, module)
        found.instructions = params.add(identifier(path, "instructions"), text, f"instructions of the predictor {path or 'itself'}")
        for name, field in signature.fields.items():
            written = field.json_schema_extra["desc"]
            if written and (every_field or written != f"${{{name}}}"):
                place = f"description of the field {name} of the predictor {path or 'itself'}"
                param = params.add(identifier(path, name, "desc"), written, place)
                if param is not None:
                    found.fields[name] = (written, param)
        return found

    def _list_of_tools(self, found: _Predictor, module: Any) -> str:
        """The instructions up to the list of tools that stands in them, or all of them."""
        for _, part in module.named_sub_modules():
            tools = list(_members(vars(part).get("tools")))
            listed = "\n".join(f"({number}) {tool}" for number, tool in enumerate(tools, 1))
            if tools and listed in found.written:
                found.before, _, found.after = found.written.partition(listed)
                found.tools = tools
                return found.before.rstrip("\n")
        return found.written

    def applied(self, predictor: Any, signature: Any) -> Any:
        """The signature with the current values, where its texts are those of the predictor."""
        found = self._predictors.get(id(predictor)) or self._twin(predictor)
        if found is None:
            return signature
        if signature.instructions.startswith(found.written):
            added = signature.instructions[len(found.written) :]
            signature = signature.with_instructions(self._instructions(found) + added)
        for name, (written, param) in found.fields.items():
            if name in signature.fields and signature.fields[name].json_schema_extra["desc"] == written:
                signature = signature.with_updated_fields(name, desc=param.value)
        return signature

    def _twin(self, predictor: Any) -> _Predictor | None:
        """Of a copy of a predictor, as DSPy's own modules make them: the one predictor that has this signature."""
        twins = [found for found in self._predictors.values() if found.signature is getattr(predictor, "signature", None)]
        return twins[0] if len(twins) == 1 else None

    def _instructions(self, found: _Predictor) -> str:
        if not found.tools:
            return found.instructions.value if found.instructions is not None else found.written
        listed = "\n".join(f"({number}) {self.tool(tool)}" for number, tool in enumerate(found.tools, 1))
        ends = found.before[len(found.before.rstrip("\n")) :]
        before = f"{found.instructions.value}{ends}" if found.instructions is not None else found.before
        return f"{before}{listed}{found.after}"

    def tool(self, tool: Any) -> Any:
        """A copy of the tool with the current values; what has no parameter is given as it is."""
        if isinstance(tool, list):
            return [self.tool(each) for each in cast("list[Any]", tool)]
        _, params = self._tools.get(id(tool), (None, {}))
        if not params:
            return tool
        values = {key: param.value for key, param in params.items()}
        args = {name: {**schema, "description": values[name]} if name in values else schema for name, schema in tool.args.items()}
        return tool.model_copy(update={"desc": values.get("", tool.desc), "args": args})

    def adapter(self, adapter: Any) -> Any:
        """A copy of the adapter, which puts the current values where it finds the texts."""
        copied = copy.copy(adapter)
        copied.__class__ = _applying(type(adapter))
        copied.agentopt_texts = self
        return copied


def _path(name: str) -> str:
    """``self.draft.predict`` and ``draft.predict`` are ``draft_predict``."""
    name = name.removeprefix("self")
    return identifier(name) if name.strip(".") else ""


def _members(held: Any) -> Iterator[Any]:
    """What an attribute holds: itself, or the members of a list or mapping."""
    if isinstance(held, Mapping):
        yield from cast("Mapping[Any, Any]", held).values()
    elif isinstance(held, list | tuple):
        yield from cast("list[Any]", held)
    elif held is not None:
        yield held


@functools.cache
def _applying(kind: type[Any]) -> type[Any]:
    """The class of adapters of that kind which put the current values in."""

    def changed(self: Any, lm: Any, signature: Any, inputs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        callers = _dspy().settings.caller_modules or [None]
        texts: _Texts = self.agentopt_texts
        return _metered(lm), texts.applied(callers[-1], signature), {name: texts.tool(value) for name, value in inputs.items()}

    def call(self: Any, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        lm, signature, inputs = changed(self, lm, signature, inputs)
        return kind.__call__(self, lm, lm_kwargs, signature, demos, inputs)

    async def acall(self: Any, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        lm, signature, inputs = changed(self, lm, signature, inputs)
        return await kind.acall(self, lm, lm_kwargs, signature, demos, inputs)

    return type(kind.__name__, (kind,), {"__call__": call, "acall": acall, "__module__": kind.__module__})


# --- models --------------------------------------------------------------------------------------------------------------


def _metered(lm: Any) -> Any:
    """A copy of the model whose calls are recorded and paid for, and never answered from the cache."""
    if not isinstance(lm, _dspy().BaseLM) or isinstance(lm, _Metered):
        return lm
    copied = lm.copy(cache=False)
    copied.__class__ = _metering(type(lm))
    return copied


class _Metered:
    """Mark of the models that are."""


@functools.cache
def _metering(kind: type[Any]) -> type[Any]:
    def call(self: Any, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        paid = _call(self, prompt, messages, kwargs)
        if paid is None:
            return kind.__call__(self, prompt, messages=messages, **kwargs)
        paid.begin()
        with _counted(paid) as entries:
            outputs = kind.__call__(self, prompt, messages=messages, **_capped(paid, kwargs))
        paid.done(_reply(outputs, entries))
        return outputs

    async def acall(self: Any, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        paid = _call(self, prompt, messages, kwargs)
        if paid is None:
            return await kind.acall(self, prompt, messages=messages, **kwargs)
        await paid.abegin()
        with _counted(paid) as entries:
            outputs = await kind.acall(self, prompt, messages=messages, **_capped(paid, kwargs))
        paid.done(_reply(outputs, entries))
        return outputs

    def update_history(self: Any, entry: Any) -> None:
        entries = _ENTRIES.get()
        if entries is not None:
            entries.append(entry)
        kind.update_history(self, entry)

    return type(kind.__name__, (_Metered, kind), {"__call__": call, "acall": acall, "update_history": update_history})


def _call(lm: Any, prompt: Any, messages: Any, kwargs: Mapping[str, Any]) -> Call | None:
    """The call; None for one that is part of another, or that DSPy is given in a form of its own."""
    if INSIDE.get() is not None or (messages is None and not isinstance(prompt, str)):
        return None
    settings = {**lm.kwargs, **kwargs}
    provider, _, model = lm.model.partition("/")
    public = provider == "openai" and not any(settings.get(name) for name in ("api_base", "base_url"))
    body = {"model": model if public else lm.model, "messages": messages or [{"role": "user", "content": prompt}]}
    body |= {name: settings[name] for name in ("tools", "temperature", "n", *_CAPS) if settings.get(name) is not None}
    return Call("openai" if public else "dspy", "chat", body, _CAPS[1] if _CAPS[1] in settings else _CAPS[0])


def _capped(call: Call, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**kwargs, **{name: call.body[name] for name in _CAPS if name in call.body}}


@contextmanager
def _counted(call: Call) -> Generator[list[Any]]:
    """What the model has a client do is part of the call."""
    entries: list[Any] = []
    inside, written = INSIDE.set(call), _ENTRIES.set(entries)
    try:
        yield entries
    except BaseException as error:
        call.failed(error)
        raise
    finally:
        _ENTRIES.reset(written)
        INSIDE.reset(inside)


def _reply(outputs: Any, entries: list[Any]) -> Reply:
    texts: list[Any] = [each["text"] if isinstance(each, dict) and set(each) == {"text"} else each for each in outputs or ()]
    value = texts[0] if len(texts) == 1 else texts
    if not entries:
        return Reply(value)
    used = entries[-1]["usage"]
    usage = Usage(used["prompt_tokens"], used["completion_tokens"]) if used.get("prompt_tokens") is not None else None
    return Reply(value, str(entries[-1]["response_model"] or ""), None, usage)


# --- the trace -----------------------------------------------------------------------------------------------------------


@functools.cache
def _recorder_class() -> type[Any]:
    base: Any = _dspy().utils.callback.BaseCallback

    class Recorder(base):
        """Modules and tools as nodes of the trace that is recorded where they are called."""

        def __init__(self, names: Mapping[int, str]) -> None:
            self._names = names
            self._open: dict[str, tuple[Span, int]] = {}

        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            name = self._names.get(id(instance), "").removeprefix("self").strip(".")
            positional = {f"arg{number}": value for number, value in enumerate(inputs.get("args", ()))}
            self._begin(call_id, "call", name or type(instance).__name__, positional | inputs.get("kwargs", {}))

        def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self._begin(call_id, "tool", instance.name, inputs.get("kwargs", {}))

        def _begin(self, call_id: str, kind: Any, name: str, inputs: Mapping[str, Any]) -> None:
            trace = CURRENT.get()
            if trace is not None:
                span = trace.begin(kind, name, inputs)
                self._open[call_id] = (span, SPAN.get())
                SPAN.set(span.number)

        def _end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
            span, before = self._open.pop(call_id, (None, -1))
            if span is not None:
                SPAN.set(before)
                span.end(outputs, error=exception)

        def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
            self._end(call_id, outputs, exception)

        def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
            self._end(call_id, outputs, exception)

    return Recorder


def _recorder(names: Mapping[int, str]) -> Any:
    make: Callable[[Mapping[int, str]], Any] = _recorder_class()
    return make(names)
