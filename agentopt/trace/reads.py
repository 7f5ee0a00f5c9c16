"""How parameters behave in expressions: as their current value, whose use is recorded; the results are plain values."""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from agentopt.trace.context import CURRENT
from agentopt.trace.values import Linked, Proxy, type_of

__all__ = ["Reads"]

_OPERATOR: Any = operator


def _binary(name: str, call: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    def swapped(value: Any, other: Any) -> Any:
        return call(other, value)

    def forward(self: Any, other: Any) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._operate(name, call, other)

    def reflected(self: Any, other: Any) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._operate(f"r{name}", swapped, other)

    return forward, reflected


class Reads:
    """The operators of a parameter. What gives a number, text or container is a node ``op``; what only asks is a read.

    Beside a proxy it is the proxy's operand.
    """

    __slots__ = ()
    name: str

    @abstractmethod
    def _read(self) -> tuple[Any, int]: ...

    def _operate(self, name: str, call: Callable[..., Any], *others: Any, **named: Any) -> Any:
        """``call(value, ...)``, recorded."""
        value, number = self._read()
        held, values = _linked(others)
        held_named, named = _linked_by_name(named)
        made = call(value, *values, **named)
        trace = CURRENT.get()
        if trace is not None:
            inputs = {"self": Linked(number, value), **{f"arg{at}": item for at, item in enumerate(held, 1)}, **held_named}
            trace.add("op", name, inputs, made)
        return made

    def _ask(self, call: Callable[..., Any], *others: Any) -> Any:
        return call(self._read()[0], *_linked(others)[1])

    def __getattr__(self, name: str) -> Any:
        """Methods of the value."""
        if name.startswith("_"):
            raise AttributeError(f"a parameter has no attribute {name!r}; take it from its .value")
        kind = type_of(object.__getattribute__(self, "_value"))
        method = getattr(kind, name, None)
        if not callable(method):
            raise AttributeError(f"parameter {self.name!r} holds a {kind.__name__}, which has no method {name!r}")
        return partial(self._operate, name, method)

    # --- text

    def __str__(self) -> str:
        return self._ask(str)

    def __repr__(self) -> str:
        """Says what it is, and reads nothing."""
        return f"Param({self.name!r})"

    def __format__(self, spec: str) -> str:
        return self._ask(format, spec)

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"parameter {self.name!r} is no path; use its .value")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"parameter {self.name!r} is no array; use its .value")

    __array_ufunc__ = None  # numpy leaves operators with a parameter to the parameter

    # --- questions

    def __bool__(self) -> bool:
        return bool(self._ask(bool))

    def __len__(self) -> int:
        return self._ask(len)

    __iter__ = None
    """Who looks whether something is text or a list of parts would take a text that can be iterated for a list of its letters."""

    def __contains__(self, item: object) -> bool:
        return self._ask(operator.contains, item)

    def __int__(self) -> int:
        return self._ask(int)

    def __float__(self) -> float:
        return self._ask(float)

    def __complex__(self) -> complex:
        return self._ask(complex)

    def __index__(self) -> int:
        value = self._read()[0]
        if not isinstance(value, int):
            raise TypeError(f"parameter {self.name!r} holds a {type(value).__name__}, not a whole number; use its .value")
        return value

    def __hash__(self) -> NoReturn:
        raise TypeError(f"parameter {self.name!r} is equal to its current value, which changes, so it has no hash; use its .name or .value")

    def __eq__(self, other: object) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._ask(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._ask(operator.ne, other)

    def __lt__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._ask(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._ask(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._ask(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Proxy) else self._ask(operator.ge, other)

    # --- what makes something new

    __add__, __radd__ = _binary("add", _OPERATOR.add)
    __sub__, __rsub__ = _binary("sub", _OPERATOR.sub)
    __mul__, __rmul__ = _binary("mul", _OPERATOR.mul)
    __matmul__, __rmatmul__ = _binary("matmul", _OPERATOR.matmul)
    __truediv__, __rtruediv__ = _binary("truediv", _OPERATOR.truediv)
    __floordiv__, __rfloordiv__ = _binary("floordiv", _OPERATOR.floordiv)
    __mod__, __rmod__ = _binary("mod", _OPERATOR.mod)
    __pow__, __rpow__ = _binary("pow", _OPERATOR.pow)
    __lshift__, __rlshift__ = _binary("lshift", _OPERATOR.lshift)
    __rshift__, __rrshift__ = _binary("rshift", _OPERATOR.rshift)
    __and__, __rand__ = _binary("and", _OPERATOR.and_)
    __or__, __ror__ = _binary("or", _OPERATOR.or_)
    __xor__, __rxor__ = _binary("xor", _OPERATOR.xor)
    __divmod__, __rdivmod__ = _binary("divmod", divmod)

    def __getitem__(self, key: Any) -> Any:
        return self._operate("getitem", operator.getitem, key)

    def __round__(self, digits: int | None = None) -> Any:
        return self._operate("round", round, digits)

    def __neg__(self) -> Any:
        return self._operate("neg", operator.neg)

    def __pos__(self) -> Any:
        return self._operate("pos", operator.pos)

    def __abs__(self) -> Any:
        return self._operate("abs", operator.abs)

    def __invert__(self) -> Any:
        return self._operate("invert", operator.invert)

    def __trunc__(self) -> Any:
        return self._operate("trunc", math.trunc)

    def __floor__(self) -> Any:
        return self._operate("floor", math.floor)

    def __ceil__(self) -> Any:
        return self._operate("ceil", math.ceil)


def _linked(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Arguments as a row holds them, and as they are; parameters are read."""
    if not any(isinstance(value, Reads) for value in values):
        return values, values
    held = tuple(_read(value) for value in values)
    return held, tuple(item.value if isinstance(item, Linked) else item for item in held)


def _linked_by_name(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    held, plain = _linked(tuple(values.values()))
    return dict(zip(values, held, strict=True)), dict(zip(values, plain, strict=True))


def _read(value: Any) -> Any:
    if not isinstance(value, Reads):
        return value
    read, number = value._read()  # pyright: ignore[reportPrivateUsage]
    return Linked(number, read)
