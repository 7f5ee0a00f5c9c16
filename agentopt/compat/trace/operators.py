"""Operations of nodes as functions: ``operators.add(x, y)`` is ``x + y``, and gives a node of plain arguments too."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from agentopt.compat.trace.bundles import FunModule
from agentopt.compat.trace.llm import answer

__all__ = ["names"]

_UNARY: dict[str, Callable[[Any], Any]] = {
    "pos": lambda x: +x,
    "neg": lambda x: -x,
    "invert": lambda x: ~x,
    "abs": lambda x: abs(x),
    "floor": lambda x: math.floor(x),
    "ceil": lambda x: math.ceil(x),
    "trunc": lambda x: math.trunc(x),
    "not_": lambda x: not x,
    "len_": lambda x: len(x),
    "ord_": lambda x: ord(x),
    "chr_": lambda x: chr(x),
    "lower": lambda x: x.lower(),
    "upper": lambda x: x.upper(),
    "title": lambda x: x.title(),
    "swapcase": lambda x: x.swapcase(),
    "capitalize": lambda x: x.capitalize(),
    "clone": lambda x: copy.deepcopy(x),
    "identity": lambda x: copy.deepcopy(x),
    "to_list": lambda x: list(x),
    "to_dict": lambda x: dict(x),
    "to_set": lambda x: set(x),
    "to_tuple": lambda x: tuple(x),
    "keys": lambda x: list(x.keys()),
    "values": lambda x: list(x.values()),
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "concat": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "floor_divide": lambda x, y: x // y,
    "mod": lambda x, y: x % y,
    "node_divmod": lambda x, y: divmod(x, y),
    "power": lambda x, y: x**y,
    "lshift": lambda x, y: x << y,
    "rshift": lambda x, y: x >> y,
    "and_": lambda x, y: x & y,
    "or_": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "neq": lambda x, y: x != y,
    "ge": lambda x, y: x >= y,
    "gt": lambda x, y: x > y,
    "is_": lambda x, y: x is y,
    "is_not": lambda x, y: x is not y,
    "in_": lambda x, y: x in y,
    "not_in": lambda x, y: x not in y,
    "getitem": lambda x, index: x[index],
    "node_getattr": lambda obj, attr: getattr(obj, attr),
}


def _round(x: Any, n: Any = None) -> Any:
    return round(x, n)


def _cond(condition: Any, x: Any, y: Any) -> Any:
    return x if condition else y


def _split(x: Any, y: Any = None, maxsplit: Any = -1) -> Any:
    return x.split(y, maxsplit)


def _strip(x: Any, chars: Any = None) -> Any:
    return x.strip(chars)


def _replace(x: Any, old: Any, new: Any, count: Any = -1) -> Any:
    return x.replace(old, new, count)


def _format(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x.format(*args, **kwargs)


def _join(x: Any, *y: Any) -> Any:
    return x.join(y)


def _pop(x: Any, index: Any = -1) -> Any:
    return x.pop(index)


def _call(fun: Any, *args: Any, **kwargs: Any) -> Any:
    return fun(*args, **kwargs)


def _make_list(*args: Any) -> Any:
    return list(args)


def _make_dict(**kwargs: Any) -> Any:
    return kwargs


def _make_set(*args: Any) -> Any:
    return set(args)


def _make_tuple(*args: Any) -> Any:
    return args


_OTHERS: dict[str, Callable[..., Any]] = {
    "round": _round,
    "cond": _cond,
    "split": _split,
    "strip": _strip,
    "replace": _replace,
    "format": _format,
    "join": _join,
    "call_llm": answer,
    "pop": _pop,
    "call": _call,
    "make_list": _make_list,
    "make_dict": _make_dict,
    "make_set": _make_set,
    "make_tuple": _make_tuple,
}
_CHANGES = {
    "dict": ("update", "pop", "popitem"),
    "list": ("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"),
    "set": ("add", "clear", "discard", "intersection_update", "pop", "remove", "symmetric_difference_update", "update"),
}


def _changed(method: str) -> Callable[..., Any]:
    def change(x: Any, *args: Any, **kwargs: Any) -> Any:
        """A changed copy; ``x`` stays as it was."""
        x = copy.copy(x)
        getattr(x, method)(*args, **kwargs)
        return x

    return change


_FUNCTIONS: dict[str, Callable[..., Any]] = {**_UNARY, **_BINARY, **_OTHERS} | {
    f"{kind}_{method}": _changed(method) for kind, methods in _CHANGES.items() for method in methods
}
_OPERATIONS = {name: FunModule(function, f"[{name}]") for name, function in _FUNCTIONS.items()}


def names() -> list[str]:
    """Of all operations."""
    return sorted(_OPERATIONS)


def __getattr__(name: str) -> FunModule:
    if name not in _OPERATIONS:
        raise AttributeError(f"there is no operation {name!r}")
    return _OPERATIONS[name]
