"""What a node is called, and what is said of it in words."""

from __future__ import annotations

import re
import threading
import warnings
import weakref
from collections.abc import Mapping
from types import GenericAlias
from typing import Any, cast

from agentopt.compat.trace.tracing import READ
from agentopt.trace import node as ours

__all__ = ["OPERATOR", "Labelled"]

OPERATOR = re.compile(r"^\[([^\[\]]+)\]")
"""How the name of an operation begins a description."""


_ONE_AT_A_TIME = threading.Lock()
_SWEPT = 64
_OF_TRACE = frozenset({"propagator", "visualize", "simple_visualization", "reverse_plot", "print_limit"})


class Labelled(ours.Node):
    """A node with a label, a description, and weak references to what was made of it."""

    __slots__ = ("_children", "_constraint", "_description", "_info")

    def __class_getitem__(cls, item: Any) -> Any:
        """``Node[str]``, in annotations."""
        return GenericAlias(cls, item)

    def backward(self, feedback: Any = "", score: float | Mapping[str, float] | None = None, **options: Any) -> None:
        """Say how good this is, as ``agentopt.trace.node.Node.backward``; ``feedback`` may be any object with a text.

        Graphs are kept as ``retain_graph`` would have it. Trace's other options are warned of; raises TypeError for unknown ones.
        """
        if unknown := sorted(set(options) - _OF_TRACE - {"retain_graph"}):
            raise TypeError(f"backward does not know {unknown[0]!r}")
        for given in sorted(set(options) & _OF_TRACE):
            warnings.warn(f"backward: {given} has no effect here", stacklevel=2)
        super().backward(feedback if isinstance(feedback, str) else str(feedback), score)

    def _begin(self, description: str | None, constraint: str | None, info: Any) -> None:
        self._description, self._constraint = description, constraint
        self._info: Any = info
        self._children: list[weakref.ref[Labelled]] = []

    def gave(self, child: Labelled) -> None:
        """``child`` was made of this."""
        with _ONE_AT_A_TIME:
            self._children.append(weakref.ref(child))
            if len(self._children) >= _SWEPT and len(self._children).bit_count() == 1:  # at each doubling, so it costs next to nothing
                self._children = [ref for ref in self._children if ref() is not None]

    def alive(self) -> list[Labelled]:
        """What was made of this and is still there, each once."""
        return list({id(child): child for ref in list(self._children) if (child := ref()) is not None}.values())

    @property
    def data(self) -> Any:
        """The value. Inside a bundled function, reading one that is no argument is an error, if the function does not allow it."""
        read = READ.get()
        if read is not None:
            read.data.append(self)
        return self.value

    @property
    def _data(self) -> Any:
        return self.value

    @_data.setter
    def _data(self, value: Any) -> None:
        self.value = ours.plain(value)

    @property
    def type(self) -> Any:
        return type(cast(object, self.value))

    @property
    def name(self) -> str:
        """The label and a number. No two nodes of a process have the same."""
        return f"{self.label}:{self.serial}"

    @property
    def py_name(self) -> str:
        return self.name.replace(":", "")

    @property
    def id(self) -> str:
        return str(self.serial)

    @property
    def description(self) -> str:
        kind = type(self).__name__
        text = self._description or f"This is a {kind} in a computational graph."
        return text if OPERATOR.match(text) else f"[{kind}] {text.strip()}"

    @property
    def constraint(self) -> str | None:
        return self._constraint

    @property
    def info(self) -> Any:
        return self._info

    def _written(self) -> Any:
        """The value, to be made text of. Inside a bundled function that is noticed, and no error: it may be a line for debugging."""
        read = READ.get()
        if read is not None:
            read.text.append(self)
        return self.value

    def __str__(self) -> str:
        return str(self._written())

    def __format__(self, form: str) -> str:
        return format(self._written(), form)

    def __repr__(self) -> str:
        return f"{type(self).__name__}: ({self.name}, dtype={type(self.value)}, data={self.value!r})"
