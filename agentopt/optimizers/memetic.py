"""``memetic``: structure by ``mutate``, numbers by ``tune``, in shares that follow what each has won. The default without a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from agentopt.core.candidate import Proposal
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options, split_options
from agentopt.core.protocols import Answer, Exhausted, Optimizer, OptimizerContext, View, Wait
from agentopt.core.selection import rank_key

__all__ = ["Memetic"]

_NAME = "memetic"
_CHILDREN = ("mutate", "tune")


@dataclass(frozen=True)
class MemeticOptions:
    """What can be set, besides ``mutate.<option>`` and ``tune.<option>`` for the two parts."""

    floor: float = 0.2
    """Smallest share of the proposals that either part gets."""
    weight: float = 0.5
    """What a win of ``tune`` counts against one of ``mutate``: small steps of numbers win often, and little."""
    decay: float = 0.99
    """What is left of a part's credit at each further result of it."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor <= 0.5:
            raise ConfigError(f"{_NAME}.floor is {self.floor!r}; it must lie between 0 and 0.5")
        if not self.weight > 0.0:
            raise ConfigError(f"{_NAME}.weight is {self.weight!r}; it must be above 0")
        if not 0.0 <= self.decay <= 1.0:
            raise ConfigError(f"{_NAME}.decay is {self.decay!r}; it must lie between 0 and 1")


@dataclass
class _Credit:
    results: float = 0.0
    won: float = 0.0

    def add(self, reward: float, decay: float) -> None:
        self.results = self.results * decay + 1.0
        self.won = self.won * decay + reward

    @property
    def rate(self) -> float:
        return (self.won + 1.0) / (self.results + 10.0)


class Memetic:
    """A memetic algorithm: evolution of structures, with a local search of the numbers of good ones (Moscato, "On evolution, search,
    optimization, genetic algorithms and martial arts: towards memetic algorithms", Caltech C3P report 826, 1989).

    Both parts see every result. Each proposal is given to a part at random, in proportion to the rate at which its candidates have become
    the best one; what ``tune`` cannot use (it waits for a generation, or finds no numbers) goes to ``mutate``.
    """

    def __init__(self, context: OptimizerContext) -> None:
        own, parts = split_options(context.options, _CHILDREN)
        self._options = read_options(MemeticOptions, own, _NAME)
        self._parts: dict[str, Optimizer] = {name: context.child(name, parts[name], context.chat) for name in _CHILDREN}
        self._first = context.task.objectives[:1]
        self._credit = {name: _Credit() for name in _CHILDREN}
        self._best = math.inf

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        share = self.tune_share
        for_tune = sum(rng.random() < share for _ in range(n))
        tuned = await self._parts["tune"].propose(view, for_tune, rng) if for_tune else Wait()
        proposals: list[Proposal] = [*tuned] if isinstance(tuned, list | tuple) else []
        if len(proposals) == n:
            return proposals
        mutated = await self._parts["mutate"].propose(view, n - len(proposals), rng)
        if isinstance(mutated, list | tuple):
            return [*proposals, *mutated]
        if proposals:
            return proposals
        # mutate has no way on: all depends on tune
        if not for_tune:
            tuned = await self._parts["tune"].propose(view, n, rng)
        if isinstance(tuned, Exhausted) and isinstance(mutated, Exhausted):
            return Exhausted(f"{mutated.why}; {tuned.why}")
        return mutated if isinstance(tuned, Exhausted) else tuned

    def observe(self, entry: Entry, admission: Admission) -> None:
        for part in self._parts.values():
            part.observe(entry, admission)
        score = rank_key(entry.scores, self._first)[0] if entry.scores and entry.provisional is None else math.inf
        credit = self._credit.get(entry.candidate.optimizer)
        if credit is not None and admission.status != "duplicate":
            credit.add(float(score < self._best), self._options.decay)
        self._best = min(self._best, score)

    @property
    def tune_share(self) -> float:
        """The share of proposals that ``tune`` gets now."""
        tune, mutate = self._options.weight * self._credit["tune"].rate, self._credit["mutate"].rate
        return self._options.floor + (1.0 - 2.0 * self._options.floor) * tune / (tune + mutate)
