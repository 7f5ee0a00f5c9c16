"""What a prompt says of a task and its candidates, and that replies in the asked form are understood."""

from __future__ import annotations

from typing import Any

import pytest

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Entry, Evaluation, Failure, Rollout
from agentopt.core.protocols import TaskCard
from agentopt.core.task import Limits, Objective, Parameter
from agentopt.llm.replies import Usable, read_reply
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
    signature,
)
from agentopt.testing import make_entry

CODE = Parameter("shrink", "code", "def shrink(point: list, *, rate=0.5) -> list:\n    return point\n", description="moves a point")
START = Parameter("start", "config", {"x": 1.5}, space={"x": (-2.0, 2.0)})
ASK = Parameter("ask", "prompt", "Answer briefly.")
RATE = Parameter("rate", "value", 0.5, trainable=False)
FAST = Parameter("fast", "code", "int main() {}", language="cpp", path="src/fast.cpp")


def by_name(*parameters: Parameter) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in parameters}


def test_parameters_are_described() -> None:
    assert show_parameters(by_name(CODE, START, ASK, RATE, FAST)).splitlines() == [
        "- shrink: Python code that defines shrink(point: list, *, rate=0.5) -> list. moves a point",
        '- start: a JSON object, within {"x": [-2.0, 2.0]}.',
        "- ask: a prompt.",
        "- rate: a value. It cannot be changed.",
        "- fast: cpp code.",
    ]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("async def f(a): pass", "f(a)"),
        ("class f: pass", "class f"),
        ("import os\nf = lambda a: a", "f"),
        ("def f(:", "f"),
    ],
)
def test_a_signature_is_read_from_the_source(source: str, shown: str) -> None:
    assert signature(source, "f") == shown


def test_one_parameter_is_shown_as_it_is_and_several_with_headings() -> None:
    assert show_values({"shrink": CODE.initial, "rate": 0.5}, by_name(CODE, RATE)) == CODE.initial.rstrip("\n")
    shown = show_values({"start": {"x": 2}, "fast": FAST.initial}, by_name(START, FAST))
    assert shown == '### file: start\n{\n  "x": 2\n}\n\n### file: src/fast.cpp\nint main() {}'


def test_objectives_and_scores_are_shown() -> None:
    objectives = (Objective("excess", "min"), Objective("speed", "max"))
    assert show_objectives(objectives) == "excess (lower is better); then speed (higher is better)"
    assert show_scores({"excess": 0.123456789, "speed": 2.0}, objectives) == "excess 0.123457, speed 2"
    assert show_scores({}, objectives) == "unknown"


def test_failures_are_lines_that_end_as_their_messages_do() -> None:
    shown = show_failures([Failure("crash", f"{'x' * 500}\nKeyError: 3"), Failure("timeout"), Failure("wrong", "\x1b[31mno\nway")])
    lines = shown.splitlines()
    assert lines[0].startswith("- crash: ...x")
    assert lines[0].endswith("x KeyError: 3")
    assert len(lines[0]) == len("- crash: ") + 300
    assert lines[1:] == ["- timeout", "- wrong: [31mno way"]
    assert show_failures([]) == ""


@pytest.mark.parametrize("parameters", [(CODE,), (START,), (ASK,), (FAST,), (CODE, START, ASK), (CODE, FAST, RATE)])
def test_a_reply_in_the_asked_form_is_understood(parameters: tuple[Parameter, ...]) -> None:
    known = by_name(*parameters)
    form = reply_form(known)
    new = {"shrink": CODE.initial + "\nX = 1\n", "start": '{"x": 0.5}', "ask": "Answer at length.", "fast": "int main() { return 1; }"}
    for parameter in parameters:
        heading, found, rest = form.rpartition("...") if len(known) == 1 else form.partition("...")
        assert found or not parameter.trainable
        if parameter.trainable:
            form = heading + new[parameter.name] + rest
    read = read_reply(form, known, {name: parameter.initial for name, parameter in known.items()})
    assert isinstance(read, Usable), read
    assert set(read.values) == {parameter.name for parameter in parameters if parameter.trainable}


def test_marked_code_is_asked_to_keep_its_marks() -> None:
    marked = Parameter("f", "code", "# EVOLVE-BLOCK-START\ndef f(): pass\n# EVOLVE-BLOCK-END\n")
    assert "between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END" in reply_form({"f": marked})


# --- edits, conditions, programs and rollouts


