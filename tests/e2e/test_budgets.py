"""Budgets in calls, tokens and USD against a server that does what it likes: whatever happens, no limit is overshot."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from agentopt.core.errors import RunFailed, UserError
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.engine.journal import Journal
from agentopt.engine.plan import Plan
from agentopt.llm.choosers import WeightedChooser
from agentopt.llm.client import OpenAITransport
from agentopt.llm.limits import Clock
from agentopt.llm.prices import Price
from agentopt.llm.retry import CallPolicy, RetryingModel
from agentopt.testing.fake_llm import FakeLLM, Received, Step
from tests.engine.asking import Asker
from tests.engine.world import World

CAP = 20
PRICE = Price(1.0, 4.0, 0.5)
FAULTS: tuple[tuple[float, dict[str, Any]], ...] = (
    (8.0, {}),
    (2.0, {"usage": None}),
    (1.0, {"status": 429, "headers": {"Retry-After": "0"}}),
    (1.0, {"status": 503}),
    (1.0, {"fault": "cut"}),
    (1.0, {"fault": "malformed"}),
    (0.7, {"fault": "reset"}),
    (0.3, {"fault": "stall"}),
    (0.5, {"status": 400}),
    (0.5, {"choices": 0}),
    (0.3, {"refusal": "no"}),
    (0.3, {"text": "1 " * 60}),
    (0.05, {"usage": {"prompt_tokens": 9, "completion_tokens": 4000, "total_tokens": 4009}}),
    (0.05, {"usage": {"prompt_tokens": 10**6, "completion_tokens": 4, "total_tokens": 10**6 + 4}}),
)


class Careless(Asker):
    """Takes any text for a number."""

    async def propose(self, view: Any, n: int, rng: random.Random) -> Any:
        with suppress(ValueError):
            return await super().propose(view, n, rng)
        return await self.propose(view, n, rng)


async def sequence(seed: int) -> RunState:
    """One run under a budget drawn at random; the ledger is looked at after every event."""
    rng = random.Random(seed)
    shares = [share for share, _ in FAULTS]
    # the steps for each number of a request, whatever order they come in
    steps = [Step(**({"text": f"{rng.uniform(0, 40):.2f}"} | rng.choices(FAULTS, shares)[0][1])) for _ in range(400)]
    budget: dict[str, float] = {"evals": 40.0}
    budget |= rng.choice([{"calls": rng.randint(1, 25)}, {"tokens": rng.randint(350, 9000)}, {"usd": rng.uniform(0.0004, 0.01)}, {}])
    budget |= rng.choice([{"calls": rng.randint(1, 25)}, {"tokens": rng.randint(350, 9000)}, {"usd": rng.uniform(0.0004, 0.01)}])
    over: list[str] = []

    def look(event: Event, state: RunState) -> None:
        over.extend(f"{unit} after {event.seq}" for unit, limit in budget.items() if state.spent.get(unit, 0.0) > limit + 1e-9)

    def script(received: Received) -> Step:
        return steps[received.number % len(steps)]

    with FakeLLM(script) as server:
        journal = Journal(WeightedChooser({"openai:m": 1.0}), CAP)
        transport = OpenAITransport("m", server.url, "none", 0.3, Clock(), local=True)
        policy = CallPolicy(retries=rng.randint(0, 3), base=0.001, longest_wait=0.002, breaker_failures=100)
        journal.use({"openai:m": RetryingModel(journal.metered(transport, PRICE), policy, PRICE)})
        plan = Plan(deterministic=rng.random() < 0.5, look_ahead=rng.randint(0, 3))
        world = World(optimizer=Careless(journal), chat=journal, budget=budget, plan=plan, capacity=2, on_event=look)
        with suppress(RunFailed, UserError):
            async with asyncio.timeout(30):
                await world.run()
        await journal.close()
    state = world.run_.state
    assert not over
    unseen = len(state.calls.open) + state.calls.errors["timeout"] + state.calls.errors["connection"]
    assert 0 <= state.calls.requests - len(server.requests) <= unseen, "what was given up early may not have reached the server"
    assert not state.calls.open or state.status == "failed"
    assert state.calls.requests <= budget.get("calls", 400)
    check_what_the_server_took(server, steps, budget)
    return state


def check_what_the_server_took(server: FakeLLM, steps: list[Step], budget: dict[str, float]) -> None:
    """As a provider would bill it: all that was computed, whether the reply came through or not, but for what broke the cap."""
    tokens = usd = 0.0
    for received in server.requests:
        step = steps[received.number % len(steps)]
        if step.status >= 400 and step.status != 503:
            continue
        given = sum(len(message["content"].split()) for message in received.body["messages"])
        made = min(len(step.text.split()), received.body.get("max_completion_tokens") or received.body.get("max_tokens") or 400)
        tokens += given + made
        usd += (given * PRICE.input + made * PRICE.output) / 1e6
        if {"tokens", "usd"} & set(budget):
            assert (received.body.get("max_completion_tokens") or received.body.get("max_tokens")) == CAP
    assert tokens <= budget.get("tokens", tokens)
    assert usd <= budget.get("usd", usd) + 1e-12


@pytest.mark.parametrize("seed", range(40))
async def test_no_budget_is_overshot(seed: int):
    await sequence(seed)


@pytest.mark.slow
async def test_no_budget_is_overshot_in_a_thousand_sequences():
    states = [await sequence(seed) for seed in range(1000, 2000)]
    assert sum(state.calls.requests for state in states) > 5000
    errors = {kind for state in states for kind in state.calls.errors}
    assert errors >= {"rate_limit", "server", "cut", "malformed", "timeout", "bad_request", "no_choices"}
    assert any("no budget can be kept" in warning for state in states for warning in state.warnings)
