"""OptoPrime: what it lays out, what it asks, how several answers become proposals, and what it remembers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agentopt.core.candidate import Candidate
from agentopt.core.chat import ChatReply, ChatRequest, ModelError
from agentopt.core.errors import BudgetSpent, ConfigError
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation, Failure, Provisional, Rollout
from agentopt.core.protocols import Exhausted, Optimizer, OptimizerContext, Refused, TaskCard
from agentopt.core.task import Objective, Parameter
from agentopt.loading import bundled_root
from agentopt.optimizers.optoprime import OptoPrime
from agentopt.prompts.templates import Templates
from agentopt.testing import FakeView, OptimizerContract
from agentopt.trace import jsonl
from agentopt.trace.params import Param
from agentopt.trace.recorder import record
from agentopt.trace.traced import traced
from tests.optimizers.playing import Playing
from tests.optimizers.scripted import Script, ScriptedChat

PLACE = Parameter("place", "code", "def place(item, bins):\n    return bins[0]\n", description="chooses a bin")
RATE = Parameter("rate", "value", 0.5, space={"": (0.0, 1.0)}, constraint="a multiple of 0.01")


def card(*parameters: Parameter, **more: Any) -> TaskCard:
    named = {parameter.name: parameter for parameter in parameters or (PLACE, RATE)}
    return TaskCard("packing", "Use few bins.", named, (Objective("excess", "min"),), **more)


def templates(budget: int = 24_000) -> Templates:
    return Templates("optoprime", [bundled_root("prompts")], budget)


def build(chat: ScriptedChat, task: TaskCard, budget: int = 24_000, **options: Any) -> OptoPrime:
    none: Any = lambda *asked: pytest.fail("neither a child nor an archive is needed")  # noqa: E731
    return OptoPrime(OptimizerContext(task, options, none, none, chat, templates(budget)))


def suggesting(parameters: Mapping[str, Parameter]) -> Script:
    """A list of experts for what asks for one; else reasons and a value for every parameter, all of which follow from the request."""

    def reply(request: ChatRequest) -> str:
        number = int(request.digest[:8], 16)
        if "experts" in request.purpose:
            return "\n".join(f"{k}. expert {number}.{k}" for k in range(1, 9))
        blocks = [f"<reasoning>\nbecause of {number}\n</reasoning>"]
        for name, parameter in parameters.items():
            if parameter.trainable:
                blocks.append(f"<variable>\n<name>{name}</name>\n<value>\n{_new(parameter, number)}\n</value>\n</variable>")
        return "\n".join(blocks)

    return reply


def _new(parameter: Parameter, number: int) -> str:
    if parameter.kind == "code":
        return f"{parameter.initial}MARK = {number}"
    share = number / 2**32
    return json.dumps({key: share for key in parameter.initial} if parameter.kind == "config" else share)


class Play(Playing):
    """Of optoprime, on a small task."""

    def __init__(self, task: TaskCard | None = None, script: Script | None = None, *, budget: int = 24_000, **options: Any) -> None:
        task = task or card()
        lag = options.pop("lag", 0)
        super().__init__(task, script or suggesting(task.parameters), budget=budget, lag=lag, **options)

    def built(self, chat: ScriptedChat) -> Optimizer:
        return build(chat, self.task, self.budget, **self.options)

    def users(self, step: str = "improve") -> list[str]:
        """The user turns of the requests of that step."""
        return [request.messages[1].content for request, name in zip(self.chat.paid, self.chat.steps, strict=True) if name == step]


class TestOptoPrime(OptimizerContract):
    def make(self, context: OptimizerContext) -> Optimizer:
        return OptoPrime(replace(context, chat=ScriptedChat(suggesting(context.task.parameters)), prompts=templates()))


@pytest.mark.parametrize("spread", ["temperature", "alternatives", "experts"])
class TestOptoPrimeWithCandidates(OptimizerContract):
    @pytest.fixture(autouse=True)
    def _spread(self, spread: str) -> None:
        self.spread = spread

    def options(self) -> Mapping[str, Any]:
        return {"candidates": 3, "spread": self.spread}

    def make(self, context: OptimizerContext) -> Optimizer:
        return OptoPrime(replace(context, chat=ScriptedChat(suggesting(context.task.parameters)), prompts=templates()))


# --- what it lays out

VALUES: dict[str, Any] = {"place": PLACE.initial, "rate": 0.5}


def rollout(case: str, excess: float | None = None, feedback: str = "", **more: Any) -> Rollout:
    failure = None if excess is not None else Failure("crash", f"line 2 of {case}: no bin")
    return Rollout(case, "train", 0, 1, {} if excess is None else {"excess": excess}, feedback=feedback, failure=failure, **more)


def entry(*rollouts: Rollout, name: str = "seed", values: Mapping[str, Any] = VALUES, excess: float | None = 0.25, **fields: Any) -> Entry:
    splits = {"train": Aggregate({"excess": excess}, len(rollouts), {"excess": 0.0})} if excess is not None else {}
    failure = None if excess is not None else Failure("crash", "no bin")
    return Entry(Candidate(name, values, **fields), Evaluation(name, rollouts, splits, failure, "L0"))


def asked(optimizer: OptoPrime, view: FakeView, seed: int = 1, n: int = 1) -> Any:
    return asyncio.run(optimizer.propose(view, n, Random(seed)))


def shown(*entries: Entry, task: TaskCard | None = None, seed: int = 1, script: Script | None = None, **options: Any) -> str:
    """The user turn of the request that follows when these were told."""
    task = task or card()
    chat = ScriptedChat(script or suggesting(task.parameters))
    optimizer = build(chat, task, **options)
    for told in entries:
        optimizer.observe(told, Admission("admitted"))
    asked(optimizer, FakeView(task, entries), seed)
    return chat.paid[0].messages[1].content


def section(prompt: str, name: str) -> str:
    """What stands below ``#Name``, without the tags around it; empty where there is no such section."""
    found = re.search(rf"^#{name}\n(.*?)(?=^#[A-Z]|^Give values of|\Z)", prompt, re.S | re.M)
    return re.sub(r"^</?[a-z]+-[0-9a-f]{12}>\n", "", found[1], flags=re.M).strip() if found else ""


