"""``optoprime``: a language model reads what a workflow did and what was said of it, and gives new values of its variables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.chat import ChatReply, ModelError, Prompt
from agentopt.core.errors import BudgetSpent, ConfigError
from agentopt.core.evaluation import Admission, Entry, Rollout
from agentopt.core.options import read_options
from agentopt.core.protocols import Answer, Exhausted, OptimizerContext, Refused, View
from agentopt.core.selection import rank_key, select_best
from agentopt.evolving.attempts import Attempts, Tried
from agentopt.evolving.drafts import Draft, Drafts
from agentopt.evolving.plans import items_of
from agentopt.llm.asking import Said, ask_for_text, ask_in_form
from agentopt.llm.replies import Unusable, Usable
from agentopt.llm.suggestions import mend_suggestion, read_suggestion, reasoning_of
from agentopt.prompts.problem import show_feedback, show_tried, show_workflow
from agentopt.prompts.showing import show_objectives, show_parameters, show_rollouts, show_scores
from agentopt.prompts.suggesting import show_constraints, show_suggestion, suggestion_form
from agentopt.trace import jsonl
from agentopt.trace.graph import Graph
from agentopt.trace.render import render

__all__ = ["OptoPrime"]

_NAME = "optoprime"
_DIGITS = 8
_LONGEST_LIST = 4000
_SHOWN_OF_ATTEMPTS = 2
"""Runs of an earlier attempt whose feedback is shown, the worst first."""
_CHOICES = {
    "start": ("best", "latest", "sample"),
    "reply": ("xml", "json"),
    "spread": ("temperature", "alternatives", "experts"),
    "combine": ("each", "merge"),
    "recall": ("last", "best"),
}
_AT_LEAST = {"minibatch": 1, "memory": 0, "candidates": 1, "tokens": 200, "max_output_tokens": 1}


@dataclass(frozen=True)
class OptoPrimeOptions:
    """What can be set; docs/optoprime.md."""

    start: str = "best"
    """The candidate that is improved: the ``best``, the ``latest`` (a descent goes on from where it is) or a ``sample`` of the archive."""
    minibatch: int = 4
    """Runs shown: failed and worst ones, up to half of them, and others by chance."""
    graph: bool = True
    """Whether code, documentation, inputs, other values and outputs are shown. Without, and with ``recall`` best, this is OPRO."""
    tokens: int = 8000
    """So much is shown of what ran, estimated."""
    memory: int = 4
    """Earlier attempts shown with what came of them."""
    recall: str = "last"
    """Which attempts these are: the ``last`` ones, or the ``best``, the best last."""
    reply: str = "xml"
    """The form that is asked for: ``xml`` or ``json``. Both are understood."""
    candidates: int = 1
    """Answers asked for at a time."""
    spread: str = "temperature"
    """What makes them differ: ``temperature``, ``alternatives`` (each sees those before it) or ``experts`` (named by one call more)."""
    combine: str = "each"
    """``each`` is tried, or one call more makes one of them: ``merge``."""
    temperature: float = 1.0
    least_temperature: float = 0.4
    """Of several candidates that differ by temperature, the first has ``temperature`` and the last this."""
    max_output_tokens: int = 16_384
    """Of each reply, reasoning included."""

    def __post_init__(self) -> None:
        for name, words in _CHOICES.items():
            if getattr(self, name) not in words:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must be {', '.join(words[:-1])} or {words[-1]}")
        for name, least in _AT_LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must be at least {least}")
        for name in ("temperature", "least_temperature"):
            if not 0.0 <= getattr(self, name) <= 2.0:
                raise ConfigError(f"{_NAME}.{name} is {getattr(self, name)!r}; it must lie between 0 and 2")


class OptoPrime:
    """OptoPrime (Cheng, Nie, Swaminathan, "Trace is the Next AutoDiff", NeurIPS 2024, section 4) over the archive of a run.

    A candidate is chosen, some of its runs are laid out as one problem (what ran, the values that came about, scores and feedback), and a
    model answers with new values of some variables. Where runs were traced, the problem shows their graphs; elsewhere it shows what is
    known of any task: variables, inputs, what was left behind, and feedback.

    All memory is what was observed. Answers that wait for their turn travel in the memo of the first proposal of their round.
    """

    def __init__(self, context: OptimizerContext) -> None:
        self._options = read_options(OptoPrimeOptions, context.options, _NAME)
        if context.chat is None:
            raise ConfigError(f"{_NAME} needs a model: --model openai:NAME")
        if context.prompts is None:
            raise ConfigError(f"{_NAME} needs its templates: give its context prompts=Templates('{_NAME}', folders, token_budget)")
        self._chat, self._prompts, self._task = context.chat, context.prompts, context.task
        self._parameters, self._objectives = context.task.parameters, context.task.objectives
        self._form = suggestion_form(self._parameters, self._options.reply)
        initial = {name: parameter.initial for name, parameter in self._parameters.items()}
        self._seed = Entry(Candidate("", initial), None)
        self._names = [name for name, parameter in self._parameters.items() if parameter.trainable]
        self._attempts = Attempts(self._options.memory, self._options.recall == "best", self._objectives)
        self._drafts = Drafts()
        self._latest = ""

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        if not self._names:
            return Exhausted("the task has no trainable parameter")
        pending = [candidate.memo for candidate in view.pending if candidate.optimizer == _NAME]
        if waiting := self._drafts.waiting(pending)[:n]:
            return [self._proposal(view, draft) for draft in waiting]
        start = self._start(view, rng)
        found = await self._answers(view, start, rng)
        if isinstance(found, Refused):
            return found
        rest = {"drafts": [draft.to_json() for draft in found]} if len(found) > 1 else {}
        return [self._proposal(view, draft, {} if draft.place else rest) for draft in found[:n]]

    def observe(self, entry: Entry, admission: Admission) -> None:
        if self._seed.evaluation is None:
            self._seed = entry
        if entry.candidate.optimizer != _NAME:
            return
        memo = entry.candidate.memo
        self._drafts.add(memo)
        if admission.status != "duplicate":
            self._latest = entry.id
        if admission.status != "duplicate" and not (entry.provisional and self._options.recall == "best"):
            new = {name: entry.candidate.values[name] for name in memo["new"]}
            self._attempts.add(Tried(entry.id, new, entry.scores, show_rollouts(entry, self._objectives, _SHOWN_OF_ATTEMPTS)))

    # --- what is improved, and by which runs

    def _start(self, view: View, rng: Random) -> Entry:
        found: Entry | None = None
        if self._options.start == "latest" and self._latest:
            found = view.entry(self._latest)
        elif self._options.start == "sample":
            found = next(iter(view.sample(1, rng)), None)
        return found or select_best([(entry, entry.confirmed) for entry in view.front()], self._objectives) or self._seed

    def _minibatch(self, entry: Entry, rng: Random) -> list[Rollout]:
        """Up to half of them the worst, failed ones first; the others by chance."""
        rollouts = [rollout for rollout in entry.evaluation.rollouts if rollout.split == "train"] if entry.evaluation else []
        most = self._options.minibatch
        ranked = sorted(rollouts, key=self._badness, reverse=True)
        worst, others = ranked[: -(-most // 2)], ranked[-(-most // 2) :]
        drawn = rng.sample(others, min(most - len(worst), len(others)))
        return [rollout for rollout in rollouts if rollout in worst or rollout in drawn]

    def _badness(self, rollout: Rollout) -> tuple[float, ...]:
        if rollout.failure or not rollout.scores:
            return (float("inf"),)
        return rank_key(rollout.scores, self._objectives[:1])

    # --- asking

    async def _answers(self, view: View, start: Entry, rng: Random) -> list[Draft] | Refused:
        options = self._options
        slots = self._slots(view, start, rng)
        number = f"{rng.getrandbits(32):08x}"
        said = await self._several(slots, start, rng)
        drafts: list[Draft] = []
        for one in said:
            if isinstance(one.found, Usable):
                drafts.append(Draft(number, len(drafts), start.id, one.found.values, reasoning_of(one.text)))
        if not drafts:
            problem = said[-1].found
            assert isinstance(problem, Unusable)
            return Refused(problem.verdict, {"message": problem.message})
        if options.combine == "merge" and len(drafts) > 1:
            keys = ("instruction", "objectives", "start_scores", "variables", "constraints", "feedback", "form")
            shown = {name: slots[name] for name in keys} | {"drafts": show_drafts(drafts)}
            merged = await self._ask(self._prompts.render("merge", shown), start, options.temperature, rng)
            found = merged.found
            return [Draft(number, 0, start.id, found.values, reasoning_of(merged.text))] if isinstance(found, Usable) else drafts[:1]
        return drafts

    async def _several(self, slots: Mapping[str, str], start: Entry, rng: Random) -> list[Said]:
        """As many answers as candidates are wanted. Those that do not depend on each other are asked for at once."""
        options = self._options
        count = options.candidates
        if options.spread == "alternatives" and count > 1:
            return await self._alternatives(slots, start, rng)
        experts: Sequence[str] = ()
        if options.spread == "experts" and count > 1:
            experts = await self._experts(slots, rng)
        asked = [{**slots, "expert": experts[place] if place < len(experts) else ""} for place in range(count)]
        apart = count > 1 and options.spread == "temperature"
        fall = (options.temperature - options.least_temperature) / (count - 1) if apart else 0.0
        streams = [Random(rng.getrandbits(64)) for _ in range(count)]
        asking = (
            self._ask(self._prompts.render("improve", asked[place]), start, options.temperature - fall * place, streams[place])
            for place in range(count)
        )
        said = await _at_once(asking)
        if not any(isinstance(one, Said) for one in said):
            raise next(one for one in said if not isinstance(one, Said))
        return [one for one in said if isinstance(one, Said)]  # what was paid for is used

    async def _alternatives(self, slots: Mapping[str, str], start: Entry, rng: Random) -> list[Said]:
        said: list[Said] = []
        for _ in range(self._options.candidates):
            drafts = [Draft("", 0, "", one.found.values, reasoning_of(one.text)) for one in said if isinstance(one.found, Usable)]
            prompt = self._prompts.render("improve", {**slots, "drafts": show_drafts(drafts)})
            try:
                said.append(await self._ask(prompt, start, self._options.temperature, rng))
            except (ModelError, BudgetSpent):
                if not said:
                    raise
                break  # what was paid for is used
        return said

    async def _experts(self, slots: Mapping[str, str], rng: Random) -> tuple[str, ...]:
        count = self._options.candidates
        keys = ("instruction", "objectives", "start_scores", "variables", "constraints", "feedback")
        prompt = self._prompts.render("experts", {name: slots[name] for name in keys} | {"number": str(count)})
        request = prompt.request(rng.getrandbits(31), self._options.temperature, self._options.max_output_tokens)
        return items_of(await ask_for_text(self._chat, request, rng, _LONGEST_LIST), count)

    async def _ask(self, prompt: Prompt, start: Entry, temperature: float, rng: Random) -> Said:
        def read(reply: ChatReply) -> Usable | Unusable:
            form = self._options.reply
            return read_suggestion(reply.text, self._parameters, start.candidate.values, finish=reply.finish, form=form)

        request = prompt.request(rng.getrandbits(31), temperature, self._options.max_output_tokens)
        return await ask_in_form(self._chat, request, read, lambda problem: mend_suggestion(problem, self._form), rng)

    def _proposal(self, view: View, draft: Draft, more: Mapping[str, Any] | None = None) -> Proposal:
        start = view.entry(draft.start) or self._seed
        memo = {"round": draft.round, "draft": draft.place, "new": sorted(draft.values), **(more or {})}
        parents = (draft.start,) if draft.start else ()
        return Proposal({**start.candidate.values, **draft.values}, parents, _NAME, "improve", draft.reasoning, memo)

    # --- what is shown

    def _slots(self, view: View, start: Entry, rng: Random) -> dict[str, str]:
        runs = self._minibatch(start, rng)
        values = start.candidate.values
        runs, workflow, remarks = self._workflow(view, start, runs)
        if not self._options.graph:
            workflow, remarks = dict.fromkeys(workflow, ""), ""
        return {
            "instruction": self._task.goal.strip() or self._task.name,
            "objectives": show_objectives(self._objectives),
            "start_scores": show_scores(start.scores, self._objectives, _DIGITS),
            "variables": show_suggestion({name: values[name] for name in self._names}),
            "constraints": show_constraints(self._parameters),
            **workflow,
            "feedback": "\n".join(filter(None, [show_feedback(start, runs, self._objectives, brief=bool(remarks)), remarks])),
            "memory": "\n\n".join(self._shown(tried) for tried in self._attempts.kept if tried.id != start.id),
            "drafts": "",
            "expert": "",
            "form": self._form,
        }

    def _workflow(self, view: View, start: Entry, runs: Sequence[Rollout]) -> tuple[Sequence[Rollout], dict[str, str], str]:
        """The runs in the order in which they are numbered, sections of what ran, and what traces say of single steps."""
        wanted = {run.key for run in runs}
        traces = {rollout.key: blob for rollout, blob in view.traces(start) if rollout.key in wanted}
        traced = [run for run in runs if run.key in traces]
        if not traced:
            return runs, show_workflow(self._task, runs, view.texts(start, self._options.tokens)), ""
        graphs = [_without_echo(jsonl.load(traces[run.key]), run) for run in traced]
        told = render(graphs, self._options.tokens, [f"case {run.case}" for run in traced])
        documentation = "\n".join(filter(None, [show_parameters(self._parameters), told.documentation]))
        parts = {"code": told.code, "documentation": documentation, "inputs": told.inputs, "others": told.others, "outputs": told.outputs}
        remarks = f"Of what ran:\n{told.feedback}" if told.feedback else ""
        return [*traced, *(run for run in runs if run.key not in traces)], parts, remarks

    def _shown(self, tried: Tried) -> str:
        return show_tried(tried.values, show_scores(tried.scores, self._objectives, _DIGITS), tried.feedback)


async def _at_once(asking: Iterable[Awaitable[Said]]) -> list[Said | ModelError | BudgetSpent]:
    """What each came to. Any other exception ends them all."""

    async def caught(one: Awaitable[Said]) -> Said | ModelError | BudgetSpent:
        try:
            return await one
        except (ModelError, BudgetSpent) as error:
            return error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(caught(one)) for one in asking]
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


def _without_echo(graph: Graph, run: Rollout) -> Graph:
    """Without what is said of the run as a whole too."""
    whole = {run.feedback.strip(), run.failure.message.strip() if run.failure else ""}
    graph.feedback = [said for said in graph.feedback if said.target != graph.output or said.text.strip() not in whole]
    return graph


def show_drafts(drafts: Sequence[Draft]) -> str:
    """Answers with their reasoning, numbered."""
    shown = (f"Answer {number}: {draft.reasoning}\n{show_suggestion(draft.values)}" for number, draft in enumerate(drafts, 1))
    return "\n\n".join(shown)
