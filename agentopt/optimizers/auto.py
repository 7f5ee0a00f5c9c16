"""``auto``: a portfolio of optimizers, with every model an arm of its own, in shares that follow what pays. The default with a model."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from agentopt.core.candidate import Candidate
from agentopt.core.chat import ChatReply, ChatRequest, ModelError
from agentopt.core.credit import Gains, Lineage, Pool, largest_share, rates
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry, Rollout
from agentopt.core.options import read_options, split_options
from agentopt.core.protocols import (
    Answer,
    Chat,
    Exhausted,
    ObservesRefusals,
    Optimizer,
    OptimizerContext,
    Refused,
    TaskCard,
    View,
    Wait,
)
from agentopt.core.selection import rank_key

__all__ = ["Auto"]

_NAME = "auto"
_WITHOUT_MODEL = ("tune", "mutate", "memetic")
_FIRST_ASKS = 2
"""Each arm that asks a model has so many answers before credit counts."""
_FREE_SHARE = 0.5
"""Of evaluations, rollouts and seconds, where they are limited, the free arms take no more while model arms could use them."""
_MODEL_UNITS = ("calls", "tokens", "usd")
_CANDIDATE_UNITS = ("evals", "rollouts", "seconds")
_PARTS_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"reevo": {"init_pop_size": 6}, "tune": {"sigma": 0.1, "follow": 1}}
"""ReEvo gets a share of the calls, and good candidates of others; a model's numbers are near good ones, and better programs keep coming."""
_METER: ContextVar[dict[str, float] | None] = ContextVar("_METER", default=None)
"""What the models took in the proposal that is being made."""


