"""The texts that a LangGraph graph gives to its models: where they are found, and how current values take their place."""

# pyright: standard
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from agentopt.adapters.wrapped import Params, framework, identifier
from agentopt.trace.params import Param

__all__ = ["Texts", "find"]

_FRAMEWORKS = ("langchain", "langgraph", "langsmith")


class Texts:
    """Parameters by the text that is written in the graph. One text is one parameter, wherever it stands."""

    def __init__(self) -> None:
        self.by_text: dict[str, Param] = {}
        self.tools: dict[str, dict[str, Param]] = {}
        """By the tool's name, then by argument; the tool's own description is that of the argument ``""``."""

    def messages(self, messages: Any) -> list[Any]:
        """The messages, with current values in the place of texts that are parameters."""
        return [self._message(message) for message in messages]

    def _message(self, message: Any) -> Any:
        content = getattr(message, "content", None)
        param = self.by_text.get(content) if isinstance(content, str) else None
        return message if param is None else message.model_copy(update={"content": param.value})

    def template(self, template: Any) -> Any:
        """The template, or a copy with the current value."""
        param = self.by_text.get(template.template)
        return template if param is None else template.model_copy(update={"template": param.value})

    def asked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a model is asked beside the messages, with the current descriptions of tools."""
        if not settings.get("tools"):
            return dict(settings)
        return {**settings, "tools": [self._tool(tool) for tool in settings["tools"]]}

    def _tool(self, tool: Any) -> Any:
        function = tool.get("function") if isinstance(tool, Mapping) else None
        params = self.tools.get(function.get("name", "")) if function else None
        if function is None or not params:
            return tool
        values = {key: param.value for key, param in params.items()}
        told = {**function, "description": values.get("", function.get("description", ""))}
        arguments = _arguments(function)
        if values.keys() & arguments.keys():
            changed = {name: {**schema, "description": values[name]} if name in values else schema for name, schema in arguments.items()}
            told["parameters"] = {**function["parameters"], "properties": changed}
        return {**tool, "function": told}


def find(graph: Any, params: Params, texts: Mapping[str, str]) -> Texts:
    """The texts of the graph, and those given by name. Raises TaskError for two of one name."""
    finder = _Finder(params)
    for name, text in texts.items():
        finder.text(name, text, "prompt", numbered=False)
    finder.look(graph)
    return finder.texts


class _Finder:
    """Looks into what nodes hold: functions and what they close over and name, chains, prompts, tools, graphs inside of graphs."""

    def __init__(self, params: Params) -> None:
        self.texts = Texts()
        self._params = params
        self._seen: dict[int, Any] = {}
        self._known: set[str] = set()
        self._names: set[str] = set()
        self._tools: dict[str, Any] = {}

    def look(self, graph: Any) -> None:
        waiting: list[tuple[Any, str]] = [(graph, "")]
        while waiting:
            thing, where = waiting.pop()
            if id(thing) not in self._seen:
                self._seen[id(thing)] = thing
                waiting += reversed(list(self._read(thing, where)))

    def _read(self, thing: Any, where: str) -> Iterator[tuple[Any, str]]:
        """Takes the texts of a thing, and gives what it holds with the name of the place."""
        core = functools.partial(framework, extra="langgraph")
        prompts, runnables = core("langchain_core.prompts"), core("langchain_core.runnables")
        if isinstance(thing, core("langgraph.pregel").Pregel):
            yield from ((node.bound, identifier(where.removesuffix("_prompt"), name, "prompt")) for name, node in thing.nodes.items())
        elif isinstance(thing, core("langchain_core.tools").BaseTool):
            self._tool(core("langchain_core.utils.function_calling").convert_to_openai_tool(thing))
            yield from ((getattr(thing, name, None), thing.name) for name in ("func", "coroutine"))
        elif isinstance(thing, core("langchain_core.messages").SystemMessage):
            if isinstance(thing.content, str):
                self.text(where, thing.content, "system message")
        elif isinstance(thing, prompts.PromptTemplate):
            self.text(where, thing.template, "template", projection=_same_variables(thing))
        elif isinstance(thing, prompts.ChatPromptTemplate):
            yield from ((message, identifier(where, _role(message))) for message in thing.messages)
        elif isinstance(thing, core("langchain_core.language_models").BaseLanguageModel):
            return
        elif isinstance(thing, runnables.Runnable) or type(thing).__module__.startswith("langchain_core.prompts"):
            yield from ((held, where) for held in vars(thing).values())
        else:
            yield from self._plain(thing, where)

    def _plain(self, thing: Any, where: str) -> Iterator[tuple[Any, str]]:
        """What is none of the frameworks' own."""
        if isinstance(thing, Mapping):
            if thing.get("type") == "function" and isinstance(thing.get("function"), Mapping):
                self._tool(thing)
            else:
                yield from ((held, where) for held in thing.values())
        elif isinstance(thing, list | tuple):
            yield from ((held, where) for held in thing)
        elif isinstance(thing, functools.partial):
            yield from ((held, where) for held in (thing.func, *thing.args, *thing.keywords.values()))
        elif inspect.ismethod(thing):
            yield from ((thing.__func__, where), *((held, where) for held in getattr(thing.__self__, "__dict__", {}).values()))
        elif isinstance(thing, FunctionType):
            yield from _of_function(thing, where)

    def text(self, name: str, text: str, what: str, numbered: bool = True, projection: Callable[[Any], Any] | None = None) -> None:
        if not text.strip() or text in self._known or text.strip("{} ").isidentifier():
            return  # nothing is said, or only a variable passed on
        self._known.add(text)
        name, number = identifier(name), 1
        while numbered and f"{name}{_suffix(number)}" in self._names:
            number += 1
        self._names.add(name := f"{name}{_suffix(number)}")
        options = {} if projection is None else {"projection": projection, "constraint": "Keep the variables in braces as they are."}
        param = self._params.add(name, text, f"{what} {name}", **options)
        if param is not None:
            self.texts.by_text[text] = param

    def _tool(self, tool: Any) -> None:
        function = tool["function"]
        name = function["name"]
        if self._tools.setdefault(name, function) is not function and self._tools[name] == function:
            return  # the same tool once more
        found = {"": self._params.add(identifier("tool", name), function.get("description", ""), f"description of the tool {name}")}
        for argument, schema in _arguments(function).items():
            if isinstance(schema, Mapping) and schema.get("description"):
                place = f"description of the argument {argument} of the tool {name}"
                found[argument] = self._params.add(identifier("tool", name, argument), schema["description"], place)
        self.texts.tools[name] = {key: param for key, param in found.items() if param is not None}


