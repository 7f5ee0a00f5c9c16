"""The stand-in model of benchmarks/search: it finds the program, answers in the form that was asked for, and repeats nothing."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from agentopt.core.quoting import quote
from agentopt.core.task import Parameter
from agentopt.llm.replies import Usable, read_reply
from agentopt.prompts.showing import reply_form
from benchmarks.search.hunks import hunk
from benchmarks.search.problems import PROBLEMS, load
from benchmarks.search.standin import REFUSAL, SENTENCE, StandIn, read, written
from benchmarks.search.stream import UNUSABLE, Stream, same

PARENT = '''\
import numpy as np


def law(x, y):
    """The value at each point."""
    a = 0.5 * x

    b = 0.5 * y
    return a + b + 0.1
'''
OTHER = PARENT.replace("0.5 * y", "np.tanh(y)")
THIRD = PARENT.replace("0.5 * x", "1.5 * x")
CHILD = PARENT.replace("a + b", "a - 2.0 * b")
LAW = {"law": Parameter("law", "code", PARENT)}


def user(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


def fenced(program: str) -> str:
    return f"```python\n{program}\n```"


EDITS = "<<<<<<< SEARCH\n# Original code\n=======\n# New code\n>>>>>>> REPLACE"
REWRITE = "Rewrite the program.\nProvide the complete new program code.\n\n```python\n# Your rewritten program here\n```"
OPENEVOLVE = f"""\
# Current Program Information
- Fitness: 1.0

# Program Evolution History
## Top Performing Programs

### Program 1 (Score: 1.2)
{fenced(OTHER)}
Key features: none

# Current Program
{fenced(PARENT)}

# Task
"""
SHINKA = f"""\
Here are the performance metrics of a set of previously implemented programs:

# Prior programs

{fenced(OTHER)}

# Current program

Here is the current program we are trying to improve:

{fenced(PARENT)}

# Task

Suggest a new idea. Describe each change with a SEARCH/REPLACE block.
"""
SHINKA_SYSTEM = "Improve.\n<NAME>\nA name.\n</NAME>\n\n<DESCRIPTION>\nWhy.\n</DESCRIPTION>\n\n"
SHINKA_DIFF = f"{SHINKA_SYSTEM}<DIFF>\n{EDITS}\n\n</DIFF>\n"
SHINKA_FULL = f"{SHINKA_SYSTEM}<CODE>\n```python\n# The new rewritten program here.\n```\n</CODE>\n"
GEPA = f"""\
## Current Component

The component being optimized:

```
{PARENT}
```

## Evaluation Results

```
# Example 1
## error
```

## Output Format