def test_an_ordinary_task_is_laid_out_in_sections() -> None:
    task = card(cases=("a", "b"), inputs=([3, 1], [2, 2]), imports=("numpy",))
    prompt = shown(entry(rollout("a", 0.5, "bin 3 ended half empty"), rollout("b")), task=task)
    assert section(prompt, "Instruction").startswith("Use few bins.\nHow a run is scored: excess (lower is better). Scores")
    assert "excess 0.25" in section(prompt, "Instruction")
    assert section(prompt, "Code").splitlines()[0] == "output = run(place=place, rate=rate, input=input)"
    assert "chooses a bin" in section(prompt, "Documentation")
    assert "numpy" in section(prompt, "Documentation")
    assert "<name>place</name>\n<value>\ndef place(item, bins):" in section(prompt, "Variables")
    assert section(prompt, "Constraints").splitlines() == [
        "- place: Python code that defines place(item, bins)",
        "- rate: within [0.0, 1.0]; a multiple of 0.01",
    ]
    assert section(prompt, "Inputs").splitlines() == ["- run 1 (case a): [3, 1]", "- run 2 (case b): [2, 2]"]
    assert section(prompt, "Others") == section(prompt, "Memory") == ""
    assert section(prompt, "Feedback").splitlines()[:2] == [
        "Run 1 (case a): excess 0.5. bin 3 ended half empty",
        "Run 2 (case b): failed: crash: line 2 of b: no bin",
    ]


def test_without_a_graph_variables_and_feedback_stay() -> None:
    prompt = shown(entry(rollout("a", 0.5)), task=card(cases=("a",), inputs=(1,)), graph=False)
    assert [name for name in ("Code", "Documentation", "Inputs", "Others", "Outputs") if section(prompt, name)] == []
    assert section(prompt, "Variables")
    assert "Run 1 (case a): excess 0.5" in section(prompt, "Feedback")


def test_a_candidate_that_failed_before_it_ran_shows_why() -> None:
    assert "It failed: crash: no bin" in shown(entry(excess=None))
    assert "Nothing ran yet." in section(shown(), "Feedback")


def test_a_minibatch_has_failed_and_worst_runs_and_others_by_chance() -> None:
    runs = [rollout(f"c{k:02}", k / 100) for k in range(20)] + [rollout("broken")]
    batches: set[tuple[str, ...]] = set()
    for seed in range(8):
        cases = tuple(re.findall(r"^Run \d+ \(case (\w+)\)", shown(entry(*runs), seed=seed, minibatch=4), re.M))
        assert len(cases) == 4
        assert {"broken", "c19"} <= set(cases)
        batches.add(cases)
    assert len(batches) > 4
    assert re.findall(r"\(case (\w+)\): ", shown(entry(*runs), minibatch=1)) == ["broken"]
    assert len(re.findall(r"^Run ", shown(entry(*runs), minibatch=50), re.M)) == 21


