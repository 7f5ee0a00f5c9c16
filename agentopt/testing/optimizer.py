"""What every optimizer keeps to. Inherit from the class and give ``make``."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from agentopt import plugins
from agentopt.core.candidate import Proposal
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import (
    Answer,
    Archive,
    ArchiveContext,
    Chat,
    Exhausted,
    Optimizer,
    OptimizerContext,
    Refused,
    TaskCard,
    Wait,
)
from agentopt.core.task import Parameter, Task
from agentopt.testing.fakes import make_task, task_card
from agentopt.testing.history import History, plain

__all__ = ["OptimizerContract"]

_ROUNDS = 50


class OptimizerContract:
    """Inherit, name the class ``Test...`` and return your optimizer from ``make``::

    class TestMine(OptimizerContract):
        def make(self, context):
            return Mine(context)
    """

    def make(self, context: OptimizerContext) -> Optimizer:
        raise NotImplementedError("return your optimizer built from the context")

    def task(self) -> Task:
        """A task that the optimizer can improve. The given one has code with numbers in it and a config with numbers."""
        return make_task()

    def options(self) -> Mapping[str, Any]:
        return {}

    def child(self, name: str, options: Mapping[str, Any], chat: Chat | None) -> Optimizer:
        """Builds the optimizers that a composed one names."""
        raise NotImplementedError(f"the optimizer asked for another one, {name!r}: give child(name, options, chat)")

    def archive(self, name: str, options: Mapping[str, Any]) -> Archive:
        """Builds the archives that an optimizer keeps for itself: agentopt's own by name."""
        card = self._card()
        return plugins.resolve("archives", name)(ArchiveContext(card.objectives, card.measures, options, self.archive))

    def test_proposals_are_complete(self) -> None:
        card = self._card()
        for answer in self._played(rounds=10, n=2).answers:
            for proposal in answer if isinstance(answer, Sequence) else ():
                _check_proposal(proposal, card)

    def test_it_proposes(self) -> None:
        history = self._played(rounds=5)
        assert any(isinstance(answer, Sequence) for answer in history.answers), f"it answered {history.answers} and never proposed"

    def test_at_most_n(self) -> None:
        for n in (1, 2, 5):
            for answer in self._played(rounds=5, n=n).answers:
                assert not isinstance(answer, Sequence) or 1 <= len(answer) <= n, f"asked for {n} it proposed {answer}"

    def test_parents_were_told(self) -> None:
        history = self._played(rounds=20)
        told = {entry.id for entry, _ in history.told}
        for answer in history.answers:
            for proposal in answer if isinstance(answer, Sequence) else ():
                strangers = set(proposal.parents) - told
                assert not strangers, f"the parents {sorted(strangers)} are no candidates that it was told of"

    def test_equal_histories_give_equal_proposals(self) -> None:
        random.seed(1)
        first = self._played(rounds=20)
        random.seed(2)
        second = self._played(rounds=20)
        assert plain(first.answers) == plain(second.answers), "two equal histories gave other proposals: take all randomness from rng"

    def test_global_random_is_left_alone(self) -> None:
        before = random.getstate()
        self._played(rounds=5)
        assert random.getstate() == before, "it drew from or seeded the global random module: use rng"

    def test_replay_restores_it(self) -> None:
        for count in (1, 4, 17):
            self._check_replay(self._played(rounds=count))

    def test_replay_restores_it_while_candidates_are_pending(self) -> None:
        for count in (3, 9):
            self._check_replay(self._played(rounds=count, lag=3))

    def test_replay_restores_it_after_failures(self) -> None:
        self._check_replay(self._played(rounds=12, failing=2))

    def test_never_waits_for_nothing(self) -> None:
        for lag in (0, 4):
            history = self._start(lag=lag)
            for _ in range(_ROUNDS):
                idle = not history.pending
                answer = asyncio.run(history.ask())
                assert not (idle and isinstance(answer, Wait)), "it answered Wait with no candidate pending: the run would stand still"

    def test_goes_on_when_every_candidate_fails(self) -> None:
        for answer in self._played(rounds=20, failing=1).answers:
            _check_answer(answer)

    def test_takes_duplicates(self) -> None:
        history = self._played(rounds=3)
        for entry, _ in history.told[:]:
            history.optimizer.observe(entry, Admission("duplicate"))
            history.optimizer.observe(Entry(entry.candidate, None), Admission("duplicate"))
        _check_answer(asyncio.run(history.ask()))

    def test_goes_on_for_many_rounds(self) -> None:
        for answer in self._played(rounds=_ROUNDS, n=2, failing=5).answers:
            _check_answer(answer)

    def test_told_entries_are_left_alone(self) -> None:
        history = self._start()
        for _ in range(10):
            before = plain([entry.candidate for entry, _ in history.told])
            count = len(history.told)
            asyncio.run(history.ask())
            assert plain([entry.candidate for entry, _ in history.told[:count]]) == before, "it changed a candidate that it was shown"

    def _card(self) -> TaskCard:
        return task_card(self.task())

    def _build(self) -> Optimizer:
        return self.make(OptimizerContext(self._card(), self.options(), self.child, self.archive))

    def _start(self, *, failing: int = 0, lag: int = 0) -> History:
        return History(self._card(), self._build(), failing=failing, lag=lag)

    def _played(self, *, rounds: int, n: int = 1, failing: int = 0, lag: int = 0) -> History:
        history = self._start(failing=failing, lag=lag)
        asyncio.run(history.rounds(rounds, n))
        return history

    def _check_replay(self, history: History) -> None:
        fresh = history.replayed(self._build)
        index = len(history.answers)
        view = history.view
        again = asyncio.run(fresh.propose(view, 1, history.rng(index)))
        live = asyncio.run(history.optimizer.propose(view, 1, history.rng(index)))
        assert plain(again) == plain(live), "after the same observations a fresh instance proposes otherwise: a resumed run would differ"


def _check_answer(answer: Answer) -> None:
    if isinstance(answer, Exhausted):
        assert answer.why, "Exhausted says why"
    elif not isinstance(answer, Wait | Refused):
        assert len(answer), "an empty answer says nothing: propose, or answer Wait or Exhausted"


def _check_proposal(proposal: Proposal, card: TaskCard) -> None:
    names = set(proposal.values)
    assert names == set(card.parameters), f"it has values for {sorted(names)}, the task's parameters are {sorted(card.parameters)}"
    for name, parameter in card.parameters.items():
        _check_value(proposal.values[name], parameter)
    text = json.dumps([dict(proposal.values), dict(proposal.memo)], allow_nan=False)
    assert json.loads(text) == [dict(proposal.values), dict(proposal.memo)], "values and memo must come back from JSON unchanged"


def _check_value(value: Any, parameter: Parameter) -> None:
    kinds = {"prompt": str, "code": str, "config": Mapping}
    wanted = kinds.get(parameter.kind, bool | int | float | str)
    assert isinstance(value, wanted), f"parameter {parameter.name!r} ({parameter.kind}) got the {type(value).__name__} {value!r}"
    assert parameter.trainable or value == parameter.initial, f"parameter {parameter.name!r} is not trainable and was changed"
