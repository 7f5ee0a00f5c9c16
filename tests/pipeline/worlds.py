"""A workflow with two parameters, optimizers that do what a test needs, and a model that always knows better."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from agentopt.core.candidate import Proposal
from agentopt.core.chat import ChatRequest, Message
from agentopt.core.protocols import Exhausted, OptimizerContext, Refused
from agentopt.trace.params import Param

SEED = {"prompt": "Answer: {q}", "k": 0}


def params() -> tuple[Param, Param]:
    """The two parameters of the workflow."""
    return Param("Answer: {q}", "prompt"), Param(0, "k", bounds=(0, 1000))


class Counting:
    """Proposes k + 1, from whatever was told last."""

    def __init__(self, context: OptimizerContext) -> None:
        self.last: Any = None
        self.told: list[Any] = []
        self.refused = 0

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        values = {**self.last.candidate.values}
        values["k"] += 1
        return [Proposal(values, (self.last.id,), "counting", "count", f"{values['k']} comes next")]

    def observe(self, entry: Any, admission: Any) -> None:
        self.told.append((entry, admission))
        if admission.status != "duplicate":
            self.last = entry


class Stubborn(Counting):
    """Of three answers one is refused, one is what is known already, and one is new."""

    asks = 0

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        self.asks += 1
        if self.asks % 3 == 1:
            return Refused("malformed", {})
        if self.asks % 3 == 2:
            return [Proposal(dict(self.last.candidate.values), (), "stubborn", "again")]
        return await super().propose(view, n, rng)


class Brief(Counting):
    """Has two ideas."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        if self.last.candidate.values["k"] == 2:
            return Exhausted("two ideas were all")
        return await super().propose(view, n, rng)


class Broken(Counting):
    """Breaks the rules of the engine after its first idea."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        if self.last.candidate.values["k"]:
            return [Proposal({"k": 1}, (), "broken", "forget")]
        return await super().propose(view, n, rng)


class Asking(Counting):
    """Asks a model for the next values, given the last and what was said of them."""

    def __init__(self, context: OptimizerContext) -> None:
        super().__init__(context)
        assert context.chat
        self.chat = context.chat

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        said = self.last.evaluation.rollouts[0].feedback
        question = json.dumps({"values": dict(self.last.candidate.values), "said": said}, sort_keys=True)
        request = ChatRequest((Message("user", question),), sample=rng.getrandbits(31), purpose="worlds/ask")
        reply = await self.chat.complete(request, rng)
        return [Proposal(json.loads(reply.text), (self.last.id,), "asking", "ask", reply.text)]


def answer(request: ChatRequest) -> str:
    """What the model of ``Asking`` says: the next number."""
    values = json.loads(request.messages[-1].content)["values"]
    return json.dumps(values | {"k": values["k"] + 1})
