"""A lead that rests on luck is no best for any optimizer: in noisy tasks the lucky ones would lead the search."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.evaluation import Admission, Entry, Provisional
from agentopt.core.protocols import OptimizerContext
from agentopt.loading import bundled_root
from agentopt.plugins import resolve
from agentopt.prompts.templates import Templates
from agentopt.testing import OptimizerContract, make_task, task_card
from agentopt.testing.fakes import FakeView, make_entry
from tests.optimizers.scripted import ScriptedChat, improving

CARD = task_card(make_task(config=False))
SEED = {name: parameter.initial for name, parameter in CARD.parameters.items()}


def build(name: str, chat: ScriptedChat, options: Any) -> Any:
    def child(name: str, options: Any, chat: Any) -> Any:
        return build(name, chat, options)

    prompts = Templates(name, [bundled_root("prompts")], 24_000)
    return resolve("optimizers", name)(OptimizerContext(CARD, options, child, OptimizerContract().archive, chat, prompts))


def told(optimizer: Any, provisional: bool) -> tuple[list[Entry], Candidate]:
    """The seed, a sure candidate, and one with a score far better that is provisional or not."""
    entries: list[Entry] = []
    for number, distance in ((0, 3.0), (1, 2.0), (2, 0.001)):
        values = {"shrink": SEED["shrink"].replace("0.75", f"0.{number + 1}5") + ("" if number < 2 else "\nLUCKY = 1\n")}
        candidate = Candidate.of(Proposal(values, operator="seed" if not number else "made"), CARD.parameters)
        entry = make_entry(candidate, {"distance": distance})
        assert entry.evaluation
        if provisional and number == 2:
            entry = replace(entry, evaluation=replace(entry.evaluation, provisional=Provisional("lead", 2, 8)))
        status = "dominated" if provisional and number == 2 else "admitted"
        optimizer.observe(entry, Admission(status))
        entries.append(entry)
    return entries, entries[2].candidate


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("evolve", {"initial": 1, "islands": 1, "contrast": 0.0, "inspirations": 0, "directions": 0, "adaptive": False}),
        ("evolve", {"initial": 1, "islands": 3}),
        ("reevo", {"init_pop_size": 2, "pop_size": 1, "mutation_rate": 1.0}),
        ("tune", {}),
    ],
)
@pytest.mark.parametrize("provisional", [False, True])
async def test_only_who_is_sure_is_bred_from(name: str, options: dict[str, Any], provisional: bool) -> None:
    chat = ScriptedChat(improving(CARD.parameters))
    optimizer = build(name, chat, options)
    entries, lucky = told(optimizer, provisional)
    view = FakeView(CARD, entries)
    found: set[str] = set()
    for ask in range(12):
        answer = await optimizer.propose(view, 1, Random(ask))
        for proposal in answer:
            found.update(proposal.parents)
            candidate = Candidate.of(proposal, CARD.parameters)
            optimizer.observe(make_entry(candidate, {"distance": 2.5 + 0.01 * ask}), Admission("dominated"))
    assert (lucky.id in found) is not provisional


async def test_a_lead_that_is_luck_earns_nothing() -> None:
    for provisional, wins in ((True, 0.0), (False, 1.0)):
        optimizer = build("auto", ScriptedChat(improving(CARD.parameters)), {"arms": "mutate,tune"})
        entries, _ = told(optimizer, provisional=False)
        (proposal, *_) = await optimizer.propose(FakeView(CARD, entries), 1, Random(1))
        entry = make_entry(Candidate.of(proposal, CARD.parameters), {"distance": 1e-6})
        assert entry.evaluation
        if provisional:
            entry = replace(entry, evaluation=replace(entry.evaluation, provisional=Provisional("lead", 2, 8)))
        optimizer.observe(entry, Admission("dominated" if provisional else "admitted"))
        gains = sum(account.gain for pool in optimizer._pools.values() for account in pool.accounts.values())  # pyright: ignore
        assert (gains > 0.0) == bool(wins)
