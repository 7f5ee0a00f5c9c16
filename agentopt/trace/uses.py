"""What the code of a function takes from its surroundings, in a form that can be sent along with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from agentopt.core.errors import TaskError
from agentopt.core.running import Import, Source, unsendable
from agentopt.trace.own_source import free_names, own_source

__all__ = ["Surroundings"]

_INSTALLED = ("site-packages", "dist-packages")


class Surroundings:
    """The names in ``uses``, looked up where the function was written, at each call anew.

    ``sent`` says that they leave this process. Raises TaskError for a name that the source takes without being told, and for what cannot be
    sent; a name that is not defined yet is looked at when the function is called.
    """

    def __init__(self, function: Callable[..., Any], source: str, uses: Sequence[str], sent: bool) -> None:
        self._names = (uses,) if isinstance(uses, str) else tuple(uses)
        self._entry = function.__name__
        self._sent = sent
        self._globals: dict[str, Any] = getattr(function, "__globals__", {})
        cells = getattr(function, "__closure__", None) or ()
        self._cells = dict(zip(function.__code__.co_freevars, cells, strict=True))
        self._check(source, "it")
        for name in self._names:
            if self._defined(name) and (why := self._unsendable(name)):
                raise TaskError(f"trainable {self._entry!r}: {why}")

    def found(self) -> dict[str, Any]:
        """The names with plain values, an Import or a Source each; as they are, if they stay in this process. Raises TaskError."""
        for name in self._names:
            if not self._defined(name):
                raise TaskError(f"trainable {self._entry!r}: uses names {name!r}, which is not defined")
        return {name: self._form(name, self._value(name)) for name in self._names}

    def imports(self) -> tuple[str, ...]:
        """The modules among them."""
        forms = (self._form(name, self._value(name)) for name in self._names if self._defined(name))
        return tuple(dict.fromkeys(form.module for form in forms if isinstance(form, Import)))

    def _defined(self, name: str) -> bool:
        try:
            self._value(name)
        except (KeyError, ValueError):  # a cell that is still empty
            return False
        return True

    def _value(self, name: str) -> Any:
        return self._cells[name].cell_contents if name in self._cells else self._globals[name]

    def _unsendable(self, name: str) -> str:
        form = self._form(name, self._value(name))
        return "" if not self._sent or isinstance(form, Import | Source) else unsendable(form, name)

    def _form(self, name: str, value: Any) -> Any:
        if not self._sent:
            return value
        if isinstance(value, ModuleType):
            return self._module(name, value)
        if hasattr(value, "as_source"):  # another trainable
            return value.as_source()
        module, attribute = getattr(value, "__module__", None), getattr(value, "__name__", None)
        if isinstance(module, str) and isinstance(attribute, str):
            home = sys.modules.get(module)
            if home is not None and getattr(home, attribute, None) is value and _is_installed(home):
                return Import(module, attribute)
        if isinstance(value, FunctionType):
            source = own_source(value)
            self._check(source, name)
            return Source(source, value.__name__)
        return value

    def _module(self, name: str, value: ModuleType) -> Import:
        if not _is_installed(value):
            raise TaskError(
                f"trainable {self._entry!r}: {name} is the module {value.__name__}, which is not installed, and no sandbox may read its "
                "folder; name the functions of it that are needed in uses"
            )
        return Import(value.__name__)

    def _check(self, source: str, who: str) -> None:
        if missing := [name for name in free_names(source) if name not in (*self._names, self._entry)]:
            uses = ", ".join(f'"{name}"' for name in (*self._names, *missing))
            raise TaskError(
                f"trainable {self._entry!r}: {who} takes {', '.join(missing)} from its surroundings; give uses=[{uses}], "
                "or import modules inside the function"
            )


def _is_installed(module: ModuleType) -> bool:
    """Whether it can be imported where only Python and its packages are."""
    root = module.__name__.partition(".")[0]
    if root in sys.stdlib_module_names and root != "__main__":
        return True
    file = getattr(module, "__file__", None)
    return bool(file) and any(part in _INSTALLED for part in Path(file).parts)
