"""``@bundle``: a function whose calls are nodes."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn, TypedDict, Unpack, cast

from agentopt.compat.trace.code import LearntCode
from agentopt.compat.trace.errors import TraceMissingInputsError, annotated
from agentopt.compat.trace.inputs import Inputs
from agentopt.compat.trace.labels import OPERATOR
from agentopt.compat.trace.modules import Module
from agentopt.compat.trace.nodes import MessageNode, Node, ParameterNode, failed, node
from agentopt.compat.trace.sources import source_of
from agentopt.compat.trace.tracing import Read, reading
from agentopt.trace import node as ours

__all__ = ["BundleOptions", "FunModule", "bundle"]

_ACTIVE: ContextVar[frozenset[int]] = ContextVar("agentopt_compat_active", default=frozenset())


class BundleOptions(TypedDict, total=False):
    """What ``bundle`` takes beside a description."""

    traceable_code: bool
    """Whether the function is given nodes, so that what it does with them is a graph of its own: ``info["output"]``."""
    _process_inputs: bool
    """If false, the function is given the very nodes of its arguments."""
    trainable: bool
    """Whether the function's code is a parameter."""
    catch_execution_error: bool
    """If false, exceptions leave no node."""
    allow_external_dependencies: bool
    """Whether the function may read nodes that are no arguments. They are inputs all the same."""
    overwrite_python_recursion: bool
    """Whether calls of itself inside the function are plain."""
    trust: bool
    """Whether learnt code runs in this process, without walls."""
    projections: Sequence[Callable[[Any], Any]]
    """Called one after another with code that is proposed; ValueError refuses it."""


class _Call(NamedTuple):
    """Arguments as nodes, as they were given, and as the function gets them."""

    inputs: Inputs
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class FunModule(Module):
    """A function that gives nodes. ``parameter`` is its code, if that is trainable."""

    bundled = True

    def __init__(self, fun: Callable[..., Any], description: str | None = None, **options: Unpack[BundleOptions]) -> None:
        """Raises TypeError for what cannot be called, TaskError for trainable code without a source."""
        given, kind = cast(Any, fun), cast(Any, type(fun))
        self._kind: Any = kind if kind in (staticmethod, classmethod) else None
        self._function: Callable[..., Any] = given.__func__ if self._kind else given
        if not callable(self._function):
            raise TypeError(f"bundle takes a function, not {kind.__name__}")
        match = OPERATOR.match(description or "")
        self._title = match[1] if match else _name_of(self._function)
        self.description = description or f"[{self._title}] {inspect.getdoc(self._function) or ''}."
        self._options: dict[str, Any] = dict(options)
        self._signature = _signature(self._function)
        self._self: Node | None = None
        self._code = LearntCode(self._function, options.get("trust", False)) if options.get("trainable") else None
        self.parameter: ParameterNode | None = self._code.parameter(options.get("projections", ())) if self._code else None
        functools.update_wrapper(self, self._function, updated=())

    # --- what it is ------------------------------------------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        return self.parameter is not None

    @property
    def name(self) -> str:
        return "eval" if self.parameter else self._title

    @property
    def described(self) -> tuple[str, Callable[..., Any]]:
        """For graphs: the name of the operation, and the function that has its documentation."""
        return self.name, self._function

    @property
    def fun(self) -> Callable[..., Any]:
        """The function itself."""
        return self._function

    @property
    def info(self) -> dict[str, Any]:
        """What is known of the function, apart from any call."""
        text, line = source_of(self._function)
        return {
            "fun": self._function,
            "fun_name": "eval" if self.parameter else getattr(self._function, "__qualname__", self._title),
            "doc": inspect.getdoc(self._function) or "",
            "signature": self._signature,
            "source": self.parameter.value if self.parameter else text,
            "line_number": line,
            "file": getattr(getattr(self._function, "__code__", None), "co_filename", ""),
            "error_comment": None,
            "traceback": None,
        }

    def parameters_dict(self) -> dict[str, Any]:
        return {"parameter": self.parameter} if self.parameter else {}

    def detach(self) -> FunModule:
        """A copy with a parameter of its own."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunModule:
        memo[id(self)] = twin = copy.copy(self)
        twin.parameter = copy.deepcopy(self.parameter, memo)
        twin._self = copy.deepcopy(self._self, memo)
        return twin

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Each object has a copy of its own, so trainable methods of two objects learn apart."""
        if self._kind is classmethod:
            return self._bound(node(owner))
        if instance is None or self._kind is staticmethod:
            return self
        held: dict[str, Any] | None = None if isinstance(instance, type) else getattr(instance, "__dict__", None)
        if held is None:
            return self._bound(node(instance))
        bound: dict[str, FunModule] = held.setdefault("_agentopt_bundles", {})
        key = getattr(self._function, "__qualname__", self._title)
        if key not in bound:
            twin = self._bound(held.setdefault("_agentopt_self", node(instance, "self")))
            twin.parameter = copy.deepcopy(self.parameter)
            bound.setdefault(key, twin)
        return bound[key]

    def _bound(self, self_node: Node) -> FunModule:
        twin = copy.copy(self)
        twin._self = self_node
        return twin

    # --- calls -----------------------------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The node of the call; of an ``async def`` something to await. Raises what the function raises, as an ``ExecutionError`` too."""
        if self._self is not None:
            args = (self._self, *args)
        if self._options.get("overwrite_python_recursion") and id(self._function) in _ACTIVE.get():
            return self._function(*args, **kwargs)
        call = self._prepared(args, kwargs)
        if inspect.iscoroutinefunction(self._function):
            return self._awaited(call)
        start = ours.now()
        with self._inside() as read:
            try:
                output = (
                    self._code.call(self.parameter, call) if self._code and self.parameter else self._function(*call.args, **call.kwargs)
                )
            except Exception as error:
                self._fail(error, call)
        return self._gave(output, call, read, start)

    async def _awaited(self, call: _Call) -> Any:
        start = ours.now()
        with self._inside() as read:
            try:
                if self._code and self.parameter:
                    output = await self._code.acall(self.parameter, call)
                else:
                    output = await self._function(*call.args, **call.kwargs)
            except Exception as error:
                self._fail(error, call)
        return self._gave(output, call, read, start)

    @contextmanager
    def _inside(self) -> Generator[Read]:
        token = _ACTIVE.set(_ACTIVE.get() | {id(self._function)})
        try:
            with reading() as read:
                yield read
        finally:
            _ACTIVE.reset(token)

    def _prepared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        named = _named(self._signature, args, kwargs)
        inputs = {name: _as_input(value, name) for name, value in named.items()}
        if self.parameter:
            inputs["__code"] = self.parameter
        given: Callable[[Any], Any] = ours.plain
        if not self._options.get("_process_inputs", True):
            given = node
        elif self._options.get("traceable_code"):
            given = _cut
        return _Call(
            Inputs(inputs),
            tuple(value if isinstance(value, FunModule) else given(value) for value in args),
            {name: value if isinstance(value, FunModule) else given(value) for name, value in kwargs.items()},
        )

    def _gave(self, output: Any, call: _Call, read: Read, start: int) -> MessageNode:
        external = _external(read.data, call.inputs, start)
        if external and not self._options.get("allow_external_dependencies"):
            names = ", ".join(found.name for found in external)
            raise TraceMissingInputsError(
                f"{self._title} read {names}, which is no argument; make it one, or set allow_external_dependencies"
            )
        made = node(output)
        inner = (made,) if isinstance(output, Node) or made.op is not None else ()
        sent = self._code.learnt_elsewhere(self.parameter.value) if self._code and self.parameter else []
        unseen = {id(found): found for found in (*inner, *external, *_external(read.text, call.inputs, start), *sent)}
        info = {**self._called(call), "output": output, "external_dependencies": external}
        return MessageNode(
            made.value,
            inputs=Inputs(dict(call.inputs.items()), unseen.values()),
            description=self.description,
            name=self.name,
            info=info,
            op=self,
        )

    def _called(self, call: _Call) -> dict[str, Any]:
        return {**self.info, "inputs": {"args": call.args, "kwargs": call.kwargs}}

    def _fail(self, error: Exception, call: _Call) -> NoReturn:
        if not self._options.get("catch_execution_error", True):
            raise error
        comment = self._code.comment(error, self.parameter.value) if self._code and self.parameter else ""
        failed(error, call.inputs, self, comment or annotated(error), self._called(call))


