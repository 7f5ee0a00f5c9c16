"""Lists of nodes that tell them apart by what they are, not by their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Inputs", "Nodes"]


class Nodes(list[Any]):
    """A list in which a node is itself alone."""

    def __contains__(self, other: object) -> bool:
        return any(found is other for found in self)

    def index(self, other: Any, *bounds: Any) -> int:
        """Raises ValueError if it is not there."""
        return [id(found) for found in self].index(id(other), *bounds)

    def remove(self, other: Any) -> None:
        """Raises ValueError if it is not there."""
        del self[self.index(other)]

    def count(self, other: Any) -> int:
        return sum(found is other for found in self)


class Inputs(tuple[Any, ...]):
    """The inputs of an operation, in order and by name. What came in unseen, as a parameter of an inner function does, has no name."""

    names: tuple[str, ...]

    def __new__(cls, named: Mapping[str, Any], unseen: Iterable[Any] = ()) -> Inputs:
        made = super().__new__(cls, (*named.values(), *unseen))
        made.names = tuple(named)
        return made

    @property
    def unseen(self) -> tuple[Any, ...]:
        return self[len(self.names) :]

    def keys(self) -> tuple[str, ...]:
        return self.names

    def values(self) -> tuple[Any, ...]:
        return self[: len(self.names)]

    def items(self) -> list[tuple[str, Any]]:
        return list(zip(self.names, self, strict=False))

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)

    def __contains__(self, key: object) -> bool:
        return key in self.names if isinstance(key, str) else any(found is key for found in self)

    def __eq__(self, other: object) -> bool:
        return dict(self.items()) == other if isinstance(other, dict) else super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return super().__hash__()