@dataclass(frozen=True)
class AutoOptions:
    """What can be set, besides ``<optimizer>.<option>`` for each of the arms."""

    arms: str = "reevo,evolve,tune,mutate"
    """Optimizers, by commas. Those that ask a model are one arm for each model of the run."""
    floor: float = 0.2
    """The share of the asks that is divided evenly among arms, whatever they bring."""
    decay: float = 0.98
    """What is left of gains and costs at each further answer."""
    plateau: int = 10
    """Answers without a new best after which an arm hands the incumbent over."""
    polish: int = 8
    """Most candidates of arms that ask no model (``tune`` and ``mutate``) for each that a model made; 0 for none."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor <= 1.0:
            raise ConfigError(f"{_NAME}.floor is {self.floor!r}; it must lie between 0 and 1")
        if not 0.0 < self.decay <= 1.0:
            raise ConfigError(f"{_NAME}.decay is {self.decay!r}; it must be above 0 and at most 1")
        if self.plateau < 1:
            raise ConfigError(f"{_NAME}.plateau is {self.plateau!r}; it must be at least 1")
        if self.polish < 0:
            raise ConfigError(f"{_NAME}.polish is {self.polish!r}; it must be 0 or more")
        if _NAME in self.names or "" in self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(f"{_NAME}.arms is {self.arms!r}; name other optimizers, each once")

    @property
    def names(self) -> list[str]:
        return [name.strip() for name in self.arms.split(",")]


@dataclass(frozen=True)
class _Arm:
    """``name`` is how the log knows it; of several models the one asked is part of it."""

    name: str
    part: Optimizer
    asks_model: bool


class Auto:
    """A portfolio: all arms see all results, and each ask goes to the arm that promises most for what it costs.

    An arm's rate is the decayed sum of its gains over that of its costs. A gain is the improvement of the best against the spread of recent
    results; 70 % of it go to the arm that made the candidate, 30 % to those of its ancestors. The cost of an answer is the largest share
    that it took of what was left of any limited unit: evaluations, rollouts, seconds, calls, tokens or USD; if it takes of none of them,
    dollars count, or else answers. Asks are drawn in proportion to the rates (probability matching: Thierens, "An adaptive pursuit strategy
    for allocating operator probabilities", GECCO 2005, section 3), above a floor. An arm without a new best for ``plateau`` answers stands
    back until the others have had as many, and they go on from its incumbent.

    Arms that ask no model are a pool of their own. For each candidate of a model they make at most ``polish``, most of all ``tune``, which
    searches the numbers of the best programs. Where evaluations, rollouts or seconds are limited too, they take at most half of these while
    the models could still use them, and compete with the model arms by their rates.

    All memory is what was observed: the memo of a proposal holds its arm, what its models took and what was left of the budget before.
    """

    def __init__(self, context: OptimizerContext) -> None:
        names = str(context.options.get("arms", AutoOptions.arms)).split(",")
        own, parts = split_options(context.options, [name.strip() for name in names])
        self._options = read_options(AutoOptions, own, _NAME)
        self._arms = {arm.name: arm for arm in _built(context, self._options.names, parts)}
        pools = {asks: [arm.name for arm in self._arms.values() if arm.asks_model is asks] for asks in (True, False)}
        self._pools = {asks: Pool(arms, self._options.decay) for asks, arms in pools.items() if arms}
        self._objectives = context.task.objectives
        self._gains, self._lineage = Gains(), Lineage()
        self._volume = 0.0
        self._most_left: dict[str, float] = {}

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        waits, ends = bool(view.pending), list[str]()
        for arm, most in self._order(view, n, rng):
            answer = await self._ask(arm, view, most, rng)
            if isinstance(answer, Exhausted):
                ends.append(answer.why)
            elif isinstance(answer, Wait):
                waits = True
            else:
                return answer
        return Wait() if waits else Exhausted("; ".join(ends))

    def observe(self, entry: Entry, admission: Admission) -> None:
        for arm in self._arms.values():
            arm.part.observe(_shown(entry, arm), admission)
        gain = self._gains.add(self._key(entry, admission))
        arm = self._arms.get(str(entry.candidate.memo.get("arm")))
        if arm is None:
            return
        new = admission.status != "duplicate"
        self._charge(arm, entry.candidate.memo, _taken(entry) if new else {})
        if new:
            self._lineage.add(entry.id, arm.name, entry.candidate.parents)
        if gain:
            self._credit(entry.id, arm, gain)

    def observe_refusal(self, refused: Refused) -> None:
        arm = self._arms.get(str(refused.memo.get("arm")))
        if arm is None:
            return
        self._charge(arm, refused.memo, {})
        if isinstance(arm.part, ObservesRefusals):
            error = {"error": refused.memo["error"]} if "error" in refused.memo else {}
            arm.part.observe_refusal(Refused(refused.kind, {**refused.memo["memo"], **error}))

    # --- credit

    def _key(self, entry: Entry, admission: Admission) -> float:
        """To be minimised: the objective, or less the hypervolume of the front where there are several."""
        if not entry.scores or entry.provisional or admission.status == "duplicate":
            return math.inf
        if len(self._objectives) == 1:
            return rank_key(entry.scores, self._objectives)[0]
        self._volume += admission.gain
        return -self._volume

    def _charge(self, arm: _Arm, memo: Mapping[str, Any], taken: Mapping[str, float]) -> None:
        spent: Mapping[str, float] = memo["spent"]
        used = {unit: spent.get(unit, 0.0) + taken.get(unit, 0.0) for unit in (*_MODEL_UNITS, *_CANDIDATE_UNITS)}
        if "seconds" not in memo["left"]:
            del used["seconds"]  # no run may depend on its clock unless its budget does
        self._pools[arm.asks_model].charge(arm.name, used, largest_share(used, memo["left"], self._most_left))

    def _credit(self, candidate: str, arm: _Arm, gain: float) -> None:
        for name, share in self._lineage.shares(candidate).items():
            self._pools[self._arms[name].asks_model].accounts[name].gain += gain * share
        self._pools[arm.asks_model].begin_anew()

    # --- whom to ask

    def _order(self, view: View, n: int, rng: Random) -> Iterator[tuple[_Arm, int]]:
        """Arms to ask until one proposes, with how many candidates each may make. It draws the same whatever comes of it."""
        drawn = rng.random()
        orders = {asks: self._drawn(pool, view, asks, [rng.random() for _ in pool.accounts]) for asks, pool in self._pools.items()}
        contested = self._contested(view)
        room = min(n, self._room(view, contested)) if False in orders else 0
        free_first = room > 0 and (not contested or drawn < self._free_share())
        for asks in (False, True) if free_first else (True, False):
            most = n if asks else room
            yield from ((self._arms[name], most) for name in orders.get(asks, ()) if most > 0)

    def _drawn(self, pool: Pool, view: View, asks_model: bool, draws: Sequence[float]) -> list[str]:
        """The arms of a pool in random order, larger shares tending to the front (Efraimidis and Spirakis, "Weighted random sampling with a
        reservoir", 2006); those that were hardly asked lead."""
        first = _FIRST_ASKS if asks_model else 1
        asked = {name: pool.accounts[name].results + _count(view, [name]) for name in pool.accounts}
        shares = pool.shares(self._options.floor, self._options.plateau)
        keys = {name: -math.log(1.0 - u) / max(shares[name], 1e-12) for name, u in zip(pool.accounts, draws, strict=True)}
        return sorted(pool.accounts, key=lambda name: (asked[name] >= first, keys[name]))

    def _free_share(self) -> float:
        """The chance that an ask goes to an arm that asks no model, where both kinds need the same."""
        found = rates({name: self._pools[asks].total for asks, name in ((True, "model"), (False, "free"))})
        floor = self._options.floor
        return floor / 2 + (1.0 - floor) * found["free"] / (found["free"] + found["model"])

    def _contested(self, view: View) -> list[str]:
        """Of evaluations, rollouts and seconds those of which the model arms could use all that is left, before their calls are spent."""
        if True not in self._pools:
            return []
        model, left = self._pools[True], view.budget_left
        answers = min((left[unit] / model.mean(unit) for unit in _MODEL_UNITS if unit in left and model.mean(unit)), default=math.inf)
        return [unit for unit in _CANDIDATE_UNITS if unit in left and left[unit] <= answers * max(model.mean(unit), 1e-9)]

    def _room(self, view: View, contested: Sequence[str]) -> int:
        """How many candidates the free arms may make now."""
        if True not in self._pools:
            return sys.maxsize
        pending = {asks: _count(view, pool.accounts) for asks, pool in self._pools.items()}
        for unit in contested:
            taken = {asks: pool.used.get(unit, 0.0) + pending[asks] * pool.mean(unit) for asks, pool in self._pools.items()}
            if (1.0 - _FREE_SHARE) * (taken[False] + self._pools[False].mean(unit)) > _FREE_SHARE * taken[True]:
                return 0
        made = {asks: pool.used.get("evals", 0.0) + pending[asks] for asks, pool in self._pools.items()}
        return max(0, int(self._options.polish * made[True] - made[False]))

    # --- asking

    async def _ask(self, arm: _Arm, view: View, n: int, rng: Random) -> Answer:
        left, meter = dict(view.budget_left), dict[str, float]()
        token = _METER.set(meter)

        def memo(inner: Mapping[str, Any]) -> dict[str, Any]:
            spent = {unit: amount for unit, amount in meter.items() if unit != "seconds" or unit in left}
            return {"arm": arm.name, "spent": spent, "left": left, "memo": dict(inner)}

        try:
            answer = await arm.part.propose(_ArmView(view, arm), n, rng)
        except ModelError as error:
            error.memo = memo(error.memo)
            raise
        finally:
            _METER.reset(token)
        if isinstance(answer, Refused):
            return Refused(answer.kind, memo(answer.memo))
        if not isinstance(answer, Sequence):
            return answer
        wrapped = [replace(p, optimizer=arm.name, memo=memo(p.memo) | {"by": p.optimizer}) for p in answer]
        # one ask is paid once
        return [p if place == 0 else replace(p, memo={**p.memo, "spent": {}}) for place, p in enumerate(wrapped)]


class _Metered:
    """A ``Chat`` that notes what its replies took in the meter of the proposal under way."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    @property
    def models(self) -> Sequence[str]:
        return self._chat.models

    async def complete(self, request: ChatRequest, rng: Random) -> ChatReply:
        meter = _METER.get()
        try:
            reply = await self._chat.complete(request, rng)
        except ModelError as error:
            _add(meter, {"calls": float(error.attempts)})
            raise
        usage = reply.usage
        _add(meter, {"calls": 1.0, "seconds": reply.latency})
        if usage is not None:
            _add(meter, {"tokens": float(usage.input_tokens + usage.output_tokens)})
            _add(meter, {} if reply.cost_usd is None else {"usd": reply.cost_usd})
        return reply

    def only(self, model: str) -> Chat:
        return _Metered(self._chat.only(model))


class _ArmView:
    """``View`` for one arm: what it proposed looks as it did then."""

    def __init__(self, view: View, arm: _Arm) -> None:
        self._view, self._arm = view, arm

    @property
    def task(self) -> TaskCard:
        return self._view.task

    @property
    def pending(self) -> Sequence[Candidate]:
        return [_unwrapped(candidate, self._arm) for candidate in self._view.pending]

    @property
    def budget_left(self) -> Mapping[str, float]:
        return self._view.budget_left

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        return [_shown(entry, self._arm) for entry in self._view.sample(n, rng)]

    def front(self) -> Sequence[Entry]:
        return [_shown(entry, self._arm) for entry in self._view.front()]

    def entry(self, candidate_id: str) -> Entry | None:
        entry = self._view.entry(candidate_id)
        return entry and _shown(entry, self._arm)

    def texts(self, entry: Entry, limit: int) -> Mapping[str, str]:
        return self._view.texts(entry, limit)

    def traces(self, entry: Entry) -> Iterator[tuple[Rollout, bytes]]:
        return self._view.traces(entry)


def _built(context: OptimizerContext, names: Sequence[str], parts: Mapping[str, Mapping[str, Any]]) -> Iterator[_Arm]:
    for name in names:
        options = {**_PARTS_DEFAULTS.get(name, {}), **parts[name]}
        if name in _WITHOUT_MODEL:
            yield _Arm(name, context.child(name, options, None), False)
            continue
        if context.chat is None:
            raise ConfigError(f"{_NAME} needs a model for {name}: --model openai:NAME, or leave it out of {_NAME}.arms")
        models = context.chat.models
        for model in models:
            part = context.child(name, options, _Metered(context.chat.only(model)))
            yield _Arm(name if len(models) == 1 else f"{name}@{model}", part, True)


def _unwrapped(candidate: Candidate, arm: _Arm) -> Candidate:
    memo = candidate.memo
    return replace(candidate, optimizer=memo["by"], memo=memo["memo"]) if memo.get("arm") == arm.name else candidate


def _shown(entry: Entry, arm: _Arm) -> Entry:
    candidate = _unwrapped(entry.candidate, arm)
    return entry if candidate is entry.candidate else replace(entry, candidate=candidate)


def _count(view: View, arms: Sequence[str] | Mapping[str, Any]) -> int:
    return sum(candidate.memo.get("arm") in arms for candidate in view.pending)


def _taken(entry: Entry) -> dict[str, float]:
    """What evaluating a new candidate took."""
    rollouts = entry.evaluation.rollouts if entry.evaluation else ()
    return {"evals": 1.0, "rollouts": float(len(rollouts)), "seconds": sum(rollout.measured.wall for rollout in rollouts)}


def _add(meter: dict[str, float] | None, amounts: Mapping[str, float]) -> None:
    if meter is not None:
        for unit, amount in amounts.items():
            meter[unit] = meter.get(unit, 0.0) + amount
