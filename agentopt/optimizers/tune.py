"""``tune``: the numbers of the best candidate, searched by CMA-ES, one bout after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options
from agentopt.core.protocols import Answer, Exhausted, OptimizerContext, View, Wait
from agentopt.core.selection import rank_key
from agentopt.core.task import Values
from agentopt.edits.tunable import Tunable

__all__ = ["Tune"]

_NAME = "tune"
_BARREN = 3
_ZERO_SCALES = (1.0, 0.1, 10.0, 0.01)


@dataclass(frozen=True)
class TuneOptions:
    """What can be set."""

    sigma: float = 0.6
    """First standard deviation of a step, in units of the number's size (or of its range)."""
    population: int = 0
    """Candidates per generation in the first bout of a structure; 0 means 4 + 3 ln(dimension)."""
    stagnation: int = 8
    """Generations without a better score that end the first bout of a structure; the second bout is allowed twice as many, and so on."""
    generations: int = 200
    """Most generations of a bout."""
    diagonal_above: int = 40
    """Dimension above which only variances are learned (sep-CMA-ES)."""
    structures: int = 8
    """How many of the best structures are remembered to begin bouts from."""
    follow: int = 3
    """As ``stagnation``, where a candidate of another structure is better than all that the bout has found."""
    max_numbers: int = 200
    """Structures with more numbers are passed over."""

    def __post_init__(self) -> None:
        if not self.sigma > 0.0:
            raise ConfigError(f"{_NAME}.sigma is {self.sigma!r}; it must be above 0")
        if self.population and self.population < 4:
            raise ConfigError(f"{_NAME}.population is {self.population!r}; it must be 0 or at least 4")
        for name in ("stagnation", "follow", "generations", "diagonal_above", "structures", "max_numbers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must be at least 1")


@dataclass(frozen=True)
class _Plan:
    """A bout as its proposals tell it: where it starts and how it is searched. With the told results it is the whole state."""

    bout: int
    base: str
    structure: str
    score: float
    """The base's, to be minimised."""
    dimension: int
    seed: int
    sigma: float
    population: int
    zero_scale: float


@dataclass(frozen=True)
class _Known:
    """The best candidate of a structure."""

    id: str
    structure: str
    score: float
    values: Values


@dataclass
class _Bout:
    """The search of a plan, folded from the results told so far."""

    plan: _Plan
    diagonal: bool
    results: dict[int, tuple[list[float], float]] = field(default_factory=dict[int, tuple[list[float], float]])
    generation: int = 0
    best: float = math.inf
    best_at: int = 0
    fresh: bool = False
    """Was any candidate of this generation a new one."""
    over: bool = False
    stale: bool = False
    """Did the last generation hold nothing but duplicates."""

    def __post_init__(self) -> None:
        import numpy as np
        from cmaes import CMA, SepCMA

        method = SepCMA if self.diagonal else CMA
        self._search: Any = method(mean=np.zeros(self.plan.dimension), sigma=self.plan.sigma, population_size=self.plan.population)
        self.best = self.plan.score

    def sample(self, slot: int) -> list[float]:
        """The steps of one member of the current generation: the same whenever it is asked for."""
        self._search.reseed_rng(Random(f"{self.plan.seed}:{self.generation}:{slot}").getrandbits(32))
        return [float(step) for step in self._search.ask()]

    def tell(self, slot: int, steps: list[float], score: float, fresh: bool) -> None:
        self.results[slot] = steps, score
        self.fresh |= fresh
        if len(self.results) == self.plan.population:
            self._next_generation()

    def open_slots(self, taken: Iterable[int]) -> list[int]:
        out = {*self.results, *taken}
        return [slot for slot in range(self.plan.population) if slot not in out]

    def _next_generation(self) -> None:
        import numpy as np

        ordered = sorted(self.results.items(), key=lambda item: (item[1][1], item[0]))
        if ordered[0][1][1] < self.best:
            self.best, self.best_at = ordered[0][1][1], self.generation
        # ranks instead of scores: CMA-ES uses only the order, and a failed candidate has no number
        self._search.tell([(np.array(steps), float(rank)) for rank, (_, (steps, _)) in enumerate(ordered)])
        self.stale = not self.fresh
        self.over = self.stale or bool(self._search.should_stop())
        self.results, self.fresh = {}, False
        self.generation += 1


