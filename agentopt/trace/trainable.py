"""``@trainable``: a function whose code is a parameter. What a model writes in its place is called in a sandbox."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MethodType
from typing import Any, TypedDict, Unpack, cast, overload

from agentopt.core.errors import ConfigError, TaskError
from agentopt.core.running import RUNNER, CodeCall, CodeFailed, CodeRunner, Source, execute
from agentopt.core.task import Parameter, Value
from agentopt.trace.node import plain
from agentopt.trace.own_source import keep_signature, own_source
from agentopt.trace.params import Param, ParamOptions
from agentopt.trace.traced import traced
from agentopt.trace.uses import Surroundings

__all__ = ["CodeParam", "Trainable", "TrainableOptions", "trainable"]

_FILE = "trainable.py"
_KEPT = 16
_FRAMES = 20
_AROUND = 3
_LINE = re.compile(rf'(?:File "{re.escape(_FILE)}"|^{re.escape(_FILE)}), line (\d{{1,6}})\b', re.MULTILINE)


class TrainableOptions(TypedDict, total=False):
    """What is said of a trainable function."""

    name: str
    """Of its parameter; the function's own if not given."""
    uses: Sequence[str]
    """Names that the code takes from its surroundings: plain values, modules, functions that are themselves plain."""
    trust: bool
    """Whether the code runs in this process, without walls: results are stamped L0."""
    description: str
    """For the optimizer; the first line of the function's docstring if not given."""
    constraint: str
    """What every version has to keep to beside the signature, in words for the optimizer."""
    runner: Callable[[], CodeRunner]
    """Asked at each call of code that is not the user's own, where ``RUNNER`` is empty."""


class CodeParam(Param):
    """A parameter of kind "code": ``entry`` is the function that its text defines, ``trust`` says that it runs without walls."""

    __slots__ = ("entry", "trust")

    def __init__(self, source: str, name: str, entry: str, trust: bool, **said: Unpack[ParamOptions]) -> None:
        self.entry, self.trust = entry, trust

        def projection(value: Value) -> Value:
            keep_signature(value, entry, source)
            return value

        said.setdefault("projection", projection)
        super().__init__(source, name, "code", **said)

    def parameter(self) -> Parameter:
        """As a task's parameter."""
        return replace(super().parameter(), entry=self.entry)