def bundle(description: str | None = None, **options: Unpack[BundleOptions]) -> Callable[[Callable[..., Any]], FunModule]:
    """Make each call of a function a node: ``@bundle()``, or ``@bundle("[name] what it does", trainable=True)``.

    Functions, methods of all kinds, coroutines, generators, lambdas and builtins. The options are those of ``BundleOptions``; raises
    TypeError for others.
    """
    if unknown := sorted(set(options) - set(BundleOptions.__annotations__)):
        raise TypeError(f"bundle does not know {unknown[0]!r}; it takes {', '.join(BundleOptions.__annotations__)}")
    return lambda function: FunModule(function, description, **options)


def _name_of(function: Any) -> str:
    """As in its class, but without the functions around it."""
    name: str = getattr(function, "__qualname__", None) or type(function).__name__
    return name.rpartition("<locals>.")[2]


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _named(signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults too. Raises TypeError for a wrong call."""
    if signature is None:
        return {**{f"arg{index}": value for index, value in enumerate(args)}, **kwargs}
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named |= {f"{name}_{index}": one for index, one in enumerate(cast(tuple[Any, ...], value))}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named


def _as_input(value: Any, name: str) -> Node:
    if isinstance(value, FunModule):
        value = value.parameter or value
    return value if isinstance(value, Node) else node(value, name)


def _cut(value: Any) -> Node:
    """The same value, from nowhere, so that what is done with it is a graph of its own."""
    made = node(value)
    return Node(made.value, name=made.label)


def _external(read: Iterable[Any], inputs: Inputs, start: int) -> list[Any]:
    """What was there before the call and is not among its inputs, each once."""
    return list({id(found): found for found in read if found.serial < start and found not in inputs}.values())