def _suffix(number: int) -> str:
    return "" if number == 1 else f"_{number}"


def _arguments(function: Mapping[str, Any]) -> Mapping[str, Any]:
    return (function.get("parameters") or {}).get("properties") or {}


def _role(message: Any) -> str:
    kind = getattr(message, "type", None) or type(message).__name__.removesuffix("MessagePromptTemplate").lower()
    return str(kind)


def _of_function(function: FunctionType, where: str) -> Iterator[tuple[Any, str]]:
    """What it closes over and names; of a user's function a variable's name is that of the place."""
    own = not (function.__module__ or "").startswith(_FRAMEWORKS)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield cell.cell_contents, name if own else where
        except ValueError:
            continue  # not filled yet
    yield from ((held, where) for held in (function.__defaults__ or ()))
    if own:
        for name in sorted(_named(function.__code__)):
            if name in function.__globals__:
                yield function.__globals__[name], name


def _named(code: CodeType) -> set[str]:
    """Names that code uses, also in functions inside of it."""
    return set(code.co_names).union(*(_named(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _same_variables(template: Any) -> Callable[[Any], Any]:
    variables = framework("langchain_core.prompts.string", "langgraph").get_template_variables
    wanted = set(variables(template.template, template.template_format))

    def check(value: Any) -> Any:
        found = set(variables(value, template.template_format))
        if found != wanted:
            raise ValueError(f"the template has the variables {sorted(found)} where it needs {sorted(wanted)}; double other braces")
        return value

    return check
