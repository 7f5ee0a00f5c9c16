"""What each operation of Python gives on a node.

Recorded, and a node comes out:
    arithmetic from both sides, bits, ``@``, ``divmod``, ``pow``, ``round``, ``abs``, ``math.floor``, ``ceil`` and ``trunc``; ``< <= > >=``;
    ``n == plain`` and ``n != plain``; ``n[key]``; ``for item in n`` and ``reversed(n)``; ``n.attribute``; ``n.method(...)``; ``n(...)`` of
    a function; ufuncs and functions of numpy. ``n += x`` gives a new node under the old name and leaves the old value as it was.
Plain, because Python takes nothing else:
    ``bool``, ``int``, ``float``, ``complex``, ``len``, ``x in n``, ``str``, ``format`` and f-strings, ``range(n)``, ``math.sqrt(n)``.
    Where such a value matters, ``length``, ``contains`` and ``text`` are recorded, and so is ``node(",").join([a, b])``.
Neither:
    ``a == b`` of two nodes says whether they are the same node, so that ``in``, ``remove`` and ``index`` of a list never mistake one for
    another with an equal value. ``eq(a, b)`` and ``ne(a, b)`` compare the values, and are recorded.
    ``n[key] = x`` is a TypeError. A method that changes its object changes the value that the node holds, as it would without a node.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from agentopt.trace.values import Proxy

__all__ = [
    "Keywords",
    "Operators",
    "attr",
    "cond",
    "contains",
    "described",
    "eq",
    "length",
    "make_dict",
    "make_frozenset",
    "make_list",
    "make_set",
    "make_slice",
    "make_tuple",
    "ne",
    "text",
]


_PYTHON: Any = operator


class Keywords:
    """A function whose last inputs were given by name."""

    __slots__ = ("function", "names")

    def __init__(self, function: Callable[..., Any], names: tuple[str, ...]) -> None:
        self.function, self.names = function, names

    def __call__(self, *values: Any) -> Any:
        first = len(values) - len(self.names)
        return self.function(*values[:first], **dict(zip(self.names, values[first:], strict=True)))


class Method:
    """A method by its name, looked up in the object that it is called on."""

    __slots__ = ("name", "of")

    def __init__(self, of: type, name: str) -> None:
        self.of, self.name = of, name

    @property
    def described(self) -> tuple[str, Callable[..., Any]]:
        return f"{self.of.__name__}.{self.name}", getattr(self.of, self.name, self)

    def __call__(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(value, self.name)(*args, **kwargs)


@functools.lru_cache(maxsize=1024)
def _method(of: Any, name: str) -> Method:
    return Method(of, name)


def described(op: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
    """The name of an operation, and the function whose documentation tells what it does. An operation may know better: ``described``."""
    known: tuple[str, Callable[..., Any]] | None = getattr(op, "described", None)
    return known or (getattr(op, "__name__", type(op).__name__), op)


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, of a function that is itself a node's value."""
    return function(*args, **kwargs)


def item(values: Iterable[Any], index: int) -> Any:
    """The element that came at that position of an iteration."""
    return next(itertools.islice(values, index, None))


def make_list(*items: Any) -> list[Any]:
    """A list of these."""
    return list(items)


def make_tuple(*items: Any) -> tuple[Any, ...]:
    """A tuple of these."""
    return items


def make_set(*items: Any) -> set[Any]:
    """A set of these."""
    return set(items)


def make_frozenset(*items: Any) -> frozenset[Any]:
    """A frozenset of these."""
    return frozenset(items)


def make_dict(*pairs: tuple[Any, Any], **items: Any) -> dict[Any, Any]:
    """A dict of these."""
    return dict(pairs, **items)


def make_slice(start: Any, stop: Any, step: Any) -> slice:
    """``start:stop:step`` of an index."""
    return slice(start, stop, step)


def eq(a: Any, b: Any) -> Any:
    """Whether two values are equal, recorded. One of the two is a node, here and below."""
    return _recorded(operator.eq, a, b)


def ne(a: Any, b: Any) -> Any:
    """Whether two values differ, recorded."""
    return _recorded(operator.ne, a, b)


def length(value: Any) -> Any:
    """``len(value)``, recorded."""
    return _recorded(len, value)


def contains(values: Any, value: Any) -> Any:
    """``value in values``, recorded."""
    return _recorded(operator.contains, values, value)


def text(value: Any) -> Any:
    """``str(value)``, recorded."""
    return _recorded(str, value)


def attr(value: Any, name: str) -> Any:
    """``value.name``, recorded, for names that a node has itself, such as ``value`` and ``op``."""
    return _recorded(getattr, value, name)


def cond(condition: Any, yes: Any, no: Any) -> Any:
    """``yes if condition else no``, recorded with all three."""
    return _recorded(choose, condition, yes, no)


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """``yes if condition else no``."""
    return yes if condition else no


