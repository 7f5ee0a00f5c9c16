"""What a prompt says of a task and its candidates, and that replies in the asked form are understood."""

from __future__ import annotations

import pytest

from agentopt.core.evaluation import Failure
from agentopt.core.task import Objective, Parameter
from agentopt.llm.replies import Usable, read_reply
from agentopt.prompts.showing import reply_form, show_failures, show_objectives, show_parameters, show_scores, show_values, signature

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
