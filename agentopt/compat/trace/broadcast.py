"""Functions of nodes, applied to everything in containers of nodes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

from agentopt.compat.trace.containers import NodeContainer
from agentopt.compat.trace.nodes import Node

__all__ = ["apply_op", "recursive_conversion", "to_data"]


def recursive_conversion(on_node: Callable[[Node], Any], on_other: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that rebuilds tuples, lists, dicts, sets and NodeContainers with what the two functions give for what is inside."""

    def convert(value: Any) -> Any:
        if isinstance(value, Node):
            return on_node(value)
        if isinstance(value, dict):
            return {convert(key): convert(held) for key, held in cast(dict[Any, Any], value).items()}
        if type(value) in (tuple, list, set, frozenset):
            return type(value)(map(convert, value))
        if isinstance(value, NodeContainer):
            twin = copy.copy(value)
            for name, held in vars(value).items():
                setattr(twin, name, convert(held))
            return twin
        return on_other(value)

    return convert


def to_data(value: Any) -> Any:
    """``value`` with the data of nodes in their place, at any depth."""
    data = recursive_conversion(lambda found: found.data, lambda other: other)(value)
    return data


def apply_op(op: Callable[..., Any], output: Any, *args: Any, **kwargs: Any) -> Any:
    """Fill ``output`` with ``op`` of the members of ``args`` and ``kwargs`` that lie at the same place; nodes stand for all places.

    Raises ValueError where containers differ in kind or length.
    """
    inputs = [*args, *kwargs.values()]
    if all(isinstance(given, Node) for given in inputs):
        return op(*args, **kwargs)
    if wrong := [given for given in inputs if not isinstance(given, Node) and type(given) is not type(output)]:
        raise ValueError(f"apply_op fills {type(output).__name__}, and {type(wrong[0]).__name__} is neither that nor a node")

    def at(place: Callable[[Any], Any]) -> Any:
        def pick(given: Any) -> Any:
            return given if isinstance(given, Node) else place(given)

        return apply_op(op, place(output), *map(pick, args), **{name: pick(given) for name, given in kwargs.items()})

    if isinstance(output, list | tuple):
        size = len(cast(list[Any], output))
        if any(not isinstance(given, Node) and len(given) != size for given in inputs):
            raise ValueError("apply_op takes containers of one length")
        return type(cast(list[Any], output))([at(lambda held, k=k: held[k]) for k in range(size)])
    if isinstance(output, dict):
        return {key: at(lambda held, key=key: held[key]) for key in cast(dict[Any, Any], output)}
    if isinstance(output, NodeContainer):
        for name in list(vars(output)):
            setattr(output, name, at(lambda held, name=name: getattr(held, name)))
    return output
