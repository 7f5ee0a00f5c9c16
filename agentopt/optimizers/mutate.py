"""``mutate``: random edits of code, numbers and choices; which edits are made follows from which have paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from agentopt.core.candidate import Proposal, candidate_id
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options
from agentopt.core.protocols import Answer, Exhausted, OptimizerContext, View, Wait
from agentopt.core.selection import rank_key
from agentopt.core.task import Parameter, Value
from agentopt.edits.crossover import crossover
from agentopt.edits.fields import find_fields, perturb_field, replace_fields
from agentopt.edits.mutations import OPERATORS, mutate

__all__ = ["Mutate"]

_NAME = "mutate"


@dataclass(frozen=True)
class MutateOptions:
    """What can be set; the defaults suit programs of up to about a hundred lines."""

    stacked: int = 3
    """Most edits put into one child of a code parameter."""
    crossover: float = 0.15
    """Share of children made of two parents."""
    tries: int = 50
    """Attempts to make a child that is new before giving up."""
    max_nodes: int = 400
    """Nodes of the syntax tree that a program may grow to."""
    floor: float = 0.3
    """Share of the edits spread evenly over the operators, whatever they have earned."""
    decay: float = 0.98
    """What is left of an operator's credit at each further child of it."""
    remembered: int = 4096
    """Candidates that are not proposed again."""

    def __post_init__(self) -> None:
        for name in ("stacked", "tries", "max_nodes", "remembered"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must be at least 1")
        for name in ("crossover", "floor", "decay"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must lie between 0 and 1")


@dataclass
class _Credit:
    """Decayed counts of an operator's children and of what they earned."""

    children: float = 0.0
    earned: float = 0.0

    def add(self, reward: float, decay: float) -> None:
        self.children = self.children * decay + 1.0
        self.earned = self.earned * decay + reward

    @property
    def rate(self) -> float:
        return (self.earned + 0.5) / (self.children + 5.0)


class Mutate:
    """Samples parents from the archive and edits one trainable parameter of each.

    Operators are drawn by probability matching: in proportion to the rate at which their children have beaten their parents (Goldberg,
    "Probability matching, the magnitude of reinforcement, and classifier system bidding", 1990; Thierens, "An adaptive pursuit strategy
    for allocating operator probabilities", 2005), above a floor that keeps every operator alive.
    """

    def __init__(self, context: OptimizerContext) -> None:
        self._options = read_options(MutateOptions, context.options, _NAME)
        self._parameters = context.task.parameters
        self._first = context.task.objectives[:1]
        self._credit = {name: _Credit() for name in OPERATORS}
        self._told: dict[str, None] = {}
        self._editable = [parameter for parameter in self._parameters.values() if _is_editable(parameter)]

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        if not self._editable:
            return Exhausted(f"{_NAME} can edit Python code, configs and values, and the task has no trainable one")
        parents = view.sample(n, rng)
        taken = {candidate.id for candidate in view.pending}
        proposals: list[Proposal] = []
        for parent in parents:
            child = self._child(view, parent, taken, rng)
            if child is not None:
                taken.add(candidate_id(child.values, self._parameters))
                proposals.append(child)
        if proposals:
            return proposals
        if view.pending:
            return Wait()
        return Exhausted(
            f"{_NAME} found nothing new in {self._options.tries} tries" if parents else "no candidate has a score to start from"
        )

    def observe(self, entry: Entry, admission: Admission) -> None:
        self._told[entry.id] = None
        if len(self._told) > self._options.remembered:
            del self._told[next(iter(self._told))]
        candidate = entry.candidate
        if candidate.optimizer != _NAME:
            return
        reward = self._reward(entry, admission)
        for name in candidate.memo.get("operators", ()):
            if name in self._credit:
                self._credit[name].add(reward, self._options.decay)

    def _reward(self, entry: Entry, admission: Admission) -> float:
        """1 for a better first objective than the parent's, a half for another way into the front."""
        before = entry.candidate.memo.get("parent_score")
        if admission.status != "duplicate" and entry.scores and before is not None and rank_key(entry.scores, self._first)[0] < before:
            return 1.0
        return 0.5 if admission.status == "admitted" else 0.0

    def _child(self, view: View, parent: Entry, taken: set[str], rng: Random) -> Proposal | None:
        for _ in range(self._options.tries):
            parameter = rng.choice(self._editable)
            edit = self._edit(view, parent, parameter, rng)
            if edit is None:
                continue
            value, operators, parents = edit
            values = {**parent.candidate.values, parameter.name: value}
            identity = candidate_id(values, self._parameters)
            if identity not in taken and identity not in self._told:
                memo: dict[str, Any] = {"operators": list(operators)}
                if parent.scores:
                    memo["parent_score"] = rank_key(parent.scores, self._first)[0]
                return Proposal(values, parents, _NAME, "+".join(operators), memo=memo)
        return None

    def _edit(self, view: View, parent: Entry, parameter: Parameter, rng: Random) -> tuple[Value, Sequence[str], tuple[str, ...]] | None:
        """The new value of the parameter, the operators that made it, and the parents."""
        value = parent.candidate.values[parameter.name]
        if not parameter.is_python:
            return _vary_fields(parameter, value, rng), ("vary",), (parent.id,)
        if rng.random() < self._options.crossover:
            mate = view.sample(1, rng)[0]
            mixed = crossover(value, mate.candidate.values[parameter.name], rng, self._options.max_nodes) if mate.id != parent.id else None
            if mixed is not None:
                return mixed, ("crossover",), (parent.id, mate.id)
        count = 1
        while count < self._options.stacked and rng.random() < 0.35:
            count += 1
        made = mutate(value, self._weights(), rng, count, self._options.max_nodes)
        return (made.source, made.operators, (parent.id,)) if made else None

    def _weights(self) -> dict[str, float]:
        rates = {name: credit.rate for name, credit in self._credit.items()}
        total = sum(rates.values())
        even = self._options.floor / len(rates)
        return {name: even + (1.0 - self._options.floor) * rate / total for name, rate in rates.items()}


def _is_editable(parameter: Parameter) -> bool:
    if not parameter.trainable:
        return False
    return parameter.is_python or (parameter.kind in ("config", "value") and bool(find_fields(parameter, parameter.initial)))


def _vary_fields(parameter: Parameter, value: Value, rng: Random) -> Value:
    """One field changed, sometimes two or more."""
    fields = find_fields(parameter, value)
    count = 1
    while count < len(fields) and rng.random() < 0.3:
        count += 1
    chosen = rng.sample(fields, count)
    return replace_fields(value, chosen, [perturb_field(field, rng) for field in chosen])
