"""``reevo``: a language model compares programs, draws lessons from the comparison, and breeds and mutates by them."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any

from agentopt.core.candidate import Proposal
from agentopt.core.chat import ChatRequest, Prompt
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry, Failure
from agentopt.core.options import read_options
from agentopt.core.protocols import Answer, Exhausted, OptimizerContext, Refused, View, Wait
from agentopt.core.selection import rank_key
from agentopt.core.task import Objective, Values
from agentopt.llm.asking import ask_for_text, ask_for_values
from agentopt.llm.replies import Unusable
from agentopt.prompts.showing import reply_form, show_failures, show_objectives, show_parameters, show_scores, show_values

__all__ = ["Reevo"]

_NAME = "reevo"
_LONGEST_REFLECTION = 2000
"""Characters; a reflection is asked for in at most 50 words, and comes back in every memo and prompt."""
_SHOWN_FAILURES = 3
_LongTerm = tuple[int, str]
"""A generation and its long-term reflection."""


@dataclass(frozen=True)
class ReevoOptions:
    """What can be set; the defaults are the published ones, but for ``mode``."""

    mode: str = "async"
    """``async``: whatever can be made is made, nobody waits. ``paper``: generations with barriers, as published."""
    init_pop_size: int = 30
    """Candidates made from the seed alone."""
    pop_size: int = 10
    """Crossovers per generation; ``async`` makes a long-term reflection after as many."""
    mutation_rate: float = 0.5
    """Mutations of the best per generation, as a share of ``pop_size``, rounded down."""
    temperature: float = 1.0
    extra_temperature: float = 0.3
    """Added for the initial candidates. Models that take no temperature but 1 need 0 here."""
    max_output_tokens: int = 8192
    """Of each reply, reasoning included."""

    def __post_init__(self) -> None:
        if self.mode not in ("async", "paper"):
            raise ConfigError(f"{_NAME}.mode is {self.mode!r}; it must be async or paper")
        for name, least in (("init_pop_size", 2), ("pop_size", 1), ("max_output_tokens", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must be at least {least}")
        if not 0.0 <= self.mutation_rate <= 10.0:
            raise ConfigError(f"{_NAME}.mutation_rate is {self.mutation_rate!r}; it must lie between 0 and 10")
        for name in ("temperature", "extra_temperature"):
            if not 0.0 <= getattr(self, name) <= 2.0:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must lie between 0 and 2")
        if (together := self.temperature + self.extra_temperature) > 2.0:
            raise ConfigError(f"{_NAME}.temperature and extra_temperature add up to {together:g}; together they must be at most 2")

    @property
    def mutations(self) -> int:
        return int(self.pop_size * self.mutation_rate)


@dataclass(frozen=True)
class _Member:
    """A candidate to breed from; the lower its ``key``, the better, and infinite without a score."""

    id: str
    values: Values
    scores: Mapping[str, float]
    key: float


class Reevo:
    """ReEvo (Ye et al., "ReEvo: Large Language Models as Hyper-Heuristics with Reflective Evolution", NeurIPS 2024, section 4).

    Candidates are made from the seed; then, over and over, pairs that score differently are drawn at random, a *short-term reflection*
    says what makes the better of a pair better, and a *crossover* follows it; after ``pop_size`` of these a *long-term reflection* sums
    up the short-term ones and the one before it, and *mutations* of the best candidate (the elite) follow that. Failed candidates breed
    nothing.

    ``paper`` keeps the published schedule: the initial candidates, then per generation ``pop_size`` crossovers of the candidates of the
    generation before and the elite, and, when these are scored, the mutations. A generation whose candidates score alike ends the run.
    With several workers a duplicate that is not told yet is not seen, and one candidate more may be made in its place.
    ``async`` (default) has no barriers: parents are the elite and the last candidates as many as a generation has (the initial ones too,
    while there are fewer), mutations come as soon as a long-term reflection has its crossovers, and where no pair can be drawn, further
    initial candidates are made.

    The authors' program differs from both in what we take for oversights: it shows programs without lines that begin with ``def`` or
    ``import``, so that helpers run into each other, and ends them at the first ``return`` that is not indented; it renames what is called
    ``v1`` anywhere in the seed; it adds imports wherever the letters ``np`` occur; it counts a reply without code as an evaluation, and
    evaluations only between generations, so that it makes 106 where 100 were allowed. Here programs are shown whole, an unusable reply is
    asked to be mended once and is no candidate, and the run's budget counts. New too: scores, and the last reasons of failures, are shown.
    A duplicate takes its place in the schedule and costs no evaluation.

    All memory is what was observed: reflections travel in the memos of the proposals that came of them.
    """

    def __init__(self, context: OptimizerContext) -> None:
        self._options = read_options(ReevoOptions, context.options, _NAME)
        if context.chat is None:
            raise ConfigError(f"{_NAME} needs a model: --model openai:NAME")
        if context.prompts is None:
            raise ConfigError(f"{_NAME} needs its templates: give its context prompts=Templates('{_NAME}', folders, token_budget)")
        self._chat, self._prompts = context.chat, context.prompts
        task = context.task
        self._parameters = task.parameters
        self._objectives = task.objectives
        self._goal = task.goal.strip() or task.name
        self._told = _Told(self._options, task.objectives[:1])
        initial = {name: parameter.initial for name, parameter in task.parameters.items()}
        self._unscored_seed = _Member("", initial, {}, math.inf)
        # proposals being made at this moment: other asks may be under way, and a place of the schedule is given once
        self._asking: Counter[str] = Counter()

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        if not any(parameter.trainable for parameter in self._parameters.values()):
            return Exhausted("the task has no trainable parameter")
        memos = [candidate.memo for candidate in view.pending if candidate.optimizer == _NAME]
        made = self._told.counts + self._asking + Counter(str(memo.get("kind")) for memo in memos)
        long_term = max([self._told.long_term, *map(_long_term_of, memos)])
        kind = self._next_in_generations(made, long_term) if self._options.mode == "paper" else self._next(made, long_term)
        if not isinstance(kind, str):
            return kind
        self._asking[kind] += 1
        try:
            if kind == "crossover":
                return await self._crossover(rng)
            return await (self._mutation(made["mutation"], long_term, rng) if kind == "mutation" else self._initial(rng))
        finally:
            self._asking[kind] -= 1

    def observe(self, entry: Entry, admission: Admission) -> None:
        self._told.add(entry, admission)

    # --- what to make next

    def _next(self, made: Mapping[str, int], long_term: _LongTerm) -> str:
        options, told = self._options, self._told
        if made["initial"] < options.init_pop_size:
            return "initial"
        if made["mutation"] < told.rounds * options.mutations and self._may_mutate(made, long_term):
            return "mutation"
        return "crossover" if told.pairs() else "initial"

    def _next_in_generations(self, made: Mapping[str, int], long_term: _LongTerm) -> str | Wait | Exhausted:
        told, generation = self._told, self._told.generation
        for kind, number in told.due(generation).items():
            if made[kind] < number:
                if kind == "crossover" and not told.pairs():
                    return Exhausted(
                        f"no two candidates of generation {generation - 1} differ in their score, so {_NAME} has nothing to compare"
                    )
                return kind if kind != "mutation" or self._may_mutate(made, long_term) else Wait()
            if told.counts[kind] < number:
                break
        return Wait()

    def _may_mutate(self, made: Mapping[str, int], long_term: _LongTerm) -> bool:
        """Not while another ask makes the long-term reflection that is needed."""
        return long_term[0] >= self._generation(made["mutation"]) or not self._asking["mutation"]

    def _generation(self, mutation: int) -> int:
        """Of the mutation of that number, from 0."""
        return mutation // self._options.mutations + 1

    # --- making it

    async def _initial(self, rng: Random) -> Answer:
        seed = self._told.seed or self._unscored_seed
        slots = {"seed": self._shown(seed), "seed_scores": self._scores(seed)}
        prompt = self._prompts.render("initial", self._common | self._for_values | slots)
        request = self._request(prompt, rng.getrandbits(31), self._options.temperature + self._options.extra_temperature)
        return await self._made(request, (seed,), {"kind": "initial"}, rng)

    async def _crossover(self, rng: Random) -> Answer:
        better, worse = sorted(rng.choice(self._told.pairs()), key=lambda member: member.key)
        pair = {
            "worse": self._shown(worse),
            "worse_scores": self._scores(worse),
            "better": self._shown(better),
            "better_scores": self._scores(better),
        }
        prompt = self._prompts.render("short_term", self._common | pair)
        reflection = await ask_for_text(self._chat, self._request(prompt, rng.getrandbits(31)), rng, _LONGEST_REFLECTION)
        prompt = self._prompts.render("crossover", self._common | self._for_values | pair | {"reflection": reflection})
        memo = {"kind": "crossover", "reflection": reflection}
        return await self._made(self._request(prompt, rng.getrandbits(31)), (better, worse), memo, rng, reflection)

    async def _mutation(self, number: int, long_term: _LongTerm, rng: Random) -> Answer:
        generation = self._generation(number)
        reflection = await self._long_term(generation, long_term)
        elite = self._told.mutated or self._unscored_seed
        slots = {"elite": self._shown(elite), "elite_scores": self._scores(elite), "reflection": reflection}
        prompt = self._prompts.render("mutation", self._common | self._for_values | slots)
        memo = {"kind": "mutation", "generation": generation, "reflection": reflection}
        return await self._made(self._request(prompt, rng.getrandbits(31)), (elite,), memo, rng, reflection)

    async def _long_term(self, generation: int, newest: _LongTerm) -> str:
        """The long-term reflection of ``generation``, or a later one.

        The first mutation of a generation asks for it; the others find it in that one's memo. If that one was refused and left no memo, the
        next makes the same request of the same sample to the same model, which gets the reply that was paid for.
        """
        known, text = newest
        for number in range(known + 1, generation + 1):
            insights = "\n".join(f"- {lesson}" for lesson in self._told.reflections.get(number, ()))
            common = {name: self._common[name] for name in ("goal", "objectives")}
            request = self._request(self._prompts.render("long_term", common | {"prior": text, "insights": insights}), sample=number)
            text = await ask_for_text(self._chat, request, Random(request.digest), _LONGEST_REFLECTION)
        return text

    async def _made(
        self, request: ChatRequest, parents: Sequence[_Member], memo: Mapping[str, Any], rng: Random, rationale: str = ""
    ) -> Answer:
        """A proposal that changes the first of ``parents``."""
        found = await ask_for_values(self._chat, request, self._parameters, parents[0].values, rng)
        if isinstance(found, Unusable):
            return Refused(found.verdict, {**memo, "message": found.message})
        ids = tuple(parent.id for parent in parents if parent.id)
        return [Proposal({**parents[0].values, **found.values}, ids, _NAME, str(memo["kind"]), rationale, memo)]

    # --- what is shown

    @property
    def _common(self) -> dict[str, str]:
        parameters = show_parameters(self._parameters)
        return {"goal": self._goal, "parameters": parameters, "objectives": show_objectives(self._objectives)}

    @property
    def _for_values(self) -> dict[str, str]:
        return {"form": reply_form(self._parameters), "failures": show_failures(self._told.failures)}

    def _shown(self, member: _Member) -> str:
        return show_values(member.values, self._parameters)

    def _scores(self, member: _Member) -> str:
        return show_scores(member.scores, self._objectives)

    def _request(self, prompt: Prompt, sample: int, temperature: float | None = None) -> ChatRequest:
        options = self._options
        return prompt.request(sample, options.temperature if temperature is None else temperature, options.max_output_tokens)


class _Told:
    """What was observed: who may breed, what was learnt, how many of each kind there were."""

    def __init__(self, options: ReevoOptions, first: tuple[Objective, ...]) -> None:
        self._options = options
        self._first = first
        self.counts: Counter[str] = Counter()
        self.seed: _Member | None = None
        self.elite: _Member | None = None
        self.failures: deque[Failure] = deque(maxlen=_SHOWN_FAILURES)
        self.long_term: _LongTerm = (0, "")
        """The newest one."""
        self.reflections: dict[int, list[str]] = {}
        """The short-term reflections by generation, as far as no long-term reflection sums them up."""
        self.generation = 0
        """The one under way, 0 the initial one; ``paper``."""
        self._population: list[_Member] = []
        """The generation before and the elite as it was then; ``paper``."""
        self._coming: list[_Member] = []
        self._mutated: _Member | None = None
        """The elite when the crossovers of the generation were told; ``paper``."""
        self._initial: list[_Member] = []
        self._recent: deque[_Member] = deque(maxlen=options.pop_size + options.mutations)

    def add(self, entry: Entry, admission: Admission) -> None:
        member = _Member(entry.id, entry.candidate.values, entry.scores, math.inf)
        if entry.scores:
            member = _Member(entry.id, entry.candidate.values, entry.scores, rank_key(entry.scores, self._first)[0])
        self.seed = self.seed or member
        if entry.provisional is None and member.key < (self.elite.key if self.elite else math.inf):
            self.elite = member
        failure = entry.failure
        if failure and failure not in self.failures and admission.status != "duplicate" and failure.kind != "infrastructure":
            self.failures.append(failure)
        if entry.candidate.optimizer == _NAME:
            self._add_own(member, entry.candidate.memo)

    def _add_own(self, member: _Member, memo: Mapping[str, Any]) -> None:
        kind = str(memo.get("kind"))
        if kind == "crossover":
            self.reflections.setdefault(self.rounds + 1, []).extend(filter(None, [memo.get("reflection")]))
        self.counts[kind] += 1
        self.long_term = max(self.long_term, _long_term_of(memo))
        self.reflections = {number: texts for number, texts in self.reflections.items() if number > self.long_term[0]}
        if member.scores:
            self._coming.append(member)
            kept = self._initial if kind == "initial" else self._recent
            if all(member.id != other.id for other in kept):
                kept.append(member)
        if len(self._recent) == self._recent.maxlen:
            self._initial.clear()
        due = self.due(self.generation)
        if kind == "crossover" and self.counts[kind] == due.get(kind):
            self._mutated = self.elite
        if all(self.counts[kind] >= number for kind, number in due.items()):
            self._population, self._coming = self._with_elite(self._coming), []
            self.generation += 1

    @property
    def rounds(self) -> int:
        """How often ``pop_size`` crossovers were told."""
        return self.counts["crossover"] // self._options.pop_size

    def due(self, generation: int) -> dict[str, int]:
        """How many of each kind there are when ``generation`` is over, in the order in which they are made."""
        options = self._options
        if generation == 0:
            return {"initial": options.init_pop_size}
        return {"crossover": generation * options.pop_size, "mutation": generation * options.mutations}

    @property
    def mutated(self) -> _Member | None:
        """The candidate that mutations start from."""
        return self._mutated if self._options.mode == "paper" else self.elite

    def pairs(self) -> list[tuple[_Member, _Member]]:
        """All pairs of possible parents that differ in their score."""
        paper = self._options.mode == "paper"
        members = self._population if paper else self._with_elite([*self._initial, *self._recent])
        return [(a, b) for a, b in combinations(members, 2) if a.key != b.key]

    def _with_elite(self, members: list[_Member]) -> list[_Member]:
        if self.elite is None or any(member.id == self.elite.id for member in members):
            return members
        return [*members, self.elite]


def _long_term_of(memo: Mapping[str, Any]) -> _LongTerm:
    """What a mutation was made by; (0, "") of anything else."""
    return (int(memo["generation"]), str(memo["reflection"])) if memo.get("kind") == "mutation" else (0, "")