@pytest.mark.parametrize("parameters", [by_name(CODE), by_name(CODE, FAST, RATE)])
def test_edits_in_the_asked_form_are_understood(parameters: dict[str, Parameter]) -> None:
    form = edit_form(parameters)
    hunk = form[form.index("<<<<<<<") : form.index(">>>>>>> REPLACE")] + ">>>>>>> REPLACE"
    hunk = hunk.replace("lines of the program as they are now", "    return point").replace(
        "the lines that take their place", "    return rate"
    )
    heading = "### file: shrink\n" if len(parameters) > 1 else ""
    found = read_reply(f"IDEA: try it\n\n{heading}{hunk}", parameters, {name: p.initial for name, p in parameters.items()})
    assert isinstance(found, Usable)
    assert found.values == {"shrink": str(CODE.initial).replace("return point", "return rate")}
    assert ("### file: src/fast.cpp" in form) == (len(parameters) > 1)


def test_both_forms_say_what_must_stay() -> None:
    block = Parameter("f", "code", "# EVOLVE-BLOCK-START\ndef f(): pass\n# EVOLVE-BLOCK-END\n")
    for form in (edit_form, reply_form):
        assert "Change only the lines between EVOLVE-BLOCK-START" in form(by_name(block))
        assert "EVOLVE-BLOCK" not in form(by_name(CODE))


def described(**more: Any) -> TaskCard:
    return TaskCard("t", "", by_name(more.pop("parameter", CODE)), more.pop("objectives", (Objective("excess", "min"),)), **more)


def test_conditions_are_told_as_far_as_they_are_known() -> None:
    assert show_conditions(described(parameter=ASK)) == ""
    assert show_conditions(described()) == "These imports are sure to work: Python's standard library."
    shown = show_conditions(described(limits=Limits(seconds=2.5, memory_mb=64), imports=("numpy", "scipy")))
    assert "On each case a program has 2.5 s of wall time and 64 MB of memory. Time is not scored" in shown
    assert "standard library, numpy, scipy." in shown
    timed = described(limits=Limits(), objectives=(Objective("seconds", "min", source="outside", reference=0.0062345678),))
    assert "The time it takes is scored." in show_conditions(timed)
    assert "A good score that is known from elsewhere: seconds 0.0062345678." in show_conditions(timed)


def test_an_input_is_an_example_of_bounded_length() -> None:
    assert show_input(described()) == ""
    assert show_input(described(inputs=({"n": 3}, "other"))) == "{'n': 3}"
    assert len(show_input(described(inputs=({"points": [[float(k)] * 50 for k in range(1000)], "name": "x" * 10_000},)))) < 1000


def scored(case: str, score: float | None, feedback: str = "", split: str = "train") -> Rollout:
    failure = None if score is not None else Failure("timeout", "too slow")
    return Rollout(case, split, 0, 0, {} if score is None else {"excess": score}, feedback=feedback, failure=failure)


def test_rollouts_are_shown_worst_first() -> None:
    objectives = (Objective("excess", "min"),)
    rollouts = (
        scored("a", 0.1),
        scored("b", 0.9, "two\nlines " + "y" * 2000),
        scored("c", None),
        scored("d", 0.05),
        scored("e", 9.0, split="test"),
    )
    entry = Entry(Candidate("x", {}), Evaluation("x", rollouts))
    lines = show_rollouts(entry, objectives, 3).splitlines()
    assert lines[0] == "- case c: failed: timeout: too slow"
    assert lines[1].startswith("- case b: excess 0.9; two lines yyy")
    assert len(lines[1]) < 700
    assert lines[2:] == ["- case a: excess 0.1", "(and 1 cases on which it did no worse than on these)"]
    assert show_rollouts(entry, objectives, 0) == ""
    failed = Entry(Candidate("x", {}), Evaluation("x", failure=Failure("syntax", "line 3")))
    assert show_rollouts(failed, objectives, 3) == "- syntax: line 3"
    assert show_rollouts(Entry(Candidate("x", {}), None), objectives, 3) == ""


def test_programs_have_numbers_and_scores_and_texts_their_names() -> None:
    first, second = (make_entry(Candidate(name, {"shrink": f"def shrink(): {name}\n"}), {"excess": 1 / 3}) for name in "ab")
    assert show_programs([first, second], by_name(CODE), (Objective("excess", "min"),)) == (
        "Program 1 (excess 0.33333333):\ndef shrink(): a\n\nProgram 2 (excess 0.33333333):\ndef shrink(): b"
    )
    assert show_programs([], by_name(CODE), ()) == ""
    assert show_texts({"printed": "hello", "profile": "slow"}) == "printed:\nhello\n\nprofile:\nslow"
