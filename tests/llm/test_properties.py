"""What holds for every text: a diff that fits gives what it was made from, and nothing that a model writes raises."""

from __future__ import annotations

import difflib
from typing import get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentopt import Parameter
from agentopt.core.chat import Finish
from agentopt.llm.replies import Unusable, Usable, Verdict, read_reply
from tests.llm.parents import TASKS, TEXTS
from tests.llm.table import entries

LINE = st.sampled_from(
    [
        "a = 1",
        "    b = 2",
        "\tb = 2",
        "        return b",
        "",
        "",
        "}",
        "x" * 30,
        "```",
        "```python",
        "<think>",
        "<p>",
        "# ... nothing",
        "é→𝄞",
        "@@ x",
    ]
    + [f"line {i}" for i in range(8)]
)
DIVIDED = LINE.filter(lambda line: len(line.strip()) != 7) | st.just("=======")
"""Seven characters above a divider would make a heading of it."""
LINES = st.lists(LINE, min_size=1, max_size=25)


def read(reply: str, source: str, kind: str = "prompt", **options: str) -> Usable | Unusable:
    parameters = {"p": Parameter("p", kind, source, language="text")}
    return read_reply(reply, parameters, {"p": source}, **options)


def once(lines: list[str], start: int, end: int) -> bool:
    part = lines[start:end]
    return any(part) and sum(lines[i : i + len(part)] == part for i in range(len(lines))) == 1


def pieces(old: list[str], new: list[str]) -> list[tuple[list[str], list[str]]]:
    """The (search, replace) pairs that turn old into new, each with as much context as it needs to be found."""
    opcodes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    cuts = [(i1 + k, j1 + k) for tag, i1, i2, j1, _ in opcodes if tag == "equal" for k in range(i2 - i1 + 1)]
    cuts = sorted({(0, 0), *cuts, (len(old), len(new))})
    changes = [((i1, j1), (i2, j2)) for tag, i1, i2, j1, j2 in opcodes if tag != "equal"]
    found: list[tuple[int, int]] = []
    for start, end in changes:
        a, b = cuts.index(start), cuts.index(end)
        while not once(old, cuts[a][0], cuts[b][0]) and (a > 0 or b < len(cuts) - 1):
            a, b = max(a - 1, 0), min(b + 1, len(cuts) - 1)
        while found and cuts[a][0] < cuts[found[-1][1]][0]:
            previous = found.pop()
            a, b = min(previous[0], a), max(previous[1], b)
        found.append((a, b))
    return [(old[cuts[a][0] : cuts[b][0]], new[cuts[a][1] : cuts[b][1]]) for a, b in found]


def as_hunks(pairs: list[tuple[list[str], list[str]]]) -> str:
    return "".join("\n".join(["<<<<<<< SEARCH", *search, "=======", *replace, ">>>>>>> REPLACE", ""]) for search, replace in pairs)


def tidy(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().split("\n")]


@settings(max_examples=400, deadline=None)
@given(old=LINES, new=LINES, fenced=st.booleans(), end=st.sampled_from(["", "\n"]))
def test_a_search_replace_diff_gives_the_second_text_exactly(old: list[str], new: list[str], fenced: bool, end: str) -> None:
    source, target = "\n".join(old) + end, "\n".join(new) + end
    assume(any(old) and any(new) and tidy(source) != tidy(target))
    assume(end or (old[-1] and new[-1]))
    hunks = as_hunks(pieces(old, new))
    found = read(f"````diff\n{hunks}````\nDone." if fenced else hunks, source)
    assert isinstance(found, Usable), found
    assert found.values == {"p": target}
    assert found.notes == ()


@settings(max_examples=300, deadline=None)
@given(old=st.lists(DIVIDED, min_size=1, max_size=20), new=st.lists(DIVIDED, min_size=1, max_size=20))
def test_lines_like_the_divider_never_lead_to_another_text(old: list[str], new: list[str]) -> None:
    source, target = "\n".join(old) + "\n", "\n".join(new) + "\n"
    assume(any(old) and any(new) and tidy(source) != tidy(target))
    found = read(as_hunks(pieces(old, new)), source)
    assert isinstance(found, Unusable) or found.values == {"p": target}