Provide ONLY the improved version within ``` blocks.
"""


def hunks_applied(text: str, parent: str) -> str:
    """As readers of SEARCH/REPLACE do it: edges stripped, the first place where all lines fit."""
    lines = parent.strip("\n").split("\n")
    for search, replacement in re.findall(r"<<<<<<< SEARCH\n(.*?)=======\n(.*?)>>>>>>> REPLACE", text, re.DOTALL):
        old, new = search.rstrip().split("\n"), replacement.rstrip().split("\n")
        at = next(at for at in range(len(lines)) if lines[at : at + len(old)] == old)
        lines[at : at + len(old)] = new
    return "\n".join(lines)


def between_fences(text: str) -> str:
    inner = text[text.find("```") + 3 : text.rfind("```")]
    return re.sub(r"^\S*\n", "", inner).strip()


def in_code(text: str) -> str:
    found = re.search(r"<CODE>\n```python\n(.*?)```\n</CODE>", text, re.DOTALL)
    assert found
    return found[1]


CONVERSATIONS = [
    pytest.param(user(OPENEVOLVE + EDITS), (OTHER,), lambda text: hunks_applied(text, PARENT), id="openevolve, hunks"),
    pytest.param(user(OPENEVOLVE + REWRITE), (OTHER,), between_fences, id="openevolve, whole"),
    pytest.param(
        [{"role": "system", "content": SHINKA_DIFF}, *user(SHINKA)], (OTHER,), lambda text: hunks_applied(text, PARENT), id="shinka, hunks"
    ),
    pytest.param([{"role": "system", "content": SHINKA_FULL}, *user(SHINKA)], (OTHER,), in_code, id="shinka, whole"),
    pytest.param(user(GEPA), (), between_fences, id="gepa"),
]


@pytest.mark.parametrize(("messages", "others", "reader"), CONVERSATIONS)
def test_the_program_to_be_changed_is_found_and_the_answer_is_read_as_its_asker_reads_it(messages, others, reader):
    asked = read(messages)
    assert same(asked.parent) == same(PARENT)
    assert [same(other) for other in asked.others] == [same(other) for other in others]
    assert ast.dump(ast.parse(reader(written(asked, CHILD)))) == ast.dump(ast.parse(CHILD))


def test_a_named_answer_has_its_name_and_description():
    text = written(read([{"role": "system", "content": SHINKA_DIFF}, *user(SHINKA)]), CHILD)
    assert re.match(r"<NAME>\n\w+\n</NAME>\n\n<DESCRIPTION>\n.+\n</DESCRIPTION>\n\n<DIFF>\n<<<<<<< SEARCH", text)


def ours(name: str, *beside: str) -> list[dict[str, Any]]:
    sections = [quote("goal", "Find the law."), quote("parameters", "- law: code that defines law(x, y)"), *beside, quote(name, PARENT)]
    return user("\n\n".join([*sections, reply_form(LAW)]))


@pytest.mark.parametrize("name", ["parent", "elite", "better", "seed"])
def test_of_quoted_sections_the_name_tells_the_program_to_be_changed(name):
    asked = read(ours(name, quote("worse", OTHER)))
    assert (same(asked.parent), [same(other) for other in asked.others]) == (same(PARENT), [same(OTHER)])
    found = read_reply(written(asked, CHILD), LAW, {"law": PARENT})
    assert isinstance(found, Usable)
    assert same(found.values["law"]) == same(CHILD)


def test_several_programs_in_one_section_are_told_apart():
    both = f"Program 1 (error 0.5):\n{OTHER}\n\nProgram 2 (error 0.6):\n{THIRD}"
    asked = read(ours("parent", quote("inspirations", both)))
    assert same(asked.parent) == same(PARENT)
    assert {same(other) for other in asked.others} == {same(OTHER), same(THIRD)}


def test_in_a_conversation_the_last_form_counts_and_what_was_answered_is_not_the_parent():
    begun = [*user(f"{quote('parent', PARENT)}\n\n{EDITS}"), {"role": "assistant", "content": fenced(OTHER)}]
    asked = read([*begun, *user(reply_form(LAW))])
    assert (asked.form, same(asked.parent)) == ("fence", same(PARENT))
    assert [same(other) for other in asked.others] == [same(OTHER)]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"{quote('better', PARENT)}\nSay in at most 20 words what is better.", SENTENCE),
        (f"{quote('best', PARENT)}\nAnswer with a numbered list of 2 items and nothing else.", f"1. {SENTENCE}\n2. {SENTENCE}"),
    ],
)
def test_who_asks_for_words_gets_words(text, answer):
    stand_in = StandIn(Stream(0))
    assert stand_in(Request(user(text))).text == answer
    assert (stand_in.calls, stand_in.programs) == (1, 0)


class Request:
    def __init__(self, messages):
        self.body = {"messages": messages}


def answers(seed: int, count: int) -> list[str]:
    stand_in = StandIn(Stream(seed))
    return [stand_in(Request(ours("parent", quote("top", OTHER)))).text for _ in range(count)]


def test_answers_follow_from_the_seed_and_the_number_of_the_request_alone():
    assert answers(3, 20) == answers(3, 20)
    assert answers(3, 20) != answers(4, 20)
    stream = Stream(3)
    later = stream.draw(19, PARENT, (OTHER,))
    assert later == Stream(3).draw(19, PARENT, (OTHER,))
    assert later != stream.draw(18, PARENT, (OTHER,))


def test_no_answer_repeats_a_program_of_the_request_and_few_are_of_no_use():
    shown = {same(PARENT), same(OTHER)}
    texts = answers(5, 300)
    useless = texts.count(REFUSAL)
    assert 300 * UNUSABLE / 3 < useless < 300 * UNUSABLE * 2
    for text in texts:
        if text != REFUSAL:
            assert same(between_fences(text)) not in shown


@pytest.mark.parametrize("name", list(PROBLEMS))
@pytest.mark.parametrize("marked", [False, True])
def test_one_hunk_makes_the_child_of_the_parent_outside_of_the_marks(name, marked):
    parent = load(name).seed.strip("\n")
    if marked:
        parent = f"# EVOLVE-BLOCK-START\n{parent}\n# EVOLVE-BLOCK-END"
    stream = Stream(1)
    for number in range(40):
        child = stream.draw(number, parent)
        if child is not None:
            search, replacement = hunk(parent, child)
            assert "EVOLVE-BLOCK" not in search + replacement
            text = f"<<<<<<< SEARCH\n{search}\n=======\n{replacement}\n>>>>>>> REPLACE"
            assert hunks_applied(text, parent) == child.strip("\n")
            parent = child
