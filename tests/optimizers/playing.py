"""Histories of one optimizer that asks a scripted chat, and whole runs of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import agentopt
from agentopt import plugins
from agentopt.core.candidate import Proposal
from agentopt.core.evaluation import Entry
from agentopt.core.protocols import Optimizer, OptimizerContext, TaskCard
from agentopt.loading import bundled_root
from agentopt.prompts.templates import Templates
from agentopt.testing import make_task
from agentopt.testing.history import History
from tests.optimizers.scripted import Script, ScriptedChat, improving

__all__ = ["Playing", "Watched", "run"]


class Playing:
    """A history of one optimizer, its chat at hand. Give ``built``, and ``script`` for one of its own."""

    def __init__(self, task: TaskCard, script: Script, *, lag: int = 0, failing: int = 0, budget: int, **options: Any) -> None:
        self.task = task
        self.chat = ScriptedChat(script)
        self.options, self.budget = options, budget
        self.history = History(task, self.built(self.chat), lag=lag, failing=failing)

    def built(self, chat: ScriptedChat) -> Optimizer:
        raise NotImplementedError

    def rounds(self, count: int) -> Any:
        asyncio.run(self.history.rounds(count))
        return self

    @property
    def told(self) -> list[Entry]:
        return [entry for entry, _ in self.history.told]

    @property
    def proposed(self) -> list[Proposal]:
        return [proposal for answer in self.history.answers if isinstance(answer, Sequence) for proposal in answer]


class Watched:
    """A factory of an optimizer with a chat of its own, and what was proposed in runs that it was used for."""

    def __init__(self, name: str, **options: Any) -> None:
        self._name, self._options = name, options
        self.chats: list[ScriptedChat] = []
        self.operators: list[str] = []
        self.ids: list[str] = []

    def __call__(self, context: OptimizerContext) -> Optimizer:
        self.chats.append(ScriptedChat(improving(context.task.parameters)))
        prompts = Templates(self._name, [bundled_root("prompts")], 20_000)
        return plugins.resolve("optimizers", self._name)(replace(context, options=self._options, chat=self.chats[-1], prompts=prompts))

    @property
    def on_event(self) -> Callable[[Any, Any], None]:
        def see(event: Any, state: Any) -> None:
            if event.kind == "proposed":
                self.operators.append(event.data["operator"])
                self.ids.append(event.data["candidate"])

        return see


def run(watched: Watched, budget: str, workers: int = 1, out: Path | None = None) -> agentopt.Result:
    task = make_task(code=False)
    return agentopt.evolve(task, optimizer=watched, budget=budget, executor="inline", workers=workers, out=out, on_event=watched.on_event)
