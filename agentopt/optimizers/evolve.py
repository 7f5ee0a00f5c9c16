"""``evolve``: a language model changes programs on islands, and is shown what was tried, what it brought and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from agentopt.core.candidate import Candidate, Proposal, candidate_id
from agentopt.core.chat import ChatRequest, ModelError, Prompt
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.options import read_options
from agentopt.core.protocols import Answer, Exhausted, OptimizerContext, Refused, View
from agentopt.core.text import clean_text
from agentopt.edits.likeness import Known, KnownPrograms, sketch
from agentopt.edits.summary import summarise
from agentopt.evolving.isles import Isles, rank_of
from agentopt.evolving.memory import Attempt, Memory, Tally
from agentopt.evolving.options import NAME, EvolveOptions
from agentopt.evolving.plans import Plan, items_of
from agentopt.llm.asking import Said, ask_for_change, ask_for_text, follow_up, idea_of
from agentopt.llm.replies import Unusable
from agentopt.prompts.showing import (
    edit_form,
    reply_form,
    show_conditions,
    show_failures,
    show_input,
    show_objectives,
    show_parameters,
    show_programs,
    show_rollouts,
    show_scores,
    show_texts,
    show_values,
)

__all__ = ["Evolve", "EvolveOptions"]

_LONGEST_PLAN = 6000
_LONGEST_FAILURE = 2000
_PARADIGMS = 3
_EDIT_LINES = 12
_DIGITS = 8
"""Of scores: near an optimum fewer would all look the same."""
_FINAL = ("content_filter", "context_length")
"""Errors that the same request would meet again: the plan counts as asked for, without any item."""
_KNOWN = 400
"""So many of the last programs are compared with a new one."""
_Ticket = dict[str, Any]
"""What one ask is about to make, in the words of the memo that comes of it: other asks may be under way."""


class Evolve:
    """Evolution of programs by a model, with the ideas of the field as switches (``EvolveOptions``); docs/evolve.md has their sources.

    The frame is that of AlphaEvolve (Novikov et al., arXiv 2506.13131): a parent and other programs with their scores are shown, and the
    reply is a whole new text or edits of it. First ``initial`` proposals rewrite the seed, each from another side. Then, over and over,
    an island is chosen, a parent on it, a form of reply, and at times a direction to follow.

    All memory is what was observed: plans, ideas and edits travel in the memos of the proposals that came of them.
    """

    def __init__(self, context: OptimizerContext) -> None:
        self._options = read_options(EvolveOptions, context.options, NAME)
        if context.chat is None:
            raise ConfigError(f"{NAME} needs a model: --model openai:NAME")
        if context.prompts is None:
            raise ConfigError(f"{NAME} needs its templates: give its context prompts=Templates('{NAME}', folders, token_budget)")
        self._chat, self._prompts = context.chat, context.prompts
        task = context.task
        self._parameters, self._objectives = task.parameters, task.objectives
        self._common = {
            "goal": task.goal.strip() or task.name,
            "parameters": show_parameters(task.parameters),
            "objectives": show_objectives(task.objectives),
        }
        self._for_values = {"conditions": show_conditions(task), "input": show_input(task)}
        kind = "grid" if self._options.grid and task.measures else "pareto"
        self._isles = Isles(self._options, task.objectives, context.archive, kind)
        self._memory = Memory(self._options, task.objectives)
        self._known = KnownPrograms(_KNOWN)
        initial = {name: parameter.initial for name, parameter in task.parameters.items()}
        self._unscored_seed = Entry(Candidate("", initial), None)
        self._has_text = any(parameter.trainable and parameter.kind in ("code", "prompt") for parameter in task.parameters.values())
        self._asking: list[_Ticket] = []

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        if not any(parameter.trainable for parameter in self._parameters.values()):
            return Exhausted("the task has no trainable parameter")
        pending = [candidate.memo for candidate in view.pending if candidate.optimizer == NAME]
        tally = Tally(self._memory, [*pending, *self._asking])
        ticket = self._ticket(tally)
        self._asking.append(ticket)
        try:
            if ticket["step"] == "initial":
                return await self._initial(view, ticket, pending, rng)
            if ticket["step"] == "mend":
                return await self._mend(view, ticket, rng)
            return await self._improve(view, ticket, tally, rng)
        finally:
            self._asking = [other for other in self._asking if other is not ticket]

    def observe(self, entry: Entry, admission: Admission) -> None:
        memo: Mapping[str, Any] = entry.candidate.memo if entry.candidate.optimizer == NAME else {}
        island: int | None = memo.get("island")
        better = False
        if admission.status != "duplicate":
            better = self._isles.add(entry, island)
            if self._options.novelty:
                program = sketch(entry.candidate.values, self._parameters)
                self._known.add(Known(entry.id, program, _outcome(entry, str(memo.get("idea", "")), self._scores(entry))))
        elif island is not None:
            self._isles.skip(island)
        self._memory.add(entry, admission, better)

    def observe_refusal(self, refused: Refused) -> None:
        self._memory.add_refused(refused.memo)
        if "island" in refused.memo:
            self._isles.skip(refused.memo["island"])

    # --- what to make

    def _ticket(self, tally: Tally) -> _Ticket:
        number = tally.counts["initial"]
        if number < self._options.initial:
            return {"step": "initial", "number": number, "island": number % self._options.islands}
        if self._options.mend and (broken := tally.broken()):
            return {"step": "mend", "island": int(broken.candidate.memo["island"]), "mends": broken.id}
        ticket: _Ticket = {"step": "improve", "island": self._isles.choose(tally.islands)}
        if kind := tally.wants(self._options):
            ticket["asks"] = kind
        elif tally.place < len(tally.plan.items):
            ticket["follows"] = tally.plan.round
        return ticket

    async def _initial(self, view: View, ticket: _Ticket, pending: Sequence[Mapping[str, Any]], rng: Random) -> Answer:
        seed = self._memory.seed or self._unscored_seed
        attempts = show_attempts([*self._memory.attempts, *map(_attempt_of, pending)], self._scores_of)
        slots = self._about(view, seed) | {"number": str(ticket["number"] + 1), "form": reply_form(self._parameters)}
        slots |= {"attempts": attempts if self._options.attempts else "", "failures": show_failures(self._memory.failures)}
        prompt = self._prompts.render("initial", slots)
        return await self._made(view, prompt, seed, {**ticket, "form": ""}, "", rng)

    async def _mend(self, view: View, ticket: _Ticket, rng: Random) -> Answer:
        broken = next(entry for entry in self._memory.broken if entry.id == ticket["mends"])
        about, failure = self._about(view, broken), broken.failure
        slots = {name: about[name] for name in (*self._common, *self._for_values, "parent", "artifacts")}
        slots |= self._in_form(self._form(broken, rng)) | {"idea": str(broken.candidate.memo.get("idea", ""))}
        slots["failure"] = f"{failure.kind}: {clean_text(failure.message, _LONGEST_FAILURE)}".rstrip(": ") if failure else ""
        prompt = self._prompts.render("mend", slots)
        return await self._made(view, prompt, broken, {**ticket, "form": ""}, slots["idea"], rng)

    async def _improve(self, view: View, ticket: _Ticket, tally: Tally, rng: Random) -> Answer:
        plan, place = tally.plan, tally.place
        if kind := ticket.get("asks"):
            plan, place = await self._plan(kind, tally), 0
            del ticket["asks"]
            ticket["plan"] = plan.to_json()
            if plan.items:
                ticket["follows"] = plan.round
        direction = plan.items[place] if "follows" in ticket else ""
        shift = plan.kind == "paradigms" and bool(direction)
        drawn = self._isles.best if direction else self._isles.parent(ticket["island"], rng)
        parent = drawn or self._memory.seed or self._unscored_seed
        form = "rewrite" if shift else self._form(parent, rng)
        slots = self._about(view, parent) | self._beside(view, parent, ticket["island"], rng) | self._tried(parent)
        slots |= {"direction": "" if shift else direction, "paradigm": direction if shift else ""}
        slots |= self._in_form(form)
        prompt = self._prompts.render("improve", slots)
        return await self._made(view, prompt, parent, {**ticket, "form": "" if shift else form}, direction, rng)

    async def _plan(self, kind: str, tally: Tally) -> Plan:
        """Asked with a sample that follows from the plan's number: should it get lost, the next ask gets the reply that was paid for."""
        best = self._isles.best or self._memory.seed or self._unscored_seed
        number = self._options.directions if kind == "directions" else _PARADIGMS
        slots = self._common | {
            "best": show_values(best.candidate.values, self._parameters),
            "best_scores": self._scores(best),
            "feedback": show_rollouts(best, self._objectives, self._options.feedback_cases),
            "attempts": show_attempts(self._memory.attempts, self._scores_of),
            "conditions": self._for_values["conditions"],
            "number": str(number),
        }
        sample = tally.plan.round + 1
        request = self._request(self._prompts.render(kind, slots), sample)
        try:
            text = await ask_for_text(self._chat, request, Random(request.digest), _LONGEST_PLAN)
        except ModelError as error:
            if error.kind in _FINAL:
                error.memo = {"plan": Plan(kind, sample, tally.made).to_json()}
            raise
        return Plan(kind, sample, tally.made, items_of(text, number))

    def _form(self, parent: Entry, rng: Random) -> str:
        if not self._has_text:
            return "rewrite"
        if self._options.edits != "auto":
            return self._options.edits
        return self._memory.forms.choose(len(show_values(parent.candidate.values, self._parameters)), rng)

    def _in_form(self, form: str) -> dict[str, str]:
        if form == "diff":
            return {"reply": "the edits of the program", "form": edit_form(self._parameters)}
        return {"reply": "the whole new program", "form": reply_form(self._parameters)}

    # --- making it

    async def _made(self, view: View, prompt: Prompt, parent: Entry, ticket: _Ticket, direction: str, rng: Random) -> Answer:
        """A proposal that changes ``parent``."""
        values = parent.candidate.values
        said = await ask_for_change(self._chat, self._request(prompt, rng.getrandbits(31)), self._parameters, values, rng)
        if self._options.novelty and self._memory.may_repeat and (known := self._like(view, said, parent)):
            ticket["known"] = known.id
            said = await self._different(said, known, values, rng)
            if self._options.if_known == "refuse" and self._like(view, said, parent):
                return Refused("known", {**ticket, "message": f"like a program that was tried before: {known.outcome}"})
        if isinstance(said.found, Unusable):
            return Refused(said.found.verdict, {**ticket, "message": said.found.message})
        new = {**values, **said.found.values}
        idea = idea_of(said.text) or direction
        edit = summarise(show_values(values, self._parameters), show_values(new, self._parameters), _EDIT_LINES)
        memo = {**ticket, "was": dict(parent.scores), "idea": idea, "edit": edit}
        return [Proposal(new, (parent.id,) if parent.id else (), NAME, ticket["step"], idea, memo)]

    def _like(self, view: View, said: Said, parent: Entry) -> Known | None:
        """The known program that the new one is equal or nearly equal to."""
        if isinstance(said.found, Unusable):
            return None
        new = {**parent.candidate.values, **said.found.values}
        identity = candidate_id(new, self._parameters)
        if known := self._known.get(identity):
            return known
        if entry := view.entry(identity):
            return Known(identity, (), _outcome(entry, "", self._scores(entry)))
        waiting = [
            Known(candidate.id, sketch(candidate.values, self._parameters), f"{candidate.rationale} (it is being evaluated)")
            for candidate in view.pending
        ]
        if known := next((known for known in waiting if known.id == identity), None):
            return known
        program = sketch(new, self._parameters)
        return self._known.nearest(program, sketch(parent.candidate.values, self._parameters), self._options.novelty, waiting)

    async def _different(self, said: Said, known: Known, values: Mapping[str, Any], rng: Random) -> Said:
        prompt = self._prompts.render("different", {"outcome": known.outcome, "form": reply_form(self._parameters)})
        request = follow_up(said, prompt.messages[-1].content, "different", rng)
        again = await ask_for_change(self._chat, request, self._parameters, values, rng)
        return said if isinstance(again.found, Unusable) and self._options.if_known == "evaluate" else again

    # --- what is shown

    def _about(self, view: View, parent: Entry) -> dict[str, str]:
        shown = self._options.artifacts > 0 and parent.evaluation is not None
        return {
            **self._common,
            **self._for_values,
            "parent": show_values(parent.candidate.values, self._parameters),
            "parent_scores": self._scores(parent),
            "feedback": show_rollouts(parent, self._objectives, self._options.feedback_cases),
            "artifacts": show_texts(view.texts(parent, self._options.artifacts)) if shown else "",
        }

    def _beside(self, view: View, parent: Entry, island: int, rng: Random) -> dict[str, str]:
        """Other programs: the best, and either inspirations or one to compare with."""
        top = self._memory.top({parent.id})
        without = {parent.id, *(entry.id for entry in top)}
        other = self._compared(view, parent, island, rng) if rng.random() < self._options.contrast else None
        inspirations = [] if other else self._isles.others(island, self._options.inspirations, without, rng)
        better = other is not None and rank_of(other, self._objectives) < rank_of(parent, self._objectives)
        return {
            "top": show_programs([entry for entry in top if other is None or entry.id != other.id], self._parameters, self._objectives),
            "inspirations": show_programs(inspirations, self._parameters, self._objectives),
            "other": show_values(other.candidate.values, self._parameters) if other else "",
            "other_scores": self._scores(other) if other else "",
            "other_is": "better" if better else "worse",
        }

    def _compared(self, view: View, parent: Entry, island: int, rng: Random) -> Entry | None:
        """A scored program that is not as good as ``parent``, or better: the one that it was made of, if that will do."""
        own = [view.entry(name) for name in parent.candidate.parents[:1]]
        found = [*filter(None, own), *self._isles.others(island, 4, {parent.id}, rng)]
        rank = rank_of(parent, self._objectives)
        return next((entry for entry in found if entry.scores and rank_of(entry, self._objectives) != rank), None)

    def _tried(self, parent: Entry) -> dict[str, str]:
        failed = self._memory.failed_edits([parent.id, *parent.candidate.parents])
        return {
            "attempts": show_attempts(self._memory.attempts, self._scores_of),
            "failed_edits": "\n\n".join(f"{show_attempts([attempt], self._scores_of)}\n{attempt.edit}" for attempt in failed),
            "failures": show_failures(self._memory.failures),
        }

    def _scores(self, entry: Entry) -> str:
        return self._scores_of(entry.scores)

    def _scores_of(self, scores: Mapping[str, float]) -> str:
        return show_scores(scores, self._objectives, _DIGITS)

    def _request(self, prompt: Prompt, sample: int) -> ChatRequest:
        return prompt.request(sample, self._options.temperature, self._options.max_output_tokens)


def show_attempts(attempts: Iterable[Attempt], scores_of: Any) -> str:
    """A line per attempt: the idea and what came of it."""
    shown = (attempt for attempt in attempts if attempt.idea or attempt.edit)
    return "\n".join(f"- {attempt.idea or ' '.join(attempt.edit.split())[:200]} [{_effect(attempt, scores_of)}]" for attempt in shown)


def _effect(attempt: Attempt, scores_of: Any) -> str:
    if attempt.failure:
        return attempt.failure
    if not attempt.scores:
        return "not scored yet"
    if not attempt.was:
        return f"it has a score now: {scores_of(attempt.scores)}"
    return f"{scores_of(attempt.was)} became {scores_of(attempt.scores)}: {attempt.effect}"


def _attempt_of(memo: Mapping[str, Any]) -> Attempt:
    """Of a proposal that is still being evaluated."""
    return Attempt(str(memo.get("idea", "")), str(memo.get("edit", "")), memo.get("was") or {}, {})


def _outcome(entry: Entry, idea: str, scores: str) -> str:
    came = scores if entry.scores else f"it failed: {entry.failure.kind}" if entry.failure else "it is being evaluated"
    return f"{idea} ({came})" if idea else came