def test_validation_is_never_shown() -> None:
    assert "secret" not in shown(entry(rollout("a", 0.5), replace(rollout("secret", 0.9), split="validation")))


def test_a_prompt_keeps_its_budget_and_says_what_is_missing() -> None:
    long = card(replace(PLACE, initial=PLACE.initial + "# more\n" * 3000), RATE, cases=("a",), inputs=("x" * 5000,))
    chat = ScriptedChat(suggesting(long.parameters))
    optimizer = build(chat, long, budget=4000)
    told = entry(rollout("a", 0.5, "f" * 9000), values={name: parameter.initial for name, parameter in long.parameters.items()})
    optimizer.observe(told, Admission("admitted"))
    asked(optimizer, FakeView(long, [told]))
    size = sum(len(message.content.encode()) for message in chat.paid[0].messages)
    assert size <= 4000 * 3
    assert "characters left out" in chat.paid[0].messages[1].content


# --- where it starts


def test_it_starts_from_the_best_the_latest_or_a_sample() -> None:
    best, latest = entry(name="best", values=VALUES | {"rate": 0.1}), entry(excess=0.9, name="latest", values=VALUES | {"rate": 0.9})
    latest = replace(latest, candidate=replace(latest.candidate, optimizer="optoprime", memo={"round": "r", "draft": 0, "new": ["rate"]}))
    assert "0.1\n</value>" in section(shown(best, latest), "Variables")
    assert "0.9\n</value>" in section(shown(best, latest, start="latest"), "Variables")
    assert "0.1\n</value>" in section(shown(best, start="latest"), "Variables")
    seen = {"0.9\n</value>" in section(shown(best, latest, start="sample", seed=seed), "Variables") for seed in range(12)}
    assert seen == {True, False}


def test_what_failed_is_gone_on_from_if_it_is_the_latest() -> None:
    failed = entry(rollout("a"), excess=None, name="failed", optimizer="optoprime", memo={"round": "r", "draft": 0, "new": ["rate"]})
    prompt = shown(entry(), failed, start="latest")
    assert "failed: crash: line 2 of a" in section(prompt, "Feedback")


# --- memory


def tried(number: int, excess: float | None, status: Any = "dominated") -> tuple[Entry, Admission]:
    memo = {"round": f"r{number}", "draft": 0, "new": ["rate"]}
    told = entry(rollout("a", excess, f"said of {number}"), name=f"t{number}", excess=excess, optimizer="optoprime", memo=memo)
    return replace(told, candidate=replace(told.candidate, values=VALUES | {"rate": number / 100})), Admission(status)


def remembered(attempts: Sequence[tuple[Entry, Admission]], **options: Any) -> str:
    chat = ScriptedChat(suggesting(card().parameters))
    optimizer = build(chat, card(), **options)
    optimizer.observe(entry(), Admission("admitted"))
    for told, admission in attempts:
        optimizer.observe(told, admission)
    asked(optimizer, FakeView(card(), [entry()]))
    return section(chat.paid[0].messages[1].content, "Memory")


def test_the_last_attempts_are_shown_with_what_came_of_them() -> None:
    memory = remembered([tried(1, 0.5), tried(2, 0.4), tried(3, None), tried(4, 0.3, "duplicate")], memory=2)
    assert "said of 2" in memory
    assert "excess 0.4" in memory
    assert "0.02" in memory
    assert "failed: crash" in memory
    assert "said of 1" not in memory
    assert "said of 4" not in memory  # a duplicate says nothing new
    assert "place" not in memory  # only what was new
    assert remembered([tried(1, 0.5)], memory=0) == ""


def test_the_best_attempts_come_in_rising_order() -> None:
    memory = remembered([tried(1, 0.2), tried(2, 0.9), tried(3, None), tried(4, 0.1), tried(5, 0.5)], memory=3, recall="best")
    assert re.findall(r"said of (\d)", memory) == ["5", "1", "4"]
    lucky, admission = tried(6, 0.01)
    assert lucky.evaluation
    unsure = replace(lucky, evaluation=replace(lucky.evaluation, provisional=Provisional("lead", 1, 8)))
    assert "said of 6" not in remembered([(unsure, admission)], recall="best")
    assert "said of 6" in remembered([(unsure, admission)])