class Tune:
    """CMA-ES (Hansen, "The CMA evolution strategy: a tutorial", 2016) on the numbers of good candidates.

    A *bout* searches the numbers of one structure (a candidate without its numbers) around its best candidate. When a bout stagnates the
    next one starts from the then best structure, or from another good one that has had fewer bouts, with twice the population after each
    bout of the same structure (IPOP: Auger and Hansen, "A restart CMA evolution strategy with increasing population size", 2005).

    Nothing is decided outside ``observe`` but what the proposals' memos carry, so an optimizer rebuilt from the log goes on as if it
    had never stopped: steps are drawn from a generator named by bout, generation and slot.
    """

    def __init__(self, context: OptimizerContext) -> None:
        self._options = read_options(TuneOptions, context.options, _NAME)
        self._parameters = context.task.parameters
        self._first = context.task.objectives[:1]
        self._bout: _Bout | None = None
        self._bouts: dict[str, int] = {}
        """Bouts begun per structure."""
        self._barren = 0
        """Bouts in a row that ended in a generation of nothing but duplicates."""
        self._known: dict[str, _Known] = {}
        self._base: tuple[tuple[str, float], Tunable] | None = None

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        own = [candidate for candidate in view.pending if _is_own(candidate)]
        bout = self._current(own)
        if bout is None or self._is_over(bout, own):
            plan = self._plan(rng, 1 + (bout.plan.bout if bout else 0))
            if plan is None or self._barren >= _BARREN:
                return self._nothing(view)
            bout = self._begin(plan)
        out = {candidate.memo["slot"] for candidate in own}
        slots = bout.open_slots(out)[:n]
        return self._proposals(bout, slots, view) if slots else Wait()

    def observe(self, entry: Entry, admission: Admission) -> None:
        fresh = admission.status != "duplicate"
        score = rank_key(entry.scores, self._first)[0] if entry.scores else math.inf
        if _is_own(entry.candidate):
            plan = _Plan(**entry.candidate.memo["plan"])
            self._fold(plan, entry, score, fresh)
            structure = plan.structure
        else:
            structure = self._structure(entry, score)
        if structure and math.isfinite(score) and entry.provisional is None:
            self._remember(_Known(entry.id, structure, score, entry.candidate.values))

    # -- the fold

    def _fold(self, plan: _Plan, entry: Entry, score: float, fresh: bool) -> None:
        memo = entry.candidate.memo
        bout = self._bout
        if bout is None or bout.plan.bout < plan.bout:
            bout = self._bout = self._begin(plan)
            self._bouts[plan.structure] = self._bouts.get(plan.structure, 0) + 1
        if (bout.plan.bout, bout.generation) != (plan.bout, memo["generation"]):
            return
        if entry.evaluation is None:  # the twin is still being evaluated
            score = plan.score
        bout.tell(memo["slot"], memo["x"], score, fresh)
        if fresh:
            self._barren = 0
        elif bout.stale:
            self._barren += 1

    def _structure(self, entry: Entry, score: float) -> str:
        """Of a candidate that another optimizer made, if it could be among the best; empty if not, or if it cannot be tuned."""
        full = len(self._known) >= self._options.structures
        if not math.isfinite(score) or (full and score >= self._ranked()[-1].score):
            return ""
        tunable = Tunable(entry.candidate.values, self._parameters)
        return tunable.structure if 0 < tunable.dimension <= self._options.max_numbers else ""

    def _remember(self, found: _Known) -> None:
        known = self._known.get(found.structure)
        if known is not None and known.score <= found.score:
            return
        # equal scores are mostly equal programs with an idle part: keep the shortest
        twin = next((other for other in self._known.values() if other.score == found.score), None)
        if twin is not None:
            if _length(twin) <= _length(found):
                return
            del self._known[twin.structure]
        self._barren = 0
        self._known[found.structure] = found
        if len(self._known) > self._options.structures:
            del self._known[self._ranked()[-1].structure]

    def _ranked(self) -> list[_Known]:
        return sorted(self._known.values(), key=lambda known: known.score)

    # -- bouts

    def _current(self, own: Sequence[Candidate]) -> _Bout | None:
        """The bout of the last told candidate, or the one that pending candidates have begun since."""
        told = self._bout
        newest = max((candidate.memo["plan"] for candidate in own), key=lambda plan: plan["bout"], default=None)
        if newest is None or (told is not None and told.plan.bout >= newest["bout"]):
            return told
        return self._begin(_Plan(**newest))

    def _begin(self, plan: _Plan) -> _Bout:
        return _Bout(plan, diagonal=plan.dimension > self._options.diagonal_above)

    def _is_over(self, bout: _Bout, own: Sequence[Candidate]) -> bool:
        """Only between generations: nothing of the current one is out or told."""
        if own or bout.results:
            return False
        if bout.over or bout.generation >= self._options.generations:
            return True
        leader = min(self._known.values(), key=lambda known: known.score, default=None)
        outdone = leader is not None and leader.structure != bout.plan.structure and leader.score < bout.best
        # _bouts counts this one as soon as it has a result
        patience = self._options.follow if outdone else self._options.stagnation * max(1, self._bouts.get(bout.plan.structure, 0))
        return bout.generation - bout.best_at > patience

    def _plan(self, rng: Random, number: int) -> _Plan | None:
        """The next bout: of the best structure, each bout it has had putting it back by one place."""
        ranked = self._ranked()
        if not ranked:
            return None
        _, known = min(enumerate(ranked), key=lambda place: (place[0] + self._bouts.get(place[1].structure, 0), place[0]))
        repeats = self._bouts.get(known.structure, 0)
        dimension = Tunable(known.values, self._parameters).dimension
        population = self._options.population or 4 + int(3 * math.log(dimension))
        return _Plan(
            bout=number,
            base=known.id,
            structure=known.structure,
            score=known.score,
            dimension=dimension,
            seed=rng.getrandbits(32),
            sigma=self._options.sigma * min(1.0 + 0.5 * repeats, 3.0),
            population=population * 2 ** min(repeats, 3),
            zero_scale=_ZERO_SCALES[repeats % len(_ZERO_SCALES)],
        )

    def _nothing(self, view: View) -> Answer:
        if view.pending:
            return Wait()
        why = (
            "has tried every setting of the numbers it can reach" if self._barren else "found no candidate with a score and numbers to tune"
        )
        return Exhausted(f"{_NAME} {why}")

    def _proposals(self, bout: _Bout, slots: Sequence[int], view: View) -> list[Proposal]:
        plan = bout.plan
        tunable = self._tunable(plan, view)
        proposals: list[Proposal] = []
        for slot in slots:
            steps = bout.sample(slot)
            memo = {"plan": asdict(plan), "generation": bout.generation, "slot": slot, "x": steps}
            proposals.append(Proposal(tunable.decode(steps), (plan.base,), _NAME, _NAME, memo=memo))
        return proposals

    def _tunable(self, plan: _Plan, view: View) -> Tunable:
        key = plan.base, plan.zero_scale
        if self._base is None or self._base[0] != key:
            entry = view.entry(plan.base)
            if entry is None:
                raise RuntimeError(f"{_NAME}: candidate {plan.base} was told and is gone")
            self._base = key, Tunable(entry.candidate.values, self._parameters, plan.zero_scale)
        return self._base[1]


def _length(known: _Known) -> int:
    return sum(len(str(value)) for value in known.values.values())


def _is_own(candidate: Candidate) -> bool:
    return candidate.optimizer == _NAME and "plan" in candidate.memo
