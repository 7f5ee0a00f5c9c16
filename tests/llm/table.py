"""Reads the table of replies: files of entries that a person can read and write without escaping anything.

%% name of the entry
task: priority              one of parents.TASKS
expect: rewrite             the form of a usable reply, or the verdict on one that is not
finish: length              (and form:, limit:) are passed on; message: and note: are found in what comes back
escaped: yes                the reply is written with Python's escapes, for what an editor would not show
%reply
the reply, to the last line before the next one that begins with a percent sign; {{name}} is one of parents.TEXTS
%value priority             the expected value, the same way; "= name" on that line for one of parents.TEXTS, "json" for JSON
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.llm.parents import TASKS, TEXTS

FOLDER = Path(__file__).parent / "replies"


@dataclass
class Entry:
    style: str
    name: str
    head: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    reply: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.style}: {self.name}"

    def one(self, key: str, default: str = "") -> str:
        return self.head[key][0] if self.head[key] else default


def _expanded(lines: list[str]) -> str:
    text = "\n".join(lines)
    for name, held in TEXTS.items():
        text = text.replace("{{" + name + "}}", held.removesuffix("\n"))
    return text


def _value(entry: Entry, title: str, lines: list[str]) -> None:
    name, _, rest = title.partition(" ")
    parameter = TASKS[entry.one("task")][name]
    if rest.startswith("= "):
        entry.values[name] = TEXTS[rest[2:]]
    elif rest == "json":
        entry.values[name] = json.loads("\n".join(lines))
    else:
        code = parameter.kind == "code" or str(parameter.initial).endswith("\n")
        entry.values[name] = _expanded(lines) + ("\n" if code else "")


def _entry(style: str, lines: list[str]) -> Entry:
    entry = Entry(style, lines[0].removeprefix("%% ").strip())
    sections: list[tuple[str, list[str]]] = [("head", [])]
    for line in lines[1:]:
        if line.startswith("%"):
            sections.append((line[1:].strip(), []))
        else:
            sections[-1][1].append(line)
    for line in filter(None, sections[0][1]):
        key, _, text = line.partition(": ")
        entry.head[key].append(text)
    for title, body in sections[1:]:
        while title.startswith("value") and body and not body[-1]:
            body.pop()
        if title == "reply":
            entry.reply = _expanded(body)
            if entry.one("escaped"):
                entry.reply = entry.reply.encode("latin-1", "backslashreplace").decode("unicode_escape")
        else:
            _value(entry, title.removeprefix("value "), body)
    return entry


def entries() -> list[Entry]:
    """All entries of all styles."""
    found: list[Entry] = []
    for path in sorted(FOLDER.glob("*.replies")):
        start: list[str] = []
        for line in [*path.read_text(encoding="utf-8").split("\n"), "%% end"]:
            if line.startswith("%% "):
                if start:
                    found.append(_entry(path.stem, start))
                start = [line]
            elif start:
                start.append(line)
    return found