def test_what_is_improved_is_not_shown_twice() -> None:
    (first, _), (second, _) = tried(1, 0.5), tried(2, 0.6)
    prompt = shown(entry(excess=0.9), first, second)
    assert "0.01\n</value>" in section(prompt, "Variables")
    assert re.findall(r"said of (\d)", section(prompt, "Memory")) == ["2"]


def test_attempts_of_others_are_not_its_memory() -> None:
    told, admission = tried(1, 0.5)
    other = replace(told, candidate=replace(told.candidate, optimizer="reevo", memo={}))
    assert remembered([(other, admission)]) == ""


# --- several answers at a time


def test_each_answer_of_a_round_is_tried_before_the_next_is_asked_for() -> None:
    play = Play(candidates=3).rounds(7)
    assert play.chat.steps == ["improve"] * 9
    memos = [proposal.memo for proposal in play.proposed]
    assert [memo["draft"] for memo in memos] == [0, 1, 2, 0, 1, 2, 0]
    assert len({memo["round"] for memo in memos}) == 3
    assert ["drafts" in memo for memo in memos] == [True, False, False, True, False, False, True]
    assert len({proposal.values["rate"] for proposal in play.proposed}) == 7


def test_as_many_as_are_wanted_are_proposed_at_once() -> None:
    task = card()
    chat = ScriptedChat(suggesting(task.parameters))
    optimizer = build(chat, task, candidates=3)
    optimizer.observe(entry(), Admission("admitted"))
    view = FakeView(task, [entry()])
    assert len(asked(optimizer, view, n=2)) == 2
    assert len(asked(optimizer, view, n=5)) == 3


def test_candidates_differ_by_temperature() -> None:
    play = Play(candidates=3, temperature=1.0, least_temperature=0.5, max_output_tokens=77).rounds(1)
    assert [request.temperature for request in play.chat.paid] == [1.0, 0.75, 0.5]
    assert {request.max_output_tokens for request in play.chat.paid} == {77}
    assert Play(temperature=0.7).rounds(1).chat.paid[0].temperature == 0.7


def test_alternatives_see_the_answers_before_them() -> None:
    play = Play(candidates=3, spread="alternatives").rounds(1)
    prompts = play.users()
    assert ["Yours has to go about it in another way" in prompt for prompt in prompts] == [False, True, True]
    first = play.proposed[0].values["rate"]
    assert f"{first}\n</value>" in prompts[1]
    assert "Answer 2: because of" in prompts[2]


def test_experts_are_named_by_one_call_more() -> None:
    play = Play(candidates=2, spread="experts").rounds(1)
    assert play.chat.steps == ["experts", "improve", "improve"]
    assert "Name 2 experts" in play.users("experts")[0]
    assert [re.findall(r"^expert \d+\.(\d)$", prompt, re.M) for prompt in play.users()] == [["1"], ["2"]]
    alone = Play(candidates=1, spread="experts").rounds(1)
    assert alone.chat.steps == ["improve"]


def test_fewer_experts_than_asked_for_leave_the_last_without_one() -> None:
    def reply(request: ChatRequest) -> str:
        return "1. a packer" if "experts" in request.purpose else suggesting(card().parameters)(request)

    prompts = Play(script=reply, candidates=2, spread="experts").rounds(1).users()
    assert ["Answer as this expert would" in prompt for prompt in prompts] == [True, False]


def test_answers_are_merged_into_one() -> None:
    play = Play(candidates=3, combine="merge").rounds(1)
    assert play.chat.steps == ["improve"] * 3 + ["merge"]
    assert "Answer 3: because of" in play.users("merge")[0]
    (proposal,) = play.proposed
    assert proposal.values["rate"] == int(play.chat.paid[3].digest[:8], 16) / 2**32
    assert "drafts" not in proposal.memo


def test_a_merge_that_cannot_be_used_leaves_the_first_answer() -> None:
    def reply(request: ChatRequest) -> str:
        return "no" if "merge" in request.purpose else suggesting(card().parameters)(request)

    play = Play(script=reply, candidates=2, combine="merge").rounds(1)
    assert play.chat.steps == ["improve", "improve", "merge", "merge (repair)"]
    assert play.proposed[0].values["rate"] == int(play.chat.paid[0].digest[:8], 16) / 2**32


@pytest.mark.parametrize("spread", ["temperature", "alternatives"])
@pytest.mark.parametrize("error", [ModelError("server", "down"), BudgetSpent("calls")])
def test_what_was_paid_for_is_used_when_the_next_call_fails(spread: str, error: Exception) -> None:
    calls = 0

    def reply(request: ChatRequest) -> str:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise error
        return suggesting(card().parameters)(request)

    play = Play(script=reply, candidates=3, spread=spread).rounds(1)
    assert len(play.proposed) == 1
    with pytest.raises(type(error)):
        play.rounds(1)


