"""Nodes with the names that Trace gives their parts."""

from __future__ import annotations

import copy
import functools
import operator
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, cast

from agentopt.compat.trace.errors import ExecutionError, annotated
from agentopt.compat.trace.inputs import Inputs, Nodes
from agentopt.compat.trace.labels import OPERATOR, Labelled
from agentopt.compat.trace.propagation import TraceGraph, levels, views
from agentopt.compat.trace.tracing import GRAPH
from agentopt.core.task import Kind
from agentopt.trace import node as ours
from agentopt.trace.functions import Function
from agentopt.trace.operators import Keywords, described, item
from agentopt.trace.params import Param

__all__ = ["ExceptionNode", "MessageNode", "Node", "ParameterNode", "failed", "inputs_of", "node"]

_USABLE = (str, bool, int, float, dict)


class Node(Labelled):
    """A value and where it came from.

    Beside Trace's names, all operators of ``agentopt.trace.node`` work, and attributes and methods of the value. ``==`` compares values and
    gives a truth value, as in Trace; lists of nodes that come from here, such as ``parents``, go by identity all the same. The text of a
    node is the text of its value.
    """

    __slots__ = ()
    trainable = False

    def __init__(
        self, value: Any, *, name: str | None = None, description: str | None = None, constraint: str | None = None, info: Any = None
    ) -> None:
        self._begin(description, constraint, info)
        super().__init__(ours.plain(value), label=name or type(value).__name__)

    # --- where it came from ----------------------------------------------------------------------------------------

    @property
    def parents(self) -> Nodes:
        """What it was made of, each once."""
        return Nodes({id(parent): parent for parent in self.shown}.values())

    @property
    def shown(self) -> tuple[Any, ...]:
        """The inputs that have names."""
        return self.inputs.values() if isinstance(self.inputs, Inputs) else self.inputs

    @property
    def children(self) -> Nodes:
        """What was made of it and is still alive, in the order of making."""
        return Nodes(sorted(self.alive(), key=_serial))

    @property
    def is_root(self) -> bool:
        return not self.parents

    @property
    def is_leaf(self) -> bool:
        return not self.children

    @property
    def level(self) -> int:
        """The length of the longest way from a root. O(V + E)."""
        return levels(self)[id(self)]

    @property
    def parameter_dependencies(self) -> set[ParameterNode]:
        """The trainable parameters that led here, as far as functions show their inputs."""
        return _trainable(_visible(self))

    @property
    def hidden_dependencies(self) -> set[ParameterNode]:
        """The trainable parameters that led here through the inside of functions alone."""
        return _trainable(ours.reached((self,))) - self.parameter_dependencies

    @property
    def expandable_dependencies(self) -> set[Node]:
        """The calls up to here that have such parameters inside; ``info["output"]`` is what was made there."""
        calls = (found for found in _visible(self) if isinstance(found.inputs, Inputs))
        return {found for found in calls if _trainable(ours.reached(found.inputs.unseen)) - found.parameter_dependencies}

    # --- what is said of it ----------------------------------------------------------------------------------------

    @property
    def feedback(self) -> Mapping[Any, list[TraceGraph]]:
        """Feedback ends at parameters; other nodes keep none."""
        return {}

    def zero_feedback(self) -> None:
        """Forget what was said."""

    # --- operations ------------------------------------------------------------------------------------------------

    def _apply(self, op: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        nodes = tuple(map(node, inputs))
        try:
            value = op(*(given.value for given in nodes))
        except Exception as error:
            failed(error, inputs_of(op, nodes), op, annotated(error))
        return MessageNode(value, inputs=inputs_of(op, nodes), op=op)

    def _made(self, value: Any, op: Any, inputs: tuple[Any, ...]) -> Any:
        return MessageNode(value, inputs=inputs_of(op, tuple(map(node, inputs))), op=op)

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, Node):
            return self.value == other
        same: Any = self is other or self.value == other.value
        return bool(same.all()) if hasattr(same, "all") else bool(same)

    def __ne__(self, other: object) -> Any:
        return not self == other if isinstance(other, Node) else self.value != other

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[Any]:
        try:
            values = iter(self.value)
        except TypeError as error:
            failed(error, Inputs({"x": self}), iter, annotated(error))
        return self._items(values)

    async def __aiter__(self) -> AsyncIterator[Any]:
        index = 0
        async for value in self.value:
            yield self._made(value, item, (self, index))
            index += 1

    def eq(self, other: Any) -> Any:
        """Whether the values are equal, as a node."""
        return self._apply(operator.eq, (self, other))

    def neq(self, other: Any) -> Any:
        """Whether the values differ, as a node."""
        return self._apply(operator.ne, (self, other))

    def len(self) -> Any:
        """The length, as a node."""
        return self._apply(len, (self,))

    def getattr(self, key: Any) -> Any:
        """An attribute, as a node."""
        return self._apply(getattr, (self, key))

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """What a method gives, as a node."""
        return self.getattr(function)(*args, **kwargs)

    def clone(self) -> Any:
        """A copy that came from this one."""
        return self._apply(copy.deepcopy, (self,))

    def detach(self) -> Node:
        """A copy that came from nowhere."""
        return copy.deepcopy(self)

    def _twin(self) -> Node:
        return Node(self.value, name=self.label, description=self._description, constraint=self._constraint)

    def __copy__(self) -> Node:
        return self._twin()

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        memo[id(self)] = twin = self._twin()
        twin.value = copy.deepcopy(self.value, memo)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return (node, (self.value, self.label, self.trainable, self._description, self._constraint))


