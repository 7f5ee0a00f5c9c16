"""How templates are written, overridden, filled and cut; and what is said when one cannot be used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agentopt.core.errors import ConfigError
from agentopt.core.protocols import Prompts
from agentopt.core.quoting import STANDING_SENTENCE, tokens_of
from agentopt.prompts.templates import Templates
from tests.core.test_quoting import HOSTILE

ORIGINAL = """---
text: [form]
quoted: [goal, code, failures]
cut: [failures, code]
optional: [failures]
---
<!-- system -->
You improve code.

<!-- user -->
Goal: {{ goal }}
Code:
{{ code }}
{% if failures %}
Failed: {{ failures }}
{% endif %}
{{ form }}
"""
SLOTS = {"form": "Answer in a block.", "goal": "be fast", "code": "x = 1", "failures": ""}


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return put(tmp_path / "ours", ORIGINAL)


def put(folder: Path, text: str | bytes, step: str = "improve") -> Path:
    file = folder / "mine" / f"{step}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def templates(*folders: Path, budget: int = 10_000) -> Templates:
    return Templates("mine", folders, budget)


def test_a_template_is_filled(ours: Path) -> None:
    made = templates(ours)
    assert isinstance(made, Prompts)
    prompt = made.render("improve", SLOTS)
    system, user = prompt.messages
    assert (system.role, user.role) == ("system", "user")
    assert system.content == f"You improve code.\n\n{STANDING_SENTENCE}"
    assert user.content.splitlines()[0].startswith("Goal: <goal-")
    assert "\nbe fast\n</goal-" in user.content
    assert "Failed" not in user.content
    assert user.content.endswith("\nAnswer in a block.")
    assert prompt.template == f"mine/improve@{hashlib.sha256(ORIGINAL.encode()).hexdigest()[:8]}"
    assert prompt.cut == ()
    assert prompt == templates(ours).render("improve", SLOTS)


def test_without_quotes_and_system_part_there_is_no_system_turn(tmp_path: Path) -> None:
    folder = put(tmp_path, "---\ntext: [form]\n---\n<!-- user -->\n{{ form }}\n")
    assert [message.role for message in templates(folder).render("improve", {"form": "Hello"}).messages] == ["user"]


@pytest.mark.parametrize("what", HOSTILE)
def test_what_a_slot_holds_is_never_a_template_nor_closes_its_quote(ours: Path, what: str) -> None:
    (_, user) = templates(ours).render("improve", SLOTS | {"code": HOSTILE[what]}).messages
    (opening,) = [line for line in user.content.splitlines() if line.startswith("<code-") and "0123456789ab" not in line]
    assert user.content.count(opening[1:-1]) == 2
    inside = user.content.partition(f"{opening}\n")[2].partition(f"\n</{opening[1:]}")[0]
    outside = user.content.replace(inside, "")
    assert "obey" not in outside
    assert "49" not in inside
    if what == "template syntax":
        assert inside == HOSTILE[what]


def test_a_users_folder_comes_first(ours: Path, tmp_path: Path) -> None:
    theirs = put(tmp_path / "theirs", "<!-- user -->\r\n{{ goal }} {{ code }} {{ form }}, please.\r\n")
    prompt = templates(theirs, ours).render("improve", SLOTS)
    assert prompt.messages[0].content == STANDING_SENTENCE
    assert prompt.messages[1].content.endswith("Answer in a block., please.")
    assert prompt.template != templates(ours).render("improve", SLOTS).template


def test_of_three_folders_the_first_counts(ours: Path, tmp_path: Path) -> None:
    body = "<!-- user -->\n{{ goal }} {{ code }} {{ form }} "
    second = put(tmp_path / "second", body + "second")
    first = put(tmp_path / "first", body + "first")
    assert templates(first, second, ours).render("improve", SLOTS).messages[1].content.endswith("first")
    assert templates(tmp_path, second, ours).render("improve", SLOTS).messages[1].content.endswith("second")


def test_an_override_may_set_the_order_of_cutting(ours: Path, tmp_path: Path) -> None:
    theirs = put(
        tmp_path / "theirs", "---\nquoted: [code, goal]\ncut: [goal, code]\n---\n<!-- user -->\n{{ goal }} {{ code }} {{ form }}\n"
    )
    long = {"goal": "g" * 9000, "code": "c" * 3000, "failures": "f" * 9000}
    assert templates(theirs, ours, budget=3000).render("improve", SLOTS | long).cut == ("goal",)
    assert templates(theirs, ours, budget=900).render("improve", SLOTS | long).cut == ("goal", "code")


def test_the_least_important_slot_is_cut_first(ours: Path) -> None:
    long = SLOTS | {"code": "c" * 3000, "failures": "f" * 3000}
    for budget, cut in ((2300, ()), (1700, ("failures",)), (700, ("failures", "code"))):
        prompt = templates(ours, budget=budget).render("improve", long)
        assert prompt.cut == cut
        assert tokens_of("".join(message.content for message in prompt.messages)) <= budget
        assert prompt.messages[1].content.count("characters left out ...]") == len(cut)
        assert prompt.messages[1].content.count("</code-") == 1


def test_what_is_already_short_is_not_said_to_be_cut(ours: Path) -> None:
    prompt = templates(ours, budget=500).render("improve", SLOTS | {"code": "c" * 3000, "failures": "crash"})
    assert prompt.cut == ("code",)
    assert "crash" in prompt.messages[1].content


@pytest.mark.parametrize("long", ["goal", "form"])
def test_a_template_that_does_not_fit_even_empty_is_an_error(ours: Path, long: str) -> None:
    with pytest.raises(
        ConfigError, match=r"improve\.md: takes about \d+ tokens .* budget of a prompt is 400; shorten the template or raise"
    ):
        templates(ours, budget=400).render("improve", SLOTS | {long: "x" * 3000})


def test_slots_have_to_be_those_that_are_declared(ours: Path) -> None:
    with pytest.raises(ConfigError, match=r"improve\.md: does not declare the slot 'hint'"):
        templates(ours).render("improve", SLOTS | {"hint": ""})
    with pytest.raises(ConfigError, match=r"improve\.md: declares the slot 'goal', which it is not given"):
        templates(ours).render("improve", {"form": "", "code": "", "failures": ""})


def test_a_step_has_to_be_there(ours: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mine has no template 'imrpove'; there is improve"):
        templates(ours).render("imrpove", SLOTS)
    with pytest.raises(ConfigError, match="other has no template 'improve'; there is none"):
        Templates("other", [ours], 100).render("improve", SLOTS)
    with pytest.raises(ConfigError, match=r"imrpove\.md: overrides no template of mine; rename it to one of improve"):
        templates(put(tmp_path / "theirs", "<!-- user -->", "imrpove"), ours)
    with pytest.raises(ConfigError, match="nowhere: is no folder of templates"):
        templates(tmp_path / "nowhere", ours)


BAD_OVERRIDES = {
    "a required slot is missing": ("<!-- user -->\n{{ goal }} {{ form }}", r"does not use the slot 'code'; write \{\{ code \}\} where"),
    "an unknown slot": (
        "<!-- user -->\n{{ goal }} {{ form }} {{ cdoe }} {{ code }}",
        "uses the slot 'cdoe', which is not declared; there is",
    ),
    "an unknown slot in the head": ("---\ntext: [cdoe]\n---\n<!-- user -->\n", "there is no slot 'cdoe'; there is form, goal, code"),
    "quotes taken off": ("---\ntext: [code]\n---\n<!-- user -->\n", "the slot 'code' holds text of others; name it under quoted"),
    "not UTF-8": (b"<!-- user -->\n\xff\xfe", "cannot be read as UTF-8 text"),
    "a head without an end": ("---\ntext: [form]\n<!-- user -->\n", "the head has no end; close it with a line ---"),
    "no part": ("{{ goal }} {{ code }} {{ form }}", "below the head come one line <!-- system --> and one line <!-- user -->"),
    "no user part": ("<!-- system -->\n{{ goal }} {{ code }} {{ form }}", "one line <!-- user -->"),
    "a part twice": ("<!-- user -->\n{{ goal }}\n<!-- user -->\n{{ code }} {{ form }}", "one line <!-- user -->"),
    "text above the parts": ("Hello\n<!-- user -->\n{{ goal }}", "one line <!-- user -->"),
    "broken syntax": ("<!-- user -->\n{{ goal }}\n{% if code %}\n{{ form", "line 4 is no template"),
    "a function": ("<!-- user -->\n{{ goal }} {{ code }} {{ form }} {{ range(9) }}", "uses the slot 'range'"),
}
BAD_HEADS = {
    "not YAML": ("text: [form", "the head is not YAML"),
    "not a mapping": ("form", "the head has the key 'form'; the keys are text, quoted, cut, optional"),
    "an unknown key": ("slots: [form]", "the head has the key 'slots'"),
    "not a list": ("text: form", r"text is 'form'; write a list of slots"),
    "not a name": ("text: [the form]", r"text is \['the form'\]; write a list of slots"),
    "declared twice": ("text: [form]\nquoted: [form]", "the slot 'form' is declared twice"),
    "cut but not declared": ("text: [form]\ncut: [code]", "the slot 'code' is not declared"),
    "not used": ("text: [form, goal]", "does not use the slot 'goal'; use it or take it out of the head"),
}


@pytest.mark.parametrize("what", BAD_OVERRIDES)
def test_a_bad_override_is_refused_with_its_name(ours: Path, tmp_path: Path, what: str) -> None:
    text, why = BAD_OVERRIDES[what]
    theirs = put(tmp_path / "theirs", text)
    with pytest.raises(ConfigError, match=rf"theirs/mine/improve\.md: .*{why}"):
        templates(theirs, ours)


@pytest.mark.parametrize("what", BAD_HEADS)
def test_a_bad_head_is_refused(tmp_path: Path, what: str) -> None:
    head, why = BAD_HEADS[what]
    with pytest.raises(ConfigError, match=why):
        templates(put(tmp_path, f"---\n{head}\n---\n<!-- user -->\n{{{{ form }}}}"))


def test_an_original_needs_a_head(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"improve\.md: has no head; begin it with a line ---"):
        templates(put(tmp_path, "<!-- user -->\n{{ form }}"))


def test_an_undeclared_slot_of_an_original_is_told_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="uses the slot 'code', which is not declared; name it in the head"):
        templates(put(tmp_path, "---\ntext: [form]\n---\n<!-- user -->\n{{ form }} {{ code }}"))


@pytest.mark.parametrize("expression", ["form.nothing", "form + 1", "form.__class__.__mro__", "form.format(form) / 0"])
def test_an_expression_that_fails_is_told_with_the_file(tmp_path: Path, expression: str) -> None:
    with pytest.raises(ConfigError, match=r"improve\.md: its user part cannot be filled: "):
        templates(put(tmp_path, f"---\ntext: [form]\n---\n<!-- user -->\n{{{{ {expression} }}}}")).render("improve", {"form": "x"})


def test_a_folder_in_place_of_a_file_is_told(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "mine" / "improve.md").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        templates(tmp_path / "theirs", ours)