# --- replies


def test_an_unusable_reply_is_asked_to_be_mended_once() -> None:
    def reply(request: ChatRequest) -> str:
        if "repair" in request.purpose:
            return suggesting(card().parameters)(request)
        return "<variable><name>rate</name><value>7</value></variable>"

    play = Play(script=reply).rounds(1)
    assert play.chat.steps == ["improve", "improve (repair)"]
    assert "must be between 0 and 1" in play.chat.paid[1].messages[-1].content
    assert "<name>rate</name>" in play.chat.paid[1].messages[-1].content
    assert len(play.proposed) == 1


def test_a_reply_that_stays_unusable_is_refused_with_its_name() -> None:
    play = Play(script=lambda request: "no").rounds(1)
    assert play.chat.steps == ["improve", "improve (repair)"]
    assert play.history.answers == [Refused("no_code", {"message": play.history.answers[0].memo["message"]})]  # type: ignore[union-attr]


def test_that_nothing_needs_to_change_is_taken_at_its_word() -> None:
    play = Play(script=lambda request: "<no_change>true</no_change>").rounds(1)
    assert play.chat.steps == ["improve"]
    assert isinstance(play.history.answers[0], Refused)
    assert play.history.answers[0].kind == "no_change"


def test_a_reply_that_was_cut_off_is_seen_as_such() -> None:
    play = Play(script=lambda request: ChatReply("<variable><name>rate</name><value>0.25</value></variable>", "m", "length")).rounds(1)
    assert isinstance(play.history.answers[0], Refused)
    assert play.history.answers[0].kind == "truncated"


@pytest.mark.parametrize(("reply", "asks_for"), [("xml", "<reasoning>"), ("json", '"suggestion": {"place": ..., "rate": ...}')])
def test_the_form_of_the_reply_is_asked_for(reply: str, asks_for: str) -> None:
    def answer(request: ChatRequest) -> str:
        if reply == "json":
            return json.dumps({"reasoning": "less", "suggestion": {"rate": 0.25}})
        return suggesting(card().parameters)(request)

    play = Play(script=answer, reply=reply).rounds(1)
    assert asks_for in play.users()[0]
    assert len(play.proposed) == 1
    assert play.proposed[0].rationale


# --- options


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"start": "worst"}, "optoprime.start is 'worst'; it must be best, latest or sample"),
        ({"reply": "yaml"}, "it must be xml or json"),
        ({"spread": "luck"}, "temperature, alternatives or experts"),
        ({"combine": "vote"}, "each or merge"),
        ({"recall": "all"}, "last or best"),
        ({"minibatch": 0}, "optoprime.minibatch is 0; it must be at least 1"),
        ({"memory": -1}, "at least 0"),
        ({"candidates": 0}, "at least 1"),
        ({"tokens": 9}, "at least"),
        ({"max_output_tokens": 0}, "at least 1"),
        ({"temperature": 3.0}, "between 0 and 2"),
        ({"least_temperature": -0.1}, "between 0 and 2"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(wrong)):
        Play(**options)


def test_it_needs_a_model_and_its_templates() -> None:
    none: Any = lambda *asked: None  # noqa: E731
    with pytest.raises(ConfigError, match="needs a model"):
        OptoPrime(OptimizerContext(card(), {}, none, none))
    with pytest.raises(ConfigError, match="needs its templates"):
        OptoPrime(OptimizerContext(card(), {}, none, none, ScriptedChat(suggesting({}))))


def test_without_a_trainable_parameter_there_is_nothing_to_do() -> None:
    task = card(replace(PLACE, trainable=False))
    optimizer = build(ScriptedChat(suggesting({})), task)
    assert asked(optimizer, FakeView(task, [])) == Exhausted("the task has no trainable parameter")


# --- traces

PROMPT = Parameter("prompt", "prompt", "Plan.", description="tells the planner how to plan")


@traced
def plan(question: str, how: str) -> list[str]:
    """Cuts a question into steps."""
    return [f"{how} {word}" for word in question.split()]


@traced
def answer(steps: list[str]) -> str:
    if len(steps) > 3:
        raise ValueError("too many steps")
    return f"answered in {len(steps)}"