def _recorded(op: Callable[..., Any], *inputs: Any) -> Any:
    for given in inputs:
        if isinstance(given, Operators):
            return given._apply(op, inputs)  # pyright: ignore[reportPrivateUsage]
    return op(*inputs)


def _called(op: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return (Keywords(op, tuple(kwargs)), (*args, *kwargs.values())) if kwargs else (op, args)


def _binary(op: Callable[..., Any]) -> tuple[Any, Any]:
    def forward(self: Any, other: Any) -> Any:
        return self._apply(op, (self, other))

    def reflected(self: Any, other: Any) -> Any:
        return self._apply(op, (other, self))

    return forward, reflected


def _unary(op: Callable[..., Any]) -> Any:
    def apply(self: Any) -> Any:
        return self._apply(op, (self,))

    return apply


class Operators(Proxy):
    """The operations, for a class with a value that knows how to make nodes."""

    __slots__ = ()
    value: Any

    if TYPE_CHECKING:  # an abstract class would cost a microsecond per operation

        def _apply(self, op: Callable[..., Any], inputs: tuple[Any, ...]) -> Any: ...

        def _made(self, value: Any, op: Any, inputs: tuple[Any, ...]) -> Any: ...

    __add__, __radd__ = _binary(_PYTHON.add)
    __sub__, __rsub__ = _binary(_PYTHON.sub)
    __mul__, __rmul__ = _binary(_PYTHON.mul)
    __matmul__, __rmatmul__ = _binary(_PYTHON.matmul)
    __truediv__, __rtruediv__ = _binary(_PYTHON.truediv)
    __floordiv__, __rfloordiv__ = _binary(_PYTHON.floordiv)
    __mod__, __rmod__ = _binary(_PYTHON.mod)
    __divmod__, __rdivmod__ = _binary(divmod)
    __lshift__, __rlshift__ = _binary(_PYTHON.lshift)
    __rshift__, __rrshift__ = _binary(_PYTHON.rshift)
    __and__, __rand__ = _binary(_PYTHON.and_)
    __xor__, __rxor__ = _binary(_PYTHON.xor)
    __or__, __ror__ = _binary(_PYTHON.or_)
    __lt__, _ = _binary(_PYTHON.lt)
    __le__, _ = _binary(_PYTHON.le)
    __gt__, _ = _binary(_PYTHON.gt)
    __ge__, _ = _binary(_PYTHON.ge)
    __getitem__, _ = _binary(_PYTHON.getitem)
    __neg__ = _unary(_PYTHON.neg)
    __pos__ = _unary(_PYTHON.pos)
    __abs__ = _unary(_PYTHON.abs)
    __invert__ = _unary(_PYTHON.invert)
    __floor__ = _unary(math.floor)
    __ceil__ = _unary(math.ceil)
    __trunc__ = _unary(math.trunc)
    __hash__ = object.__hash__

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return self._apply(pow, (self, other) if modulus is None else (self, other, modulus))

    def __rpow__(self, other: Any) -> Any:
        return self._apply(pow, (other, self))

    def __round__(self, digits: Any = None) -> Any:
        return self._apply(round, (self,) if digits is None else (self, digits))

    def __eq__(self, other: object) -> Any:
        return self is other if isinstance(other, Operators) else self._apply(_PYTHON.eq, (self, other))

    def __ne__(self, other: object) -> Any:
        return self is not other if isinstance(other, Operators) else self._apply(_PYTHON.ne, (self, other))

    def __iter__(self) -> Iterator[Any]:
        return self._items(iter(self.value))

    def __reversed__(self) -> Iterator[Any]:
        return self._items(reversed(self.value))

    def _items(self, values: Iterator[Any]) -> Iterator[Any]:
        for index, value in enumerate(values):
            yield self._made(value, item, (self, index))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._apply(*_called(call, (self, *args), kwargs))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # protocols are what the class says, not what the value could do
            raise AttributeError(f"a node has no {name}")
        value: Any = self.value
        found = getattr(value, name)
        if not callable(found):
            return self._made(found, getattr, (self, name))
        method = _method(type(cast(object, value)), name)

        def called(*args: Any, **kwargs: Any) -> Any:
            return self._apply(*_called(method, (self, *args), kwargs))

        return called

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self._apply(*_called(ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs))

    def __array_function__(self, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._apply(*_called(function, args, kwargs))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        import numpy

        return numpy.array(self.value, *args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __complex__(self) -> complex:
        return complex(self.value)

    def __index__(self) -> int:
        return _PYTHON.index(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __contains__(self, other: Any) -> bool:
        return (other.value if isinstance(other, Operators) else other) in self.value

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, form: str) -> str:
        return format(self.value, form)

    def __bytes__(self) -> bytes:
        return bytes(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"