class ParameterNode(Node):
    """A node whose value an optimizer may change: text, code, a number, a truth value or a mapping. Others can be held, not optimized.

    ``param`` is the parameter behind it, so a candidate that is applied counts here too.
    """

    __slots__ = ("_held", "_unnamed", "trainable")
    trainable: bool

    def __init__(
        self,
        value: Any,
        *,
        name: str | None = None,
        trainable: bool = True,
        description: str | None = None,
        constraint: str | None = None,
        param: Param | None = None,
    ) -> None:
        value = ours.plain(value)
        self._begin(description, constraint, None)
        self.op = param or _param_of(value, description or "", constraint or "", trainable)
        ours.Node.__init__(self, value, self.op, (), name or type(value).__name__)
        self.trainable = trainable
        self._unnamed = param is None and not name
        if param is None:
            self.param.name = _identifier(name or type(value).__name__)

    def call_it(self, name: str) -> None:
        """The name that an optimizer knows it by, unless it was given one."""
        if self._unnamed:
            self.param.name = _identifier(name)

    @property
    def param(self) -> Param:
        return self.op

    @property
    def value(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.param.value if self._held is None else self._held[0]

    @value.setter
    def value(self, value: Any) -> None:
        usable = isinstance(value, _USABLE)
        self._held = None if usable else (value,)
        if usable:
            self.param.set(value)

    @property
    def feedback(self) -> Mapping[Any, list[TraceGraph]]:
        """Target -> all that was said of it, each with ``user_feedback`` and ``graph``."""
        return views(self)

    def zero_feedback(self) -> None:
        self.param.feedback.clear()

    def _twin(self) -> Node:
        said = {"description": self._description, "constraint": self._constraint}
        return ParameterNode(self.value, name=self.label, trainable=self.trainable, param=_alike(self.param), **said)


def _identifier(name: str) -> str:
    return re.sub(r"\W|^(?=\d)", "_", name)


def _alike(param: Param) -> Param:
    """Another parameter that is the same in all but what was said to it."""
    twin = object.__new__(type(param))
    for slot in (slot for base in type(param).__mro__ for slot in getattr(base, "__slots__", ()) if slot != "__weakref__"):
        object.__setattr__(twin, slot, object.__getattribute__(param, slot))
    twin.feedback = []
    return twin


def _param_of(value: Any, description: str, constraint: str, trainable: bool) -> Param:
    usable = isinstance(value, _USABLE)
    kind: Kind | None = None if usable else "config"
    return Param(value if usable else {}, "p", kind, description=description, constraint=constraint, trainable=trainable and usable)


class MessageNode(Node):
    """What an operation gave. ``inputs`` are nodes, by name."""

    __slots__ = ()

    def __init__(
        self,
        value: Any,
        *,
        inputs: Any,
        description: str | None = None,
        constraint: str | None = None,
        name: str | None = None,
        info: Any = None,
        op: Any = None,
    ) -> None:
        if not isinstance(inputs, Inputs):
            inputs = Inputs(cast(dict[str, Any], inputs) if isinstance(inputs, dict) else {given.name: given for given in inputs})
        if op is None:
            match = OPERATOR.match(description or "")
            op = Named(match[1] if match else "op")
        self._begin(description, constraint, info)
        ours.Node.__init__(self, ours.plain(value), op, cast(Inputs, inputs) if GRAPH.TRACE else Inputs({}), name or _about(op).name)
        for parent in self.inputs:
            parent.gave(self)

    @property
    def info(self) -> Any:
        """What is known of the operation. Each node has its own."""
        if self._info is None:
            about = _about(self.op).info
            args = [given.value for given in self.shown]
            self._info = {
                "fun_name": about.name,
                "doc": about.doc,
                "signature": about.signature,
                "source": about.source,
                "inputs": {"args": args, "kwargs": {}},
                "output": self.value,
            }
        return self._info


class ExceptionNode(MessageNode):
    """An operation that failed. Its data is the kind and the text of the exception."""

    __slots__ = ()

    def __init__(self, value: Exception, *, inputs: Any, **options: Any) -> None:
        original = value.original if isinstance(value, ExecutionError) else value
        super().__init__(f"({type(original).__name__}) {original}", inputs=inputs, **options)

    def create_feedback(self, style: str = "simple") -> str:
        """The exception; with ``style="full"`` the source, and an arrow at the line that failed."""
        if style not in ("simple", "full"):
            raise ValueError(f"style is simple or full, not {style!r}")
        return (self.info.get("error_comment") if style == "full" else None) or self.value


class Named:
    """An operation of which only the name is known."""

    def __init__(self, name: str) -> None:
        self.__name__ = name


def failed(error: Exception, inputs: Inputs, op: Any, comment: str, info: Mapping[str, Any] | None = None) -> NoReturn:
    """Raise ``error`` as one that is also an ExecutionError and has the node of what happened."""
    if isinstance(error, ExecutionError):
        inputs = Inputs(dict(inputs.items()), (*inputs.unseen, error.exception_node))
    name = _about(op).name
    known = {"fun_name": name, **(info or {}), "error_comment": comment, "traceback": comment}
    made = ExceptionNode(error, inputs=inputs, op=op, name=f"exception_{name}", description=f"[exception] {name} failed.", info=known)
    raise ExecutionError.of(error, made) from error


def node(
    value: Any, name: str | None = None, trainable: bool = False, description: str | None = None, constraint: str | None = None
) -> Any:
    """A node of ``value``, a parameter if ``trainable``. A node stays what it is, unless it is to become a parameter.

    Lists, tuples, sets and dicts with nodes inside become one node of plain data that came from those.
    """
    if trainable:
        label = name or (value.label if isinstance(value, Node) else None)
        return ParameterNode(value, name=label, description=description, constraint=constraint)
    if isinstance(value, Node):
        return value
    made = ours.node(value)
    return _ours(made) if made.op else Node(made.value, name=name, description=description, constraint=constraint)


def _ours(made: Any) -> Any:
    """A node of ``agentopt.trace`` as one of Trace's, with all that it came from."""
    if isinstance(made, Node) or not isinstance(made, ours.Node):
        return node(made)
    if isinstance(made.op, Param):
        return ParameterNode(made.value, name=made.op.name, trainable=made.op.trainable, param=made.op)
    return MessageNode(made.value, inputs=inputs_of(made.op, tuple(map(_ours, made.inputs))), op=made.op)


def inputs_of(op: Any, nodes: tuple[Any, ...]) -> Inputs:
    """The nodes by the names that ``op`` has for its arguments."""
    about = _about(op)
    keywords: tuple[str, ...] = op.names if isinstance(op, Keywords) else ()
    first = len(nodes) - len(keywords)
    return Inputs(dict(zip([*map(about.role, range(first)), *keywords], nodes, strict=True)))


@functools.lru_cache(maxsize=4096)
def _known(name: str, function: Any) -> Function:
    return Function(function, name)


def _about(op: Any) -> Function:
    name, function = described(op.function if isinstance(op, Keywords) else op)
    return _known(name, function)


def _visible(end: Node) -> list[Any]:
    """What led to ``end``, as far as functions show their inputs."""
    found = {id(end): end}
    stack = [end]
    while stack:
        for given in stack.pop().shown:
            if id(given) not in found:
                found[id(given)] = given
                stack.append(given)
    return list(found.values())


def _trainable(nodes: Iterable[Any]) -> set[ParameterNode]:
    return {found for found in nodes if isinstance(found, ParameterNode) and found.trainable}


def _serial(made: Any) -> int:
    return made.serial