def recorded(question: str, remark: str = "") -> bytes:
    """A run of two steps, of which the first reads a parameter."""
    prompt = Param("Plan.", "prompt")
    with record() as trace:
        trace.input("question", question)
        steps = None
        with suppress(ValueError):
            steps = plan(question, prompt.value)
            answer(steps)
        if remark:
            trace.backward(steps, remark)
    return jsonl.dump(trace.graph())


def traced_prompt(*runs: tuple[Rollout, bytes], seed: int = 1, **options: Any) -> str:
    task = card(PROMPT)
    rollouts = [replace(run, trace=f"t{number}" if blob else "") for number, (run, blob) in enumerate(runs)]
    told = entry(*rollouts, values={"prompt": "Plan."})
    view = FakeView(task, [told], traces={f"t{number}": blob for number, (_, blob) in enumerate(runs) if blob})
    chat = ScriptedChat(suggesting(task.parameters))
    optimizer = build(chat, task, **options)
    optimizer.observe(told, Admission("admitted"))
    asked(optimizer, view, seed)
    return chat.paid[0].messages[1].content


def test_traced_runs_show_what_ran() -> None:
    prompt = traced_prompt((rollout("a", 0.5, "the answer is short"), recorded("how far", "steps are vague")))
    assert re.search(r"plan\w* = plan\(.*question=question", section(prompt, "Code"))
    assert "answer" in section(prompt, "Code")
    assert "Cuts a question into steps." in section(prompt, "Documentation")
    assert "tells the planner how to plan" in section(prompt, "Documentation")
    assert "how far" in section(prompt, "Inputs")
    assert "answered in 2" in section(prompt, "Outputs") + section(prompt, "Others")
    assert "Run 1 (case a): excess 0.5. the answer is short" in section(prompt, "Feedback")
    assert "steps are vague" in section(prompt, "Feedback")
    assert "<name>prompt</name>\n<value>\nPlan.\n</value>" in section(prompt, "Variables")


def test_runs_of_one_structure_are_merged_into_one_listing_and_a_table() -> None:
    prompt = traced_prompt(*((rollout(case, 0.5), recorded(f"how {case}")) for case in "abc"))
    assert section(prompt, "Code").count("= plan(") == 1
    for number, case in enumerate("abc", 1):
        assert re.search(rf"run {number}: .*how {case}", section(prompt, "Inputs"))
        assert f"Run {number} (case {case})" in section(prompt, "Feedback")


def test_runs_without_a_trace_come_behind_those_with_one() -> None:
    prompt = traced_prompt((rollout("a"), b""), (rollout("b", 0.5), recorded("how far")))
    assert re.findall(r"^Run (\d) \(case (\w)\)", prompt, re.M) == [("1", "b"), ("2", "a")]


def test_a_run_that_failed_shows_where() -> None:
    failed = replace(rollout("a"), failure=Failure("crash", "Traceback:\n  line 5\nValueError: too many steps"))
    feedback = section(traced_prompt((failed, recorded("one two three four five"))), "Feedback")
    assert feedback.startswith("Run 1 (case a): failed: crash: ValueError: too many steps\nOf what ran:")
    assert "raise ValueError(" in feedback
    assert "line 5" in section(traced_prompt((failed, b"")), "Feedback")


def test_what_is_said_of_the_whole_run_is_said_once() -> None:
    with record() as trace:
        result = answer(["x"])
        trace.output(result)
        trace.backward(result, "too short", 0.5)
    prompt = traced_prompt((rollout("a", 0.5, "too short"), jsonl.dump(trace.graph())))
    assert section(prompt, "Feedback").count("too short") == 1


def _named(name: str) -> Any:
    def step(text: str) -> str:
        return text[::-1]

    step.__name__ = step.__qualname__ = name
    return step


def test_a_long_trace_keeps_the_budget_of_tokens() -> None:
    steps = [traced(_named(f"step{number}")) for number in range(300)]
    with record() as trace:
        prompt = Param("Plan.", "prompt")
        for step in steps:
            step(f"{prompt.value} " * 20)
    blob = jsonl.dump(trace.graph())
    sizes = {tokens: len(traced_prompt((rollout("a", 0.5), blob), tokens=tokens).encode()) for tokens in (400, 4000)}
    least = len(traced_prompt((rollout("a", 0.5), blob), graph=False).encode())
    assert least < sizes[400] < least + 3 * 400 + 500
    assert least + 3 * 2000 < sizes[4000] < least + 3 * 4000 + 500
    bare = traced_prompt((rollout("a", 0.5), blob), graph=False)
    assert section(bare, "Code") == section(bare, "Others") == ""