class Trainable:
    """A function that can be called as before. ``param`` is its code.

    While the code is what the user wrote and no runner is set, the function itself is called. Else the code goes to the runner, with the
    arguments: they and the result are plain data then, and a tuple comes back as a list. Code that fails raises CodeFailed, with its
    lines; an argument that cannot be sent raises TypeError; a name in ``uses`` that is not there raises TaskError.
    """

    def __init__(self, function: Callable[..., Any], **options: Unpack[TrainableOptions]) -> None:
        source = own_source(function)
        entry = function.__name__
        self.trust = options.get("trust", False)
        self._function, self._own, self._open = function, source, options.get("runner")
        self._signature = inspect.signature(function)
        self._surroundings = Surroundings(function, source, options.get("uses", ()), sent=not self.trust)
        if not self.trust:
            _check_kind(function, self._signature)
        doc = (inspect.getdoc(function) or "").partition("\n")[0]
        constraint = f"The signature stays. {options.get('constraint', '')}".rstrip()
        said = ParamOptions(description=options.get("description", doc), constraint=constraint)
        self.param = CodeParam(source, options.get("name", entry), entry, self.trust, **said)
        self._loaded: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {}
        functools.update_wrapper(self, function)
        asynchronous = inspect.iscoroutinefunction(function)
        self._call = traced(self._asynchronous() if asynchronous else self._synchronous())
        if asynchronous and sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that it uses, for the runner to have at hand."""
        return self._surroundings.imports()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if not self.trust:
            raise TypeError(_no_self(self.param.entry))
        return MethodType(self, instance)

    def __copy__(self) -> Trainable:
        """Itself, as its parameter."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Trainable:
        return self

    def __reduce__(self) -> str:
        """Pickled by name, as functions are."""
        return self._function.__qualname__

    def source(self) -> str:
        """The code that counts here, recorded as a read."""
        return cast(str, self.param.value)

    def as_source(self) -> Source:
        """The code that counts here, for another trainable that uses this one. Recorded as a read."""
        return Source(self.source(), self.param.entry)

    def _synchronous(self) -> Callable[..., Any]:
        @functools.wraps(self._function)
        def call(*args: Any, **kwargs: Any) -> Any:
            source = self.source()
            function = self._here(source)
            if function is self._function:
                return self._function(*args, **kwargs)
            if function is None:
                with _annotated(source):
                    return self._runner().call(self._made(source, args, kwargs))
            with _trusted(source):
                return function(*args, **kwargs)

        return call

    def _asynchronous(self) -> Callable[..., Any]:
        @functools.wraps(self._function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            source = self.source()
            function = self._here(source)
            if function is self._function:
                return await self._function(*args, **kwargs)
            if function is None:
                with _annotated(source):
                    return await self._runner().acall(self._made(source, args, kwargs))
            with _trusted(source):
                return await function(*args, **kwargs)

        return call

    def _runner(self) -> CodeRunner:
        runner = RUNNER.get()
        if runner is not None:
            return runner
        if self._open is None:
            raise ConfigError(
                f"trainable {self.param.entry!r} has learnt code and no sandbox to call it in; "
                "take trainable from agentopt.trainables, or give trust=True"
            )
        return self._open()

    def _here(self, source: str) -> Callable[..., Any] | None:
        """The function to call in this process, if one is to be called here."""
        if source == self._own:
            return self._function if self.trust or RUNNER.get() is None else None
        return self._load(source) if self.trust else None

    def _made(self, source: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CodeCall:
        """Nodes and parameters among the arguments are sent as their values."""
        self._signature.bind(*args, **kwargs)  # a wrong call is the caller's fault, not the code's
        return CodeCall(source, self.param.entry, plain(args), plain(kwargs), self._surroundings.found())

    def _load(self, source: str) -> Callable[..., Any]:
        """Trusted code, in this process: executed once, and again when something that it uses is another object."""
        uses = self._surroundings.found()
        used, function = self._loaded.get(source, (None, None))
        if function is None or used is None or any(used[name] is not value for name, value in uses.items()):
            with _annotated(source):
                function = self._executed(source, uses)
            if len(self._loaded) >= _KEPT:
                self._loaded.clear()
            self._loaded[source] = uses, function
        return function

    def _executed(self, source: str, uses: dict[str, Any]) -> Callable[..., Any]:
        names: dict[str, Any] = {"__name__": "trainable"}
        try:
            execute(source, _FILE, uses, names)
        except SyntaxError as error:
            raise CodeFailed("syntax", f"{_FILE}, line {error.lineno}: {error.msg}") from None
        except (Exception, SystemExit) as error:
            raise CodeFailed("build", _described(error)) from error
        if self.param.entry not in names:
            raise CodeFailed("build", f"{_FILE} defines no {self.param.entry!r}")
        return names[self.param.entry]


@contextmanager
def _annotated(source: str) -> Generator[None]:
    try:
        yield
    except CodeFailed as failure:
        raise CodeFailed.of(failure.kind, annotated(source, failure.message)) from failure.__cause__


@contextmanager
def _trusted(source: str) -> Generator[None]:
    """Around code of others in this process: it fails as it does in a box. A failure from further inside stays as it is."""
    try:
        yield
    except CodeFailed:
        raise
    except (Exception, SystemExit) as error:
        raise CodeFailed.of("crash", annotated(source, _described(error))) from error


def _described(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
    return "".join([*traceback.format_list(frames[-_FRAMES:]), *traceback.format_exception_only(error)]).rstrip()


def annotated(source: str, message: str) -> str:
    """The message, and below it the lines of the source around the last one that it names; unchanged if it names none."""
    named = _LINE.findall(message)
    lines = source.splitlines()
    if not named or not 1 <= (last := int(named[-1])) <= len(lines):
        return message
    around = range(max(1, last - _AROUND), min(len(lines), last + _AROUND) + 1)
    return "\n".join([message, "", *(f"{'>' if number == last else ' '} {number:3} | {lines[number - 1]}" for number in around)])


def _check_kind(function: Callable[..., Any], signature: inspect.Signature) -> None:
    """Raises TaskError for what cannot be called from afar."""
    name = function.__name__
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TaskError(f"trainable {name!r} is a generator, which cannot leave a sandbox; return a list, or give trust=True")
    of_class = not function.__qualname__.rpartition(".")[0].endswith("<locals>") and "." in function.__qualname__
    if of_class and next(iter(signature.parameters), "") in ("self", "cls"):
        raise TaskError(_no_self(name))


def _no_self(name: str) -> str:
    return (
        f"trainable {name!r} is a method, and its object cannot enter a sandbox; make it a function of the values that it needs, "
        "or give trust=True"
    )


@overload
def trainable(function: Callable[..., Any], /, **options: Unpack[TrainableOptions]) -> Trainable: ...
@overload
def trainable(**options: Unpack[TrainableOptions]) -> Callable[[Callable[..., Any]], Trainable]: ...
def trainable(
    function: Callable[..., Any] | None = None, /, **options: Unpack[TrainableOptions]
) -> Trainable | Callable[[Callable[..., Any]], Trainable]:
    """Make the code of a function a parameter: ``@trainable``, or ``@trainable(uses=["LIMIT", "np"])``.

    The code is the function's own source. What it takes from its surroundings is named in ``uses``, or imported inside. Raises TaskError
    for a function without a source, one that uses what is not named, or what cannot be sent.
    """
    if function is not None:
        return Trainable(function, **options)

    def decorate(function: Callable[..., Any]) -> Trainable:
        return Trainable(function, **options)

    return decorate
