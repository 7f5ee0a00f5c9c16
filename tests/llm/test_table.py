"""Every reply of the table is read as the table says."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from agentopt.llm.replies import Unusable, Usable, Verdict, read_reply, repair_request
from agentopt.llm.verdicts import Form
from tests.llm.parents import TASKS
from tests.llm.table import Entry, entries

TABLE = entries()


def read(entry: Entry) -> Usable | Unusable:
    parameters = TASKS[entry.one("task")]
    parent = {name: parameter.initial for name, parameter in parameters.items()}
    options = {"limit_bytes": int(entry.one("limit"))} if entry.one("limit") else {}
    return read_reply(entry.reply, parameters, parent, finish=entry.one("finish", "stop"), form=entry.one("form", "auto"), **options)


@pytest.mark.parametrize("entry", TABLE, ids=str)
def test_a_reply_is_read_as_the_table_says(entry: Entry) -> None:
    found = read(entry)
    if isinstance(found, Usable):
        assert found.form == entry.one("expect"), found
        assert dict(found.values) == entry.values
        for note in entry.head["note"]:
            assert any(note in said for said in found.notes), found.notes
        assert found.notes or not entry.head["note"]
        return
    assert found.verdict == entry.one("expect"), found
    assert not entry.values
    for part in entry.head["message"]:
        assert part in found.message
    assert found.message.endswith(".")
    assert "\n" not in found.message
    assert found.message in repair_request(found, TASKS[entry.one("task")])


def test_the_table_is_large_and_covers_every_verdict_and_form() -> None:
    expected = Counter(entry.one("expect") for entry in TABLE)
    assert len(TABLE) >= 200
    # that nothing needs to change is said in a form of its own, which another reader takes: test_suggestions
    assert set(expected) == {*get_args(Verdict), *get_args(Form)} - {"no_change"}
    assert min(expected.values()) >= 4
    assert len({(entry.style, entry.name) for entry in TABLE}) == len(TABLE)
