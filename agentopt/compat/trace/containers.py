"""Containers of parameters."""

from __future__ import annotations

import inspect
from collections import UserDict, UserList
from typing import Any

from agentopt.compat.trace.nodes import ParameterNode

__all__ = ["OWN", "Map", "NodeContainer", "ParameterContainer", "Seq"]

OWN = ("_agentopt_self", "_agentopt_bundles")
"""Attributes that bundled methods keep in their object."""


class NodeContainer:
    """An object whose attributes are nodes, or hold some."""


class ParameterContainer(NodeContainer):
    """Something that has parameters: its own, those of its trainable methods, and those of the containers among its attributes."""

    def parameters(self) -> list[ParameterNode]:
        """All parameters, each once, those of containers inside too. Those without a name get that of the attribute."""
        found: dict[int, ParameterNode] = {}
        for name, held in self.parameters_dict().items():
            if isinstance(held, ParameterNode):
                held.call_it(name)
            for one in held.parameters() if isinstance(held, ParameterContainer) else [held]:
                found[id(one)] = one
        return list(found.values())

    def parameters_dict(self) -> dict[str, Any]:
        """Parameters and containers of parameters by the name of the attribute, in the order of names."""
        found: dict[str, Any] = {}
        for name in sorted({*_class_attributes(self), *vars(self)} - set(OWN)):
            static = inspect.getattr_static(self, name)
            if isinstance(static, ParameterNode):
                found[name] = static
            elif isinstance(static, ParameterContainer):
                held: Any = getattr(self, name)  # a bundled method has its own parameter in each object
                if getattr(held, "bundled", False):
                    held = held.parameter
                if held is not None and held is not self:
                    found[name] = held
        return found


def _class_attributes(instance: object) -> set[str]:
    return {name for base in type(instance).__mro__ for name in vars(base)}


class Seq(UserList[Any], ParameterContainer):
    """A list with parameters in it: ``Seq(a, b)`` or ``Seq([a, b])``."""

    def __init__(self, *items: Any) -> None:
        one = len(items) == 1 and hasattr(items[0], "__len__") and hasattr(items[0], "__getitem__") and not isinstance(items[0], str)
        super().__init__(items[0] if one else items)

    def parameters_dict(self) -> dict[str, Any]:
        return {str(index): item for index, item in enumerate(self.data) if isinstance(item, ParameterNode | ParameterContainer)}


class Map(UserDict[Any, Any], ParameterContainer):
    """A dict with parameters among its values and keys."""

    def parameters_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in self.data.items():
            if isinstance(key, ParameterNode):
                found[key.name] = key
            if isinstance(value, ParameterNode | ParameterContainer):
                found[str(key)] = value
        return found
