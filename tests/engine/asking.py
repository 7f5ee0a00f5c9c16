"""Models and optimizers for tests of the journal: what they answer follows from what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from agentopt import Proposal
from agentopt.core.chat import ChatModel, ChatReply, ChatRequest, Message, Usage
from agentopt.core.errors import BudgetSpent
from agentopt.engine.journal import Journal
from agentopt.llm.choosers import Chooser, WeightedChooser
from agentopt.llm.prices import Price
from agentopt.llm.retry import CallPolicy, RetryingModel
from tests.engine.world import Climber

_TAKEN = Usage(10, 5)


class Oracle:
    """Answers with a number near the one it is asked about; ``asked`` are the digests in the order they came."""

    def __init__(self, name: str = "oracle", delay: float = 0.0, usage: Usage | None = _TAKEN) -> None:
        self.name = name
        self.asked: list[str] = []
        self.closed = 0
        self._delay, self._usage = delay, usage

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request.digest)
        await asyncio.sleep(self._delay * (int(request.digest[:2], 16) % 7))
        return self.reply(request)

    def reply(self, request: ChatRequest) -> ChatReply:
        step = int(request.digest[:4], 16) % 100 / 20 - 2
        number = float(request.messages[-1].content.split()[0])
        return ChatReply(f"{number + step:.2f}", f"{self.name}-served", "stop", self._usage, latency=0.25)

    async def close(self) -> None:
        self.closed += 1


class Asker(Climber):
    """One question for each proposal, about a sampled parent, and about how much it has seen."""

    def __init__(self, chat: Journal) -> None:
        super().__init__()
        self.chat = chat

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        parent = view.sample(1, rng)[0]
        first = await self.ask(f"{parent.candidate.values['x']} after {len(self.seen)} results", rng)
        return [Proposal({"x": float(first)}, (parent.id,), "asker", "ask")]

    async def ask(self, text: str, rng: Random) -> str:
        reply = await self.chat.complete(ChatRequest((Message("user", text),), sample=rng.getrandbits(31), purpose="test"), rng)
        return reply.text


class SecondThoughts(Asker):
    """Two questions, the second one about the first one's answer and what was seen in between."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        parent = view.sample(1, rng)[0]
        first = await self.ask(f"{parent.candidate.values['x']} after {len(self.seen)} results", rng)
        second = await self.ask(f"{first} once more after {len(self.seen)} results", rng)
        return [Proposal({"x": float(second)}, (parent.id,), "asker", "think")]


class Frugal(Asker):
    """Goes on without a model when there is no money left."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        try:
            return await super().propose(view, n, rng)
        except BudgetSpent:
            return await Climber.propose(self, view, n, rng)


def journal_of(
    *models: ChatModel,
    chooser: Chooser | None = None,
    price: Price | None = None,
    cap: int = 50,
    policy: Callable[[], CallPolicy] = lambda: CallPolicy(retries=2, base=0.001, longest_wait=0.002),
) -> Journal:
    """A journal over models that make single attempts."""
    journal = Journal(chooser or WeightedChooser({model.name: 1.0 for model in models}), cap)
    journal.use({model.name: RetryingModel(journal.metered(model, price), policy(), price) for model in models})
    return journal


def kinds(log: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    return [kind for kind, _ in log]