@settings(max_examples=400, deadline=None)
@given(old=LINES, new=LINES, fenced=st.booleans())
def test_a_unified_diff_gives_the_second_text_exactly(old: list[str], new: list[str], fenced: bool) -> None:
    source, target = "\n".join(old) + "\n", "\n".join(new) + "\n"
    assume(any(new) and tidy(source) != tidy(target))
    diff = list(difflib.unified_diff(old, new, "a/p", "b/p", lineterm=""))
    contexts = "\n".join(diff[2:]).split("@@ -")[1:]
    assume(all(any(line[1:] for line in hunk.split("\n")[1:] if line[:1] in (" ", "-")) for hunk in contexts))
    body = "\n".join(diff)
    assume(fenced or not ("```" in body or "<" in body))
    found = read(f"```diff\n{body}\n```" if fenced else f"Apply this:\n\n{body}\n\nThat is all.", source)
    assert isinstance(found, Usable), found
    assert found.values == {"p": target}


@settings(max_examples=200, deadline=None)
@given(old=LINES, new=LINES)
def test_a_text_with_windows_line_ends_keeps_them(old: list[str], new: list[str]) -> None:
    source, target = ("".join(f"{line}\r\n" for line in lines) for lines in (old, new))
    assume(any(old) and any(new) and tidy(source) != tidy(target))
    found = read(as_hunks(pieces(old, new)), source)
    assert isinstance(found, Usable), found
    assert found.values == {"p": target}


@settings(max_examples=200, deadline=None)
@given(body=st.lists(LINE, min_size=1, max_size=20))
def test_a_block_gives_what_it_holds(body: list[str]) -> None:
    text = "\n".join(body)
    assume(any(body) and tidy(text) != ["old"])
    found = read(f"Here:\n\n````text\n{text}\n````\n\nBye.", "old\n", kind="code")
    assert isinstance(found, Usable), found
    assert found.values == {"p": text.strip("\n") + "\n"}


FRAGMENTS = [
    *("```", "```python\n", "````md\n", "~~~", "\n", "\n\n", "<think>", "</think>", "<priority>", "</priority>", "<answer>", "</answer>"),
    *(
        "<<<<<<< SEARCH\n",
        "=======\n",
        ">>>>>>> REPLACE\n",
        "@@ -1,2 +1,2 @@\n",
        "--- a/x.py\n",
        "+++ b/x.py\n",
        "-    scores = []\n",
        "+x\n",
        " y\n",
    ),
    *(
        '{"priority": "',
        '"}',
        '{"x": 1, }',
        "[",
        "]",
        '"',
        "'''",
        '"""',
        "\\n",
        "\\",
        "def priority(item, bins):\n",
        "    return []\n",
        "del priority\n",
    ),
    *(
        "### file: features.py\n",
        "../x.py",
        "<![CDATA[",
        "]]>",
        "&lt;",
        "# ... rest\n",
        "# EVOLVE-BLOCK-START\n",
        "# EVOLVE-BLOCK-END\n",
        "I'm sorry",
    ),
    *(
        "\ufeff",
        "\r\n",
        "\r",
        "\0",
        "\ud800",
        "“",
        "‘‘‘",
        "＜＜＜＜＜＜＜ SEARCH\n",
        "<|im_end|>",
        "    ",
        "\t",
        "0.5",
        "True",
        "NaN",
        "1e999",
        "lambda: 0",
    ),
    *TEXTS.values(),
]
ANY = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=30).map("".join)


@pytest.mark.thorough
@settings(max_examples=1500, deadline=None)
@given(
    reply=ANY,
    task=st.sampled_from(sorted(TASKS)),
    form=st.sampled_from(["auto", "auto", "rewrite", "diff", "xml", "json"]),
    finish=st.sampled_from(["stop", "length", "filter", "refusal", "tools", "other"]),
)
def test_no_text_raises(reply: str, task: str, form: str, finish: Finish) -> None:
    check(reply, task, form, finish)


@pytest.mark.parametrize("entry", entries()[::7], ids=str)
def test_no_beginning_of_a_reply_raises(entry: object) -> None:
    """Cut anywhere, read for every task: what comes back is a value or a verdict."""
    for cut in range(0, len(entry.reply), max(1, len(entry.reply) // 12)):
        for task in ("priority", "pack", "mixed", "page", "evolve", "start"):
            check(entry.reply[:cut], task, "auto", "length")


def check(reply: str, task: str, form: str, finish: Finish) -> None:
    parameters = TASKS[task]
    parent = {name: parameter.initial for name, parameter in parameters.items()}
    found = read_reply(reply, parameters, parent, finish=finish, form=form)
    if isinstance(found, Usable):
        assert found.values
        assert all(parameters[name].trainable for name in found.values)
        assert all(type(value) is type(parent[name]) or isinstance(value, int | float) for name, value in found.values.items())
    else:
        assert found.verdict in get_args(Verdict)
        assert found.message.endswith(".")
        assert "\n" not in found.message
        assert len(found.message) < 700
