"""What a table of replies cannot show: limits, parents of other shapes, and the text of the repair request."""

from __future__ import annotations

import json

import pytest

from agentopt import Parameter
from agentopt.llm.diffs import Hunk
from agentopt.llm.matching import apply_hunks
from agentopt.llm.replies import LIMIT_BYTES, Unusable, Usable, read_reply, repair_request
from agentopt.llm.sources import parse
from agentopt.llm.verdicts import Fault
from tests.llm.parents import PRIORITY, STEEP, TASKS

HUNK = "<<<<<<< SEARCH\n{}\n=======\n{}\n>>>>>>> REPLACE\n"


def read(reply: str, source: str, kind: str = "prompt", **options: str) -> Usable | Unusable:
    parameter = Parameter("p", kind, source, language="text")
    return read_reply(reply, {"p": parameter}, {"p": source}, **options)


def verdict(found: Usable | Unusable) -> str:
    return found.verdict if isinstance(found, Unusable) else "usable"


def applied(source: str, search: str, replace: str, line: int | None = None) -> str:
    return apply_hunks(source, [Hunk(((tuple(search.split("\n")), tuple(replace.split("\n"))),), (), line)])[0]


# -- limits


def test_a_value_as_large_as_the_limit_is_usable_and_one_byte_more_is_not() -> None:
    text = "é" * (LIMIT_BYTES // 2)
    assert verdict(read(f"```\n{text}\n```", "old")) == "usable"
    assert verdict(read(f"```\n{text}x\n```", "old")) == "oversize"


def test_a_block_that_is_not_meant_may_be_long_but_not_without_bound() -> None:
    code = f"```python\n{STEEP}```\n"
    parent = {"priority": PRIORITY}
    assert isinstance(read_reply(code + f"```text\n{'x' * 200_000}\n```", TASKS["priority"], parent), Usable)
    found = read_reply(code + f"```text\n{'x' * 300_000}\n```", TASKS["priority"], parent)
    assert isinstance(found, Unusable)
    assert found.verdict == "oversize"


@pytest.mark.parametrize("fence", ["", "```"])
def test_more_than_a_hundred_hunks_are_refused(fence: str) -> None:
    source = "".join(f"line {i}\n" for i in range(101))
    hunks = [HUNK.format(f"line {i}", f"new {i}") for i in range(101)]
    found = read(f"{fence}\n{''.join(hunks[:100])}{fence}", source)
    assert isinstance(found, Usable)
    assert found.values["p"].count("new") == 100
    assert verdict(read(f"{fence}\n{''.join(hunks)}{fence}", source)) == "oversize"


def test_more_than_a_hundred_hunks_of_a_unified_diff_are_refused() -> None:
    source = "".join(f"line {i}\n" for i in range(101))
    body = "".join(f"@@\n-line {i}\n+new {i}\n" for i in range(101))
    assert verdict(read(f"```diff\n{body}```", source)) == "oversize"


def test_a_thousand_blocks_are_read_and_ten_thousand_are_not() -> None:
    assert verdict(read("```\nx\n```\n" * 1000, "old")) == "usable"
    assert verdict(read("```\nx\n```\n" * 10_000, "old")) == "oversize"


def test_long_json_and_long_prose_are_refused() -> None:
    assert verdict(read(json.dumps({"text": "x" * 300_000}), "old")) == "oversize"
    assert verdict(read("some words " * 30_000, "old")) == "oversize"


def test_code_without_a_fence_that_is_too_long_is_named_so() -> None:
    code = "x = 1\n" * 12_000 + PRIORITY
    found = read_reply(code, TASKS["priority"], {"priority": PRIORITY})
    assert isinstance(found, Unusable)
    assert found.verdict == "oversize"


@pytest.mark.parametrize("nesting", ['{"x": ' + "[" * 40 + "]" * 40 + "}", '{"x": ' * 5000 + "1" + "}" * 5000])
def test_a_config_that_nests_too_deeply_is_refused(nesting: str) -> None:
    found = read_reply(nesting, TASKS["start"], {"start": {"x": 1.5, "y": -0.5}})
    assert verdict(found) == "syntax"


def test_a_config_with_half_a_surrogate_pair_is_refused() -> None:
    for text in (r'{"x": "\ud800"}', r'{"\udfff": 1}', r'{"x": {"a": ["\ud800"]}}'):
        assert verdict(read_reply(text, TASKS["start"], {"start": {"x": 1.5, "y": -0.5}})) == "syntax"


def test_a_number_of_too_many_digits_is_refused() -> None:
    found = read_reply('{"x": ' + "9" * 5000 + "}", TASKS["start"], {"start": {"x": 1.5, "y": -0.5}})
    assert verdict(found) == "syntax"


def test_code_that_python_cannot_hold_is_a_syntax_error() -> None:
    parameters, parent = {"f": Parameter("f", "code", "def f():\n    return 0\n")}, {"f": "def f():\n    return 0\n"}
    for expression in ("+".join("1" * 20_000), "-" * 60_000 + "1", "9" * 5000, "(" * 300 + ")" * 300):
        for fence in ("", "```"):
            found = read_reply(f"{fence}\ndef f():\n    return {expression}\n{fence}", parameters, parent)
            assert verdict(found) == "syntax"
    with pytest.raises(Fault, match="cannot be read"):
        parse("'\ud800'")


# -- parents of other shapes


def test_an_empty_parent_is_filled_by_a_hunk_that_quotes_nothing() -> None:
    assert read(HUNK.replace("{}\n=", "=").format("new text"), "") == Usable({"p": "new text\n"}, "diff")


def test_a_parent_that_does_not_parse_has_no_signature_to_keep() -> None:
    parameters = {"f": Parameter("f", "code", "def f(:\n")}
    found = read_reply("```python\ndef f(a, b):\n    return a\n```", parameters, {"f": "def f(:\n"})
    assert isinstance(found, Usable)


def test_a_parent_whose_markers_do_not_pair_up_has_none() -> None:
    source = "# EVOLVE-BLOCK-START\ndef f(a):\n    return a\n"
    found = read_reply("```python\ndef f(a):\n    return 2 * a\n```", {"f": Parameter("f", "code", source)}, {"f": source})
    assert found == Usable({"f": "def f(a):\n    return 2 * a\n"}, "rewrite")


def test_the_entry_may_be_an_alias_of_an_alias_or_bound_with_a_type() -> None:
    parameters = {"f": Parameter("f", "code", "def f(a):\n    return a\n")}
    parent = {"f": parameters["f"].initial}
    good = "def g(a):\n    return 1\n\n\nh = g\nf: object = h\n"
    assert isinstance(read_reply(f"```python\n{good}```", parameters, parent), Usable)
    assert verdict(read_reply("```python\nf = g\ng = f\n```", parameters, parent)) == "usable"
    found = read_reply("```python\nf, g = (lambda a: a), 1\n```", parameters, parent)
    assert isinstance(found, Usable)
    assert found.notes == ("the parameters of 'f' could not be checked",)


def test_a_parent_with_star_arguments_keeps_them() -> None:
    source = "def f(a, *rest, key, other=1, **more):\n    return a\n"
    parameters = {"f": Parameter("f", "code", source)}

    def answer(signature: str) -> Usable | Unusable:
        return read_reply(f"```python\ndef f({signature}):\n    return 0\n```", parameters, {"f": source})

    assert verdict(answer("a, *rest, key, other=2, **more")) == "usable"
    assert verdict(answer("a, *rest, key, other=2, third=3, **more")) == "usable"
    found = answer("a, *rest, key, **more")
    assert verdict(found) == "usable"  # other arrives in more
    found = answer("a, key, other=2, **more")
    assert isinstance(found, Unusable)
    assert "f(a, *rest, key, other=..., **more)" in found.message
    assert verdict(answer("a, *rest, key, fourth, **more")) == "signature"
    assert verdict(answer("a, *rest, key, other=2")) == "signature"


# -- hunks


def test_a_divider_that_could_be_another_one_that_fits_better_is_ambiguous() -> None:
    source = "abcdefg\n=======\ntext\nlast\n"
    reply = HUNK.format("text\nabcdefg\n=======\nnew", "x")
    assert verdict(read(reply, "text\nabcdefg\n=======\nnew\n")) == "usable"
    assert verdict(read(HUNK.format("abc\n=======\nabcdefg", "x"), "abc\n=======\nabcdefg\n")) == "ambiguous_match"
    assert verdict(read(HUNK.format("text", "abcdefg\n=======\nnew"), source)) == "usable"


def test_too_many_lines_that_could_be_the_divider() -> None:
    assert verdict(read(HUNK.format("a\n" + "=======\n" * 9 + "b", "c"), "a\n" + "=======\n" * 9 + "b\n")) == "ambiguous_match"


def test_lines_of_other_indentation_that_do_not_shift_together_do_not_match() -> None:
    source = "if a:\n    b\nc\n"
    with pytest.raises(Fault, match="not in the text"):
        applied(source, "if a:\nb\nc", "d")


def test_a_line_less_deep_than_any_that_was_quoted_is_shifted_with_them() -> None:
    source = "class A:\n    def f(self):\n        return 1\n"
    assert (
        applied(source, "            return 1", "            x = 1\n        return x")
        == "class A:\n    def f(self):\n        x = 1\n    return x\n"
    )


def test_deeper_lines_become_tabs_where_the_text_has_tabs() -> None:
    assert (
        applied("\tif a:\n\t\tb()\n", "    if a:\n        b()", "    if a:\n        if b:\n            c()")
        == "\tif a:\n\t\tif b:\n\t\t\tc()\n"
    )
    assert applied("\tif a:\n\t\tb()\n", "  if a:\n    b()", "  if a:\n    b()\n      c()") == "\tif a:\n\t\tb()\n\t\t\tc()\n"


def test_blank_lines_of_a_shifted_replacement_stay_blank() -> None:
    assert applied("    a\n    b\n", "a\nb", "a\n\nb") == "    a\n\n    b\n"


def test_a_nearly_same_place_is_taken_only_if_it_is_alone() -> None:
    lines = "first = compute(alpha, beta)\nsecond = first + 1\n"
    assert applied(lines, "first = compute(alpha, betta)", "first = 0") == "first = 0\nsecond = first + 1\n"
    with pytest.raises(Fault, match="2 places"):
        applied(lines + lines.replace("beta", "bexa"), "first = compute(alpha, betta)", "first = 0")
    with pytest.raises(Fault, match="not in the text"):
        applied(lines, "third = compute(gamma)", "third = 0")


def test_what_a_hunk_misquotes_and_repeats_is_not_changed() -> None:
    source = "alpha = 0.75\nbeta = 2\ngamma = 3\ndelta = 4\n"
    found, notes = apply_hunks(
        source, [Hunk(((("alpha = 0.57", "beta = 2", "gamma = 3", "delta = 4"), ("alpha = 0.57", "beta = 9", "gamma = 3", "delta = 4")),))]
    )
    assert found == "alpha = 0.75\nbeta = 9\ngamma = 3\ndelta = 4\n"
    assert notes == ("hunk 1 matched a place that is 97% alike",)


def test_a_nearly_same_place_with_mixed_indentation_does_not_match() -> None:
    source = "if a:\n    first = compute(alpha)\n    second = compute(beta)\n"
    with pytest.raises(Fault, match="not in the text"):
        applied(source, "if a:\nfirst = compute(alpha)\n    second = compute(betta)", "x")


def test_a_text_of_too_many_lines_is_matched_exactly_only() -> None:
    source = "".join(f"line number {i}\n" for i in range(5000))
    assert applied(source, "line number 7", "x").startswith("line number 0\n")
    with pytest.raises(Fault, match="not in the text"):
        applied(source, "line numbers 77", "x")


def test_a_quotation_longer_than_the_text_does_not_match() -> None:
    with pytest.raises(Fault, match="not in the text"):
        applied("one\n", "one\ntwo", "x")


def test_the_number_of_a_unified_hunk_decides_between_equal_places_only() -> None:
    assert applied("a\nb\na\nb\n", "a", "c", line=3) == "a\nb\nc\nb\n"
    with pytest.raises(Fault, match="2 places"):
        applied("a\nb\na\nb\n", "a", "c", line=2)


# -- the repair request


def test_the_repair_request_for_one_parameter_names_the_problem_and_one_form() -> None:
    text = repair_request(Unusable("no_match", "The lines that hunk 1 searches for are not in the text."), TASKS["priority"])
    assert text == (
        "Your last reply could not be used. The lines that hunk 1 searches for are not in the text.\n"
        "Do not use SEARCH/REPLACE this time; give the whole text.\n"
        "Reply again with the whole new code of 'priority' in one fenced block and no other block:\n\n```python\n...\n```"
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_reply_in_the_form_of_the_repair_request_can_be_read(task: str) -> None:
    """The form that it asks for is one that the reader takes, for every kind of parameter."""
    parameters = TASKS[task]
    parent = {name: parameter.initial for name, parameter in parameters.items()}
    asked = repair_request(Unusable("syntax", "The Python has an error."), parameters)
    form = asked[asked.index("\n\n") :]
    new = {name: changed(parameter) for name, parameter in parameters.items() if parameter.trainable}
    for value in new.values():
        written = value if isinstance(value, str) else json.dumps(value)
        form = form.replace("...", written.replace("...", "…").removesuffix("\n").replace("\r\n", "\n"), 1)
    assert read_reply(form, parameters, parent).values == new


def changed(parameter: Parameter) -> object:
    match parameter.initial:
        case bool():
            return not parameter.initial
        case float():
            return 2 * parameter.initial
        case dict():
            return {"x": 0.25, "y": 4}
        case str() if parameter.kind == "value":
            return "lazy" if parameter.space else "other"
        case str() if parameter.kind == "prompt":
            return "Another text.\n" if parameter.initial.endswith("\n") else "Another text."
    for old, new in (
        ("return 1", "return 7"),
        ("2.0f", "3.0f"),
        ("return [", "return 9 * ["),
        ("-math.inf", "-1e9"),
        ("limit=10", "limit=11"),
    ):
        if old in parameter.initial:
            return parameter.initial.replace(old, new, 1)
    return parameter.initial.replace("+=", "-=").replace("SCALE = 2", "SCALE = 9").replace("[]", "[3.0]").replace("return 0", "return 9")
