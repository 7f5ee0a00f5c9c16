"""Capture without rewriting: inside ``capture_clients()`` every call that a workflow makes of a model is a node, and is paid for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

from agentopt.core.budget import MODEL_UNITS, format_budget
from agentopt.core.errors import ConfigError
from agentopt.trace import litellm_client, openai_client

__all__ = ["capture_clients", "captured", "refuse_unmetered"]

Targets = list[tuple[Any, str, Callable[[Any], Any]]]
_CLIENTS: dict[str, tuple[str, Callable[[ModuleType], bool], Callable[[ModuleType], Targets]]] = {
    "openai": ("openai._base_client", openai_client.ready, openai_client.targets),
    "litellm": ("litellm", litellm_client.ready, litellm_client.targets),
}
"""Name -> the module that has to be loaded, whether it is so far enough, and what is hooked then."""


class _Hooks:
    """What is hooked now. They are of the whole process and in place while anybody captures; what they do depends on the context."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users = 0
        self._hooked: dict[str, list[tuple[Any, str, Any]]] = {}
        self._arrivals = _Arrivals(self)

    def hold(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                sys.meta_path.insert(0, self._arrivals)
            self.look()

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            sys.meta_path.remove(self._arrivals)
            for places in self._hooked.values():
                for owner, name, original in places:
                    setattr(owner, name, original)
            self._hooked.clear()

    def look(self) -> None:
        """Hook the clients that were imported since."""
        for client, (module_name, ready, targets) in _CLIENTS.items():
            module = sys.modules.get(module_name)
            if client in self._hooked or module is None or not ready(module):
                continue
            with self._lock:
                if self._users and client not in self._hooked:
                    self._hooked[client] = [_cover(*target) for target in targets(module)]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._hooked)


def _cover(owner: Any, name: str, make: Callable[[Any], Any]) -> tuple[Any, str, Any]:
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    return owner, name, original


class _Arrivals(MetaPathFinder):
    """Finds no module. It is asked for each that is imported, and looks then whether a client has come with those before it.

    So a client that a workflow imports only when it runs is hooked before its first call, and no import is changed.
    """

    def __init__(self, hooks: _Hooks) -> None:
        self._hooks = hooks

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        self._hooks.look()


_HOOKS = _Hooks()


@contextmanager
def capture_clients() -> Generator[None]:
    """Inside, calls of models through the openai SDK and litellm are recorded by ``record()`` and paid through ``core.metering.METER``.

    Objects, results and exceptions stay what they are. Parameters in messages and tools are sent as their current values. It
    imports nothing: a client is hooked when it is loaded. It may be nested, and used by many threads at once.
    """
    _HOOKS.hold()
    try:
        yield
    finally:
        _HOOKS.release()


def captured() -> tuple[str, ...]:
    """Names of the clients that are hooked now: ``("openai",)``. Empty: no call of a model can be seen, as far as there is any."""
    return _HOOKS.names


def refuse_unmetered(limits: Mapping[str, float]) -> None:
    """Raises ConfigError for a budget in what calls of models take, if none of them can be seen. Ask when the workflow was called once."""
    units = [unit for unit in MODEL_UNITS if unit in limits]
    if units and not captured():
        shown = format_budget({unit: limits[unit] for unit in units})
        raise ConfigError(
            f"budget: {shown} counts what models take, and the workflow calls none through the openai SDK or litellm, "
            "so its calls cannot be counted; give a budget in other units, or allow_unmetered=True"
        )
