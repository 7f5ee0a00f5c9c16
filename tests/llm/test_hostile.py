"""Texts of five megabytes made to keep the reader busy: each is read in less than a second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentopt.llm.replies import MOST_CHARACTERS, Unusable, read_reply
from tests.llm.parents import TASKS
from tests.untraced import untraced

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.0
CHARACTERS = 5_000_000
HUNK = "<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n"
DEF = "def priority(item, bins):\n    return 1\n"
REPEATED = {
    "backticks": "`",
    "fences": "```\n",
    "fences that open": "```python\n",
    "blocks": "```python\nx\n```\n",
    "odd docstrings": '```python\n"""\n```\n',
    "two kinds of docstrings": "```python\n\"\"\"\n```\n```python\n'''\n```\n'''\n",
    "thoughts that begin": "<think>\n",
    "thoughts": "<think></think>\n",
    "thoughts that end": "</think>\n",
    "hunks": HUNK,
    "hunks that begin": "<<<<<<< SEARCH\n",
    "hunks that end": ">>>>>>> REPLACE\n",
    "angles": "<",
    "wide angles": "＜",
    "dividers": "=======\n",
    "elements": "<priority>\nx\n</priority>\n",
    "elements that begin": "<priority>\n",
    "elements on one line": "<answer>",
    "newlines": "\n",
    "blanks": " ",
    "tabs": "\t\n",
    "Windows' line ends": "\r\n",
    "NUL": "\0",
    "brackets": "[",
    "objects": '{"a":',
    "JSON in fences": '```json\n{"a":1}\n```\n',
    "diffs": "@@\n-a\n+b\n",
    "diffs of files": "--- a\n+++ b\n@@ -1 +1 @@\n-a\n+b\n",
    "words": "the ",
    "comments": "# a\n",
    "programs": DEF,
    "headings": "### file: a.py\n```python\n" + DEF + "```\n",
    "fences behind sentences": "a ```python\n",
    "blocks on one line": "```a``` ```b```\n",
    "tokens": "<|im_end|>",
    "channels": "<|channel|>final<|message|>",
    "apologies": "i'm sorry ",
    "markers": "# EVOLVE-BLOCK-START\n",
    "long names": "a" * 199 + " ",
}
WRAPPED = {
    "a hunk of dividers": ("<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n"),
    "a long hunk": ("<<<<<<< SEARCH\n", "abc\n", "=======\nb\n>>>>>>> REPLACE\n"),
    "a blank hunk": ("<<<<<<< SEARCH\n", "\n", "=======\nb\n>>>>>>> REPLACE\n"),
    "a long program": ("```python\n", DEF, "```"),
    "a long diff": ("```diff\n", "@@\n-a\n+b\n", "```"),
    "a long context": ("```diff\n-x\n", " a\n", "```"),
    "a long info string": ("```", "a:", "\nx\n```"),
    "an element that closes in its lines": ("<priority>\n", "</priority> x\n", ""),
    "nested answers": ("", "<answer>\n", "</answer>"),
    "entities": ("<priority>\n", "&lt;", "\n</priority>"),
    "CDATA": ("<priority><![CDATA[", "]]]]><![CDATA[>", "]]></priority>"),
    "attributes": ("<file ", "name = ", ">\n</file>"),
    "quotes in JSON": ("{", '"', ""),
    "commas in JSON": ("{", ", ", ""),
    "backslashes in JSON": ('{"a":"', "\\", ""),
    "a long string in JSON": ('{"code":"', "a\\n", '"}'),
    "files in JSON": ("[", '{"path":"a.py","content":"x"},', "{}]"),
    "commas in fences": ("", "```json\n{" + '"",' * 30000 + "}\n```\n", ""),
    "an error after many lines": ("", "x = 1\n", "def priority(item, bins)\n"),
}
PARTS = {name: ("", part, "") for name, part in REPEATED.items()} | WRAPPED
TIMED = """
import json, sys, time
from agentopt.llm.replies import read_reply
from tests.llm.parents import TASKS
from tests.llm.test_hostile import PARTS, long_text
parameters = TASKS[sys.argv[1]]
parent = {name: parameter.initial for name, parameter in parameters.items()}
taken = {}
for name in PARTS:
    text = long_text(name)
    before = time.process_time()
    read_reply(text, parameters, parent)
    taken[name] = time.process_time() - before
print(json.dumps(taken))
"""


def long_text(name: str) -> str:
    start, part, end = PARTS[name]
    return start + (CHARACTERS // len(part) + 1) * part + end


def seconds(task: str) -> dict[str, float]:
    """CPU seconds for each text, in a process that nothing traces."""
    environment = untraced() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", TIMED, task], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.thorough
def test_no_text_keeps_the_reader_busy() -> None:
    taken = seconds("priority")
    assert set(taken) == set(PARTS)
    assert {name: used for name, used in taken.items() if used >= SECONDS} == {}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pack", "page", "mixed", "evolve", "start", "kernel"])
def test_no_text_keeps_the_reader_busy_with_another_task(task: str) -> None:
    assert {name: used for name, used in seconds(task).items() if used >= SECONDS} == {}


def test_a_reply_of_a_hundred_megabytes_is_not_read() -> None:
    parameters = TASKS["priority"]
    found = read_reply("x" * 100_000_000, parameters, {"priority": parameters["priority"].initial})
    assert found == Unusable("oversize", f"The reply has 100000000 characters; at most {MOST_CHARACTERS} are read.")
