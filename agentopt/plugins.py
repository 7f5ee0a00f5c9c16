"""Names -> optimizers, archives and executors. A part's name is its file's name; there is no table to edit."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from agentopt.core.errors import ConfigError

__all__ = ["names", "resolve"]

Factory = Callable[[Any], Any]


def names(room: str) -> dict[str, str]:
    """name -> first line of the docstring, of every part in a room; nothing is imported."""
    folder = Path(__file__).parent / room
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules([str(folder)]):
        docstring = ast.get_docstring(ast.parse((folder / f"{module.name}.py").read_text(encoding="utf-8")))
        found[module.name] = (docstring or "").partition("\n")[0]
    return found


def resolve(room: str, name: str) -> Factory:
    """``mutate`` -> our class; ``package.module:Name`` -> anyone's; else an entry point of group ``agentopt.<room>``.

    Raises ConfigError that lists what there is.
    """
    if ":" in name:
        return _imported(room, name)
    known = names(room)
    if name in known:
        module = importlib.import_module(f"agentopt.{room}.{name}")
        return getattr(module, module.__all__[0])
    for point in entry_points(group=f"agentopt.{room}"):
        if point.name == name:
            return point.load()
    raise ConfigError(f"{room[:-1]}: there is no {name!r}; there is {', '.join(sorted(known))}, or give package.module:Name")


def _imported(room: str, name: str) -> Factory:
    module_name, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{room[:-1]}: {name!r} cannot be imported: {error}") from None
