"""OptoPrime: what it lays out, what it asks, how several answers become proposals, and what it remembers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agentopt.core.chat import ChatRequest
from agentopt.core.protocols import Optimizer, OptimizerContext, TaskCard
from agentopt.core.task import Objective, Parameter
from agentopt.loading import bundled_root
from agentopt.optimizers.optoprime import OptoPrime
from agentopt.prompts.templates import Templates
from agentopt.testing import OptimizerContract
from tests.optimizers.playing import Playing
from tests.optimizers.scripted import Script, ScriptedChat

PLACE = Parameter("place", "code", "def place(item, bins):\n    return bins[0]\n", description="chooses a bin")
RATE = Parameter("rate", "value", 0.5, space={"": (0.0, 1.0)}, constraint="a multiple of 0.01")


def card(*parameters: Parameter, **more: Any) -> TaskCard:
    named = {parameter.name: parameter for parameter in parameters or (PLACE, RATE)}
    return TaskCard("packing", "Use few bins.", named, (Objective("excess", "min"),), **more)


def templates(budget: int = 24_000) -> Templates:
    return Templates("optoprime", [bundled_root("prompts")], budget)


def build(chat: ScriptedChat, task: TaskCard, budget: int = 24_000, **options: Any) -> OptoPrime:
    none: Any = lambda *asked: pytest.fail("neither a child nor an archive is needed")  # noqa: E731
    return OptoPrime(OptimizerContext(task, options, none, none, chat, templates(budget)))


def suggesting(parameters: Mapping[str, Parameter]) -> Script:
    """A list of experts for what asks for one; else reasons and a value for every parameter, all of which follow from the request."""

    def reply(request: ChatRequest) -> str:
        number = int(request.digest[:8], 16)
        if "experts" in request.purpose:
            return "\n".join(f"{k}. expert {number}.{k}" for k in range(1, 9))
        blocks = [f"<reasoning>\nbecause of {number}\n</reasoning>"]
        for name, parameter in parameters.items():
            if parameter.trainable:
                blocks.append(f"<variable>\n<name>{name}</name>\n<value>\n{_new(parameter, number)}\n</value>\n</variable>")
        return "\n".join(blocks)

    return reply


def _new(parameter: Parameter, number: int) -> str:
    if parameter.kind == "code":
        return f"{parameter.initial}MARK = {number}"
    share = number / 2**32
    return json.dumps({key: share for key in parameter.initial} if parameter.kind == "config" else share)


class Play(Playing):
    """Of optoprime, on a small task."""

    def __init__(self, task: TaskCard | None = None, script: Script | None = None, *, budget: int = 24_000, **options: Any) -> None:
        task = task or card()
        lag = options.pop("lag", 0)
        super().__init__(task, script or suggesting(task.parameters), budget=budget, lag=lag, **options)

    def built(self, chat: ScriptedChat) -> Optimizer:
        return build(chat, self.task, self.budget, **self.options)


class TestOptoPrime(OptimizerContract):
    def make(self, context: OptimizerContext) -> Optimizer:
        return OptoPrime(replace(context, chat=ScriptedChat(suggesting(context.task.parameters)), prompts=templates()))


@pytest.mark.parametrize("spread", ["temperature", "alternatives", "experts"])
class TestOptoPrimeWithCandidates(OptimizerContract):
    @pytest.fixture(autouse=True)
    def _spread(self, spread: str) -> None:
        self.spread = spread

    def options(self) -> Mapping[str, Any]:
        return {"candidates": 3, "spread": self.spread}

    def make(self, context: OptimizerContext) -> Optimizer:
        return OptoPrime(replace(context, chat=ScriptedChat(suggesting(context.task.parameters)), prompts=templates()))
