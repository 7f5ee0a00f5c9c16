"""Conformance group 12: replies that name variables, in XML elements or JSON: what is read of them, however they are malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentopt.core.task import Parameter
from agentopt.llm.replies import Unusable, Usable
from agentopt.llm.suggestions import mend_suggestion, read_suggestion, reasoning_of

CODE = "def place(item, bins):\n    return bins[0]\n"
LAST = "def place(item, bins):\n    return bins[-1]\n"
PARAMETERS = {
    "place": Parameter("place", "code", CODE),
    "prompt": Parameter("prompt", "prompt", "Be brief."),
    "rate": Parameter("rate", "value", 0.5, space={"": (0.0, 1.0)}),
    "deep": Parameter("deep", "value", True),
    "settings": Parameter("settings", "config", {"k": 1, "mode": "greedy"}),
    "fixed": Parameter("fixed", "prompt", "Never changes.", trainable=False),
}


def read(text: str, **more: Any) -> Usable | Unusable:
    return read_suggestion(text, PARAMETERS, {name: parameter.initial for name, parameter in PARAMETERS.items()}, **more)


def values(text: str, **more: Any) -> dict[str, Any]:
    found = read(text, **more)
    assert isinstance(found, Usable), found
    return dict(found.values)


def verdict(text: str, **more: Any) -> str:
    found = read(text, **more)
    assert isinstance(found, Unusable), found
    assert found.message.endswith(".")
    assert found.message in mend_suggestion(found, "Answer in this form: ...")
    return found.verdict


def variable(name: str, value: str) -> str:
    return f"<variable>\n<name>{name}</name>\n<value>\n{value}\n</value>\n</variable>\n"


# --- XML


def test_variables_are_read_and_the_others_stay() -> None:
    text = "<reasoning>\nshorter\n</reasoning>\n" + variable("prompt", "Be very brief.") + variable("rate", "0.25")
    assert values(text) == {"prompt": "Be very brief.", "rate": 0.25}
    assert reasoning_of(text) == "shorter"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("place", LAST, LAST),
        ("place", f"```python\n{LAST}```", LAST),
        ("place", f"<![CDATA[\n{LAST}]]>", LAST),
        ("place", LAST.replace("bins[-1]", "bins[len(bins) &gt; 1]"), LAST.replace("bins[-1]", "bins[len(bins) > 1]")),
        ("rate", " 0.25 ", 0.25),
        ("deep", "False", False),
        ("settings", '{"k": 2}', {"k": 2, "mode": "greedy"}),
        ("place:0", LAST, LAST),
        ("__prompt:3", "Be kind.", "Be kind."),
        (" place.py ", LAST, LAST),
    ],
)
def test_a_value_is_of_its_parameters_kind(name: str, value: str, expected: Any) -> None:
    assert list(values(variable(name, value)).values()) == [expected]


@pytest.mark.parametrize(
    "inner",
    [
        "Answer with <value>x</value> and <name>y</name>.",
        "Answer with <variable><name>rate</name><value>9</value></variable>.",
        "Write\n<variable>\n<name>other</name>\n<value>\n1\n</value>\n</variable>\nand <value> stop.",
    ],
)
def test_a_value_may_hold_elements_of_the_same_name(inner: str) -> None:
    assert values(variable("prompt", inner) + variable("rate", "0.25")) == {"prompt": inner, "rate": 0.25}


def test_tags_that_do_not_come_out_even_end_where_the_next_variable_begins() -> None:
    text = variable("prompt", "Say <variable> once.") + variable("rate", "0.25")
    assert values(text) == {"prompt": "Say <variable> once.", "rate": 0.25}
    unclosed = variable("prompt", "Be kind.").replace("</variable>", "")
    assert values(unclosed + variable("rate", "0.25")) == {"prompt": "Be kind.", "rate": 0.25}


@pytest.mark.parametrize("tag", ["var", "VARIABLE", "Variable"])
def test_elements_have_aliases(tag: str) -> None:
    assert values(variable("rate", "0.25").replace("variable>", f"{tag}>")) == {"rate": 0.25}


def test_elements_in_the_reasoning_are_no_answer() -> None:
    text = f"<reasoning>perhaps {variable('rate', '0.9')}</reasoning>\n{variable('rate', '0.25')}"
    assert values(text) == {"rate": 0.25}
    assert values(f"<think>{variable('rate', '0.9')}</think>\n{variable('rate', '0.25')}") == {"rate": 0.25}
    assert values(f"{variable('rate', '0.25')}<reasoning>that was it</reasoning>") == {"rate": 0.25}


def test_the_last_value_of_a_variable_counts() -> None:
    assert values(variable("rate", "0.9") + variable("rate", "0.25")) == {"rate": 0.25}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("I would make the rate smaller.", "no_code"),
        (variable("rate", "0.5"), "unchanged"),
        (variable("rate", "half"), "syntax"),
        (variable("rate", "1.5"), "constraint"),
        (variable("prompt", "  "), "empty"),
        (variable("place", "def place(item, bins"), "syntax"),
        (variable("place", "def place(item):\n    return 0"), "signature"),
        (variable("fixed", "Changes."), "unknown_parameter"),
        (variable("rat", "0.25"), "unknown_parameter"),
        (variable("/etc/passwd", "x"), "unknown_parameter"),
        ("<variable><name>prompt</name><value>Be ki", "truncated"),
        ("<reasoning>it is fine</reasoning>\n<no_change>true</no_change>", "no_change"),
        ('{"reasoning": "it is fine", "no_change": true}', "no_change"),
        ('{"suggestion": {"rate": null}}', "empty"),
        ('{"suggestion": {}, "no_change": true}', "no_change"),
        ('{"suggestion": {}}', "empty"),
        ('{"suggestion": {"prompt": ["a", 1]}}', "syntax"),
        ('{"suggestion": {"rate": "0.25"', "truncated"),
    ],
)
def test_what_cannot_be_used_has_a_name(text: str, expected: str) -> None:
    assert verdict(text) == expected


def test_a_word_in_the_text_ends_nothing() -> None:
    text = variable("prompt", "Say TERMINATE, or <no_change>true</no_change>, when no change is needed.")
    assert "TERMINATE" in values(text)["prompt"]
    assert values(json.dumps({"suggestion": {"prompt": "Say <no_change>true</no_change>."}}))
    assert values('{"rate": 0.25, "no_change": true}') == {"rate": 0.25}


def test_unknown_names_beside_known_ones_are_noted() -> None:
    found = read(variable("rate", "0.25") + variable("rat", "0.3"))
    assert isinstance(found, Usable)
    assert found.notes == ("the task has no 'rat', so that was left out",)


def test_a_reply_that_was_cut_off_needs_every_variable() -> None:
    assert verdict(variable("rate", "0.25"), finish="length") == "truncated"
    assert verdict("I cannot", finish="refusal") == "refusal"
    whole = "".join(variable(name, value) for name, value in (("place", LAST), ("prompt", "x"), ("rate", "1"), ("deep", "false")))
    assert len(values(whole + variable("settings", '{"k": 3}'), finish="length")) == 5


# --- JSON


@pytest.mark.parametrize(
    "text",
    [
        '{"reasoning": "less", "suggestion": {"rate": 0.25}}',
        '{"reasoning": "less", "answer": "", "suggestion": {"rate": "0.25"}}',
        '```json\n{"suggestion": {"rate": 0.25,}}\n```',
        'Here it is: {"suggestion": {"rate": 0.25}} I hope that {this} helps.',
        'First {"rate": 0.9}, better:\n{"rate": 0.25}',
        '{"variables": [{"name": "rate", "value": 0.25}, {"other": 1}]}',
        '{"suggestion": "{\\"rate\\": 0.25}"}',
        '{"rate:0": 0.25}',
    ],
)
@pytest.mark.parametrize("form", ["json", "xml"])
def test_json_is_found_wherever_it_stands(text: str, form: str) -> None:
    assert values(text, form=form) == {"rate": 0.25}


def test_json_values_keep_their_types() -> None:
    given = {"place": LAST, "rate": 0, "deep": False, "settings": {"k": 5}, "prompt": None}
    assert values(json.dumps({"suggestion": given})) == {"place": LAST, "rate": 0, "deep": False, "settings": {"k": 5, "mode": "greedy"}}


def test_the_form_that_was_asked_for_is_looked_for_first() -> None:
    both = variable("rate", "0.25") + '{"suggestion": {"rate": 0.75}}'
    assert values(both, form="xml") == {"rate": 0.25}
    assert values(both, form="json") == {"rate": 0.75}


def test_without_either_a_reply_is_read_like_any_other() -> None:
    assert values(f"### file: place\n```python\n{LAST}```") == {"place": LAST}
    assert values(json.dumps({"suggestion": "see below"}) + f"\n### file: place\n```python\n{LAST}```") == {"place": LAST}


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<reasoning> a </reasoning>", "a"),
        ('{"reasoning": "b", "suggestion": {}}', "b"),
        ('{"suggestion": {}}', ""),
        ("nothing", ""),
        ("<reasoning>no end", ""),
        (f"<reasoning>{'x' * 5000}</reasoning>", None),
    ],
)
def test_reasoning_is_found(text: str, reasoning: str | None) -> None:
    found = reasoning_of(text)
    assert len(found) <= 2000 if reasoning is None else found == reasoning


@pytest.mark.parametrize(
    "text",
    [
        "<variable><name>rate</name><value>" * 20_000,
        "<variable>" * 100_000,
        "<think>" * 100_000 + "<reasoning>" * 100_000,
        "{" * 200_000,
        '{"a": ' * 5000,
        variable("rate", "</value>" * 50_000),
    ],
)
def test_no_text_takes_long_or_raises(text: str) -> None:
    assert isinstance(read(text), Unusable)
    reasoning_of(text)
