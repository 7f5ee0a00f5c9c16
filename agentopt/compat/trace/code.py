"""Functions whose code is a parameter: as they were written they are called here, what was learnt is called in a sandbox."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, Protocol

from agentopt.compat.trace.errors import marked
from agentopt.compat.trace.nodes import Node, ParameterNode
from agentopt.compat.trace.sources import definition, source_of
from agentopt.core.errors import TaskError
from agentopt.core.running import RUNNER, CodeCall, CodeFailed, CodeRunner, Import, Source, execute, unsendable
from agentopt.trace.own_source import free_names, keep_signature
from agentopt.trace.trainable import CodeParam
from agentopt.trace.trainable import annotated as annotated_code

__all__ = ["Arguments", "LearntCode"]

_LABEL = "__code"


class Arguments(Protocol):
    """Of one call, as the function gets them."""

    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def kwargs(self) -> Mapping[str, Any]: ...


class LearntCode:
    """Calls what the text of a parameter defines in the place of ``function``.

    In a sandbox the code gets plain data. Names that ``function`` was written with mean what they mean around it, if that is plain data, an
    installed module or a function with a source; of other names learnt code gets modules, functions and numbers, but no texts: they may be
    secrets. The object of a method enters as None, so code that touches it fails there. With ``trust`` the code runs in this process, and
    sees everything. Raises TaskError for a function without a source.
    """

    def __init__(self, function: Callable[..., Any], trust: bool) -> None:
        self._function, self._trust = function, trust
        self._own, _ = source_of(function)
        self._entry = getattr(function, "__name__", "")
        if definition(self._own, self._entry) is None:
            raise TaskError(f"{self._entry or function!r} has no source that could be trained; write it with def, in a file")
        self._loaded: dict[str, Callable[..., Any]] = {}

    def parameter(self, projections: Sequence[Callable[[Any], Any]]) -> ParameterNode:
        """The code as a parameter, with the value that was written."""
        head = self._own.partition("def ")[2].partition("\n")[0]
        constraint = f"The code should start with:\ndef {head}"
        about = (inspect.getdoc(self._function) or "").partition("\n")[0]

        def project(proposed: Any) -> Any:
            for one in projections:
                proposed = one(proposed)
            keep_signature(proposed, self._entry, self._own)
            return proposed

        param = CodeParam(self._own, self._entry, self._entry, self._trust, description=about, constraint=constraint, projection=project)
        return ParameterNode(self._own, name=_LABEL, description=about or None, constraint=constraint, param=param)

    def call(self, parameter: ParameterNode, given: Arguments) -> Any:
        """Raises what the function raises; in a sandbox CodeFailed, and TypeError for an argument that cannot be sent."""
        function = self._here(parameter.value)
        if function is not None:
            return function(*given.args, **given.kwargs)
        return _runner().call(self._sent(parameter.value, given))

    async def acall(self, parameter: ParameterNode, given: Arguments) -> Any:
        """``call`` of an ``async def``."""
        function = self._here(parameter.value)
        if function is not None:
            return await function(*given.args, **given.kwargs)
        return await _runner().acall(self._sent(parameter.value, given))

    def _here(self, source: str) -> Callable[..., Any] | None:
        """The function to call in this process, if one is to be called here."""
        if source == self._own and (self._trust or RUNNER.get() is None):
            return self._function
        return self._load(source) if self._trust else None

    def _load(self, source: str) -> Callable[..., Any]:
        if source not in self._loaded:
            file = f"<learnt {self._entry} {len(self._loaded)}>"
            linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # so that tracebacks have its lines
            names = _around(self._function)
            execute(source, file, {}, names)
            if self._entry not in names or not callable(names[self._entry]):
                raise CodeFailed("build", f"the code defines no {self._entry!r}")
            self._loaded[source] = names[self._entry]
        return self._loaded[source]

    def _sent(self, source: str, given: Arguments) -> CodeCall:
        args = given.args
        if args and self._is_method(source) and unsendable(args[0], "self"):
            args = (None, *args[1:])
        return CodeCall(source, self._entry, args, given.kwargs, self._uses(source))

    def _is_method(self, source: str) -> bool:
        found = definition(source, self._entry)
        return found is not None and bool(found.args.args) and found.args.args[0].arg in ("self", "cls")

    def _uses(self, source: str) -> dict[str, Any]:
        """What the names in the code mean around the function, and the names in what it takes from there, as far as it can be sent."""
        found: dict[str, Any] = {}
        for name, value in self._meanings(source).items():
            form = _form(value)
            if isinstance(form, Import | Source) or not unsendable(form, name):
                found[name] = form
        return found

    def learnt_elsewhere(self, source: str) -> list[ParameterNode]:
        """Parameters whose code goes into the sandbox with this one."""
        if self._here(source) is not None:
            return []
        bundled = (value for value in self._meanings(source).values() if getattr(value, "bundled", False))
        return [value.parameter for value in bundled if value.parameter is not None]

    def _meanings(self, source: str) -> dict[str, Any]:
        """What the written code named, and of other names in learnt code modules, functions and numbers: texts may be secrets."""
        named, written = self._named_in(source), self._named_in(self._own)
        return {name: value for name, value in named.items() if name in written or _tells_nothing(value)}

    def _named_in(self, source: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        texts = [(source, self._function)]
        while texts:
            text, function = texts.pop()
            around = _around(function)
            for name in _names(text):
                if name in around and name not in found and name != self._entry:
                    found[name] = value = around[name]
                    form = _form(value)
                    if isinstance(form, Source):
                        texts.append((form.text, getattr(value, "fun", value)))
        return found

    def comment(self, error: Exception, source: str) -> str:
        """The code with an arrow at the line that failed, where the exception itself does not lead there; else nothing."""
        if isinstance(error, CodeFailed):
            return annotated_code(source, str(error))
        if isinstance(error, SyntaxError) and error.lineno:
            said = f"(SyntaxError) {error.msg}"
            return f"{marked(source.splitlines(), error.lineno - 1, said)}\n\n{said}"
        return ""


def _runner() -> CodeRunner:
    from agentopt.trainables import shared_runner

    return RUNNER.get() or shared_runner()


def _names(text: str) -> list[str]:
    try:
        return free_names(text)
    except SyntaxError:
        return []  # that is said where the code is executed


def _around(function: Callable[..., Any]) -> dict[str, Any]:
    """What names mean inside of a function: its closure, then its module."""
    found: dict[str, Any] = dict(getattr(function, "__globals__", {}))
    code = getattr(function, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), getattr(function, "__closure__", None) or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not defined yet
    return found


def _tells_nothing(value: Any) -> bool:
    plain = value.value if isinstance(value, Node) else value
    return isinstance(plain, ModuleType | FunctionType | type | int | float) or getattr(value, "bundled", False)


def _form(value: Any) -> Any:
    if isinstance(value, ModuleType):
        return Import(value.__name__)
    if getattr(value, "bundled", False):
        parameter = value.parameter
        return Source(parameter.value if parameter else source_of(value.fun)[0], value.fun.__name__)
    if isinstance(value, Node):
        return value.value
    if isinstance(value, FunctionType):
        text, _ = source_of(value)
        return Source(text, value.__name__) if definition(text, value.__name__) else value
    if isinstance(value, type) or callable(value):
        return Import(value.__module__, value.__qualname__) if "." not in getattr(value, "__qualname__", ".") else value
    return value
