"""All memory of the optimizers that ask models is a fold of what they were told: random histories, told again from JSON."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any
from zlib import crc32

import pytest

from agentopt import plugins
from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.chat import ChatReply, ChatRequest, ModelError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Archive, ArchiveContext, Chat, ObservesRefusals, Optimizer, OptimizerContext, Refused, TaskCard, Wait
from agentopt.core.task import Measure, Objective, Parameter
from agentopt.loading import bundled_root
from agentopt.prompts.templates import Templates
from agentopt.testing import FakeView, make_entry
from tests.optimizers.scripted import ScriptedChat, improving

CODE = Parameter("f", "code", "def f(x):\n    # EVOLVE-BLOCK-START\n    return 1.5 * x + 0.25\n    # EVOLVE-BLOCK-END\n")
TASKS = {
    "code": TaskCard("code", "Fit.", {"f": replace(CODE, initial="def f(x):\n    return 1.5 * x + 0.25\n")}, (Objective("error", "min"),)),
    "marked": TaskCard("marked", "Fit.", {"f": CODE}, (Objective("error", "min"), Objective("size", "max"))),
    "prompt": TaskCard("prompt", "Ask.", {"p": Parameter("p", "prompt", "Answer briefly.")}, (Objective("right", "max"),)),
    "config": TaskCard("config", "Set.", {"c": Parameter("c", "config", {"a": 1.0, "b": 0.5})}, (Objective("loss", "min"),)),
    "several": TaskCard(
        "several",
        "All.",
        {"f": CODE, "p": Parameter("p", "prompt", "Go."), "x": Parameter("x", "value", 2.0), "g": replace(CODE, name="g", trainable=False)},
        (Objective("loss", "min"),),
        measures=(Measure("size", 0.0, 1.0, 4),),
    ),
}
NAMES = {
    "evolve": {"stall": 4, "directions": 2},
    "optoprime": {"candidates": 3, "start": "latest"},
    "auto": {"polish": 2, "reevo.init_pop_size": 3, "evolve.initial": 2},
}


def failing(parameters: Mapping[str, Parameter]) -> Callable[[ChatRequest], str]:
    """Good replies, the same reply now and then, replies of no use, and errors."""
    good = improving(parameters)

    def reply(request: ChatRequest) -> str:
        number = int(request.digest[:4], 16)
        if number % 11 == 0:
            raise ModelError("server", "it is down", attempts=2)
        if crc32(request.messages[1].content.encode()) % 6 == 0 and number % 5:  # mostly also when it is asked again
            return "I would rather not."
        text = str(good(replace(request, messages=request.messages[:1]) if number % 3 == 0 else request))
        # between the marks, where the code has them: elsewhere nothing may change
        text = re.sub(r"(EVOLVE-BLOCK-START\n)(.*?END\n)\nMARK = (\d+)\n", r"\1    x += \3\n\2", text, flags=re.S)
        return f"IDEA: the usual\n\n{text}"

    return reply


def made(name: str, card: TaskCard, chat: ScriptedChat) -> Optimizer:
    def archive(name: str, options: Mapping[str, Any]) -> Archive:
        return plugins.resolve("archives", name)(ArchiveContext(card.objectives, card.measures, options, archive))

    def build(name: str, options: Mapping[str, Any], chat: Chat | None) -> Optimizer:
        prompts = Templates(name, [bundled_root("prompts")], 24_000) if chat and name != "auto" else None
        return plugins.resolve("optimizers", name)(OptimizerContext(card, options, build, archive, chat, prompts))

    return build(name, NAMES[name], chat)


class Steady(ScriptedChat):
    """Takes as long for what was paid before as for what is new: else asks at once would go on in another order."""

    async def complete(self, request: ChatRequest, rng: Random) -> ChatReply:
        await asyncio.sleep(0)
        key = rng.choice(self.models), request.digest
        if key not in self._replies:
            self._replies[key] = ChatReply(str(self._script(request)), "fake-model", "stop")
        return self._replies[key]


class Run:
    """Several asks at once, results in any order, failures, duplicates and refusals."""

    def __init__(self, name: str, card: TaskCard, seed: int) -> None:
        self.card, self.draw = card, Random(seed)
        self.chat = Steady(failing(card.parameters))
        self.make = partial(made, name, card, self.chat)
        self.optimizer = self.make()
        self.told: list[tuple[Entry, Admission] | Refused] = []
        self.known: dict[str, Entry] = {}
        self.pending: list[Candidate] = []
        self.asks = 0
        self.tell(Candidate.of(Proposal({n: p.initial for n, p in card.parameters.items()}, operator="seed"), card.parameters))

    @property
    def view(self) -> FakeView:
        return FakeView(
            self.card, list(self.known.values()), tuple(self.pending), {"calls": 1000.0 - self.asks, "evals": 500.0 - self.asks}
        )

    async def ask(self, optimizer: Optimizer, view: FakeView, index: int) -> Any:
        try:
            return await optimizer.propose(view, 2, Random(f"ask:{index}"))
        except ModelError as error:
            return Refused(error.kind, {**error.memo, "error": str(error)})

    async def asked(self, optimizer: Optimizer, many: int) -> list[Any]:
        view = self.view
        return await asyncio.gather(*(self.ask(optimizer, view, self.asks + k) for k in range(many)))

    def round(self) -> None:
        many = self.draw.randint(1, 4)
        answers = asyncio.run(self.asked(self.optimizer, many))
        self.asks += many
        for answer in self.draw.sample(answers, len(answers)):
            if isinstance(answer, Refused):
                self.told.append(answer)
                refuse(self.optimizer, answer)
            elif not isinstance(answer, Wait):
                for proposal in answer:
                    self.take(Candidate.of(proposal, self.card.parameters))
        for _ in range(self.draw.randint(0, len(self.pending))):
            self.tell(self.pending.pop(self.draw.randrange(len(self.pending))))

    def take(self, candidate: Candidate) -> None:
        if candidate.id in self.known:
            self.observe(Entry(candidate, self.known[candidate.id].evaluation), Admission("duplicate"))
        elif any(candidate.id == other.id for other in self.pending):
            self.observe(Entry(candidate, None), Admission("duplicate"))
        else:
            self.pending.append(candidate)

    def tell(self, candidate: Candidate) -> None:
        draw = Random(candidate.id)
        if self.told and draw.random() < 0.3:
            self.known[candidate.id] = make_entry(candidate, failure=draw.choice(["crash", "timeout", "infrastructure"]))
            self.observe(self.known[candidate.id], Admission("failed"))
            return
        self.known[candidate.id] = make_entry(candidate, {o.name: round(draw.random(), 1) for o in self.card.objectives})
        gain = draw.choice([0.0, 0.0, 0.1])
        self.observe(self.known[candidate.id], Admission("admitted" if gain else "dominated", gain=gain))

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.told.append((entry, admission))
        self.optimizer.observe(entry, admission)

    def again(self) -> Optimizer:
        fresh = self.make()
        for told in self.told:
            if isinstance(told, Refused):
                refuse(fresh, told)
            else:
                entry, admission = told
                values, memo = json.loads(json.dumps([dict(entry.candidate.values), dict(entry.candidate.memo)]))
                fresh.observe(replace(entry, candidate=replace(entry.candidate, values=values, memo=memo)), admission)
        return fresh


def refuse(optimizer: Optimizer, refused: Refused) -> None:
    if isinstance(optimizer, ObservesRefusals):
        optimizer.observe_refusal(Refused(refused.kind, json.loads(json.dumps(dict(refused.memo)))))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.thorough
def test_told_again_it_answers_the_same(name: str, task: str, seed: int) -> None:
    run = Run(name, TASKS[task], seed)
    for number in range(60):
        if number >= 18 and kinds_of(run) >= {"Refused", "failed", "dominated"}:
            break
        run.round()
        if number % 6 == 5:
            fresh = run.again()
            answers = [asyncio.run(run.asked(optimizer, 3)) for optimizer in (fresh, run.optimizer)]
            assert answers[0] == answers[1]
    assert kinds_of(run) >= {"Refused", "failed", "dominated"}, "a history without these shows little"


def kinds_of(run: Run) -> set[str]:
    return {type(told).__name__ if isinstance(told, Refused) else told[1].status for told in run.told}


@pytest.mark.slow
def test_the_portfolio_keeps_its_speed() -> None:
    """Its real arms, each of which is told of every candidate."""
    card = TASKS["code"]
    chat = Steady(failing(card.parameters))
    chat.models = ("fake:one",)
    auto, draw, spent = made("auto", card, chat), Random(1), list[float]()
    seed = make_entry(Candidate("c0", {"f": card.parameters["f"].initial}), {"error": 1.0})
    auto.observe(seed, Admission("admitted"))
    told = [seed]
    for part in range(5):
        begun = time.process_time()
        for index in range(600 * part + 1, 600 * part + 601):
            own = {"step": "improve", "island": index % 3, "form": "diff", "was": {"error": 0.5}, "idea": f"i{index}", "edit": "+x"}
            memo = {"arm": "evolve", "by": "evolve", "spent": {"calls": 1.0}, "left": {"calls": 9000.0}, "memo": own}
            arm: dict[str, Any] = {"optimizer": "evolve", "memo": memo} if index % 4 == 0 else {"optimizer": "other"}
            text = f"A, B = {draw.random()}, {draw.random()}\n{card.parameters['f'].initial}"
            candidate = Candidate(f"c{index}", {"f": text}, (f"c{max(index - 3, 0)}",), operator="improve", **arm)
            told.append(make_entry(candidate, {"error": draw.random()}))
            auto.observe(told[-1], Admission("dominated"))
        spent.append(time.process_time() - begun)
        view, begun = FakeView(card, told, (), {"calls": 100.0}), time.process_time()
        for index in range(4):
            asyncio.run(auto.propose(view, 1, Random(index)))
        spent[-1] += time.process_time() - begun
    assert spent[4] < 1.6 * max(spent[1], spent[2]), spent
