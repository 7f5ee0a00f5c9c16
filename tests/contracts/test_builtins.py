"""Every built-in keeps its contract by lying in its folder: nothing is listed here."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import agentopt.archives
import agentopt.executors
import agentopt.optimizers
from agentopt.core.protocols import Archive, Chat, Executor, Optimizer, OptimizerContext, Store
from agentopt.loading import bundled_root
from agentopt.prompts.templates import Templates
from agentopt.store.memory import MemoryStore
from agentopt.store.sqlite import SqliteStore
from agentopt.testing import ArchiveContract, ExecutorContract, OptimizerContract, StoreContract, make_task, task_card
from tests.optimizers.scripted import ScriptedChat, improving


def found(room: Any) -> dict[str, Any]:
    names = [item.name for item in pkgutil.iter_modules(room.__path__)]
    return {name: import_module(f"{room.__name__}.{name}") for name in names}


ROOMS = {
    "optimizers": (found(agentopt.optimizers), OptimizerContract),
    "archives": (found(agentopt.archives), ArchiveContract),
    "executors": (found(agentopt.executors), ExecutorContract),
}


def factory(module: Any) -> Any:
    return getattr(module, module.__all__[0])


def child(name: str, options: Mapping[str, Any], chat: Chat | None = None) -> Optimizer:
    return optimizer(name, OptimizerContext(task_card(make_task()), options, child, OptimizerContract().archive))


def optimizer(name: str, context: OptimizerContext) -> Optimizer:
    """With a model that always has something new to say."""
    chat = ScriptedChat(improving(context.task.parameters))
    prompts = Templates(name, [bundled_root("prompts")], 24_000)
    return factory(ROOMS["optimizers"][0][name])(replace(context, chat=chat, prompts=prompts))


def passing(module: Any, contract: type) -> type:
    body: dict[str, Any] = {"make": lambda self, context: factory(module)(context)}
    if contract is OptimizerContract:
        body["make"] = lambda self, context: optimizer(module.__name__.rpartition(".")[2], context)
        body["child"] = lambda self, name, options, chat: child(name, options)
    return type(f"Test{factory(module).__name__}", (contract,), body)


OF_WORKFLOWS = {"agentopt.executors.interactive", "agentopt.executors.pipeline"}
"""These try what is the user's own, and neither programs nor boxes: tests/executors/test_pipeline.py, tests/pipeline."""

for _modules, _contract in ROOMS.values():
    for _module in (module for module in _modules.values() if module.__name__ not in OF_WORKFLOWS):
        _class = passing(_module, _contract)
        globals()[_class.__name__] = _class


@pytest.mark.parametrize("module", [module for modules, _ in ROOMS.values() for module in modules.values()], ids=lambda m: m.__name__)
def test_a_file_holds_one_part(module: Any) -> None:
    """The first public name is the part itself, what else a file shows are the part's options."""
    part, *others = module.__all__
    assert callable(getattr(module, part))
    assert module.__name__ in OF_WORKFLOWS or all(name == f"{part}Options" for name in others)


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_is_empty(room: str) -> None:
    assert ROOMS[room][0]


class TestSqliteStore(StoreContract):
    def make(self, folder: Path) -> Store:
        return SqliteStore.create(folder / "run")

    def reopen(self, folder: Path) -> Store:
        return SqliteStore.open(folder / "run")


class TestMemoryStore(StoreContract):
    def make(self, folder: Path) -> Store:
        return MemoryStore()


def test_what_is_built_has_the_protocol(tmp_path: Path) -> None:
    with SqliteStore.create(tmp_path / "run") as store:
        assert isinstance(store, Store)
    assert isinstance(MemoryStore(), Store)
    assert all(hasattr(factory(module), "admits") for module in ROOMS["archives"][0].values())
    assert not isinstance(store, Archive | Executor | Optimizer)
