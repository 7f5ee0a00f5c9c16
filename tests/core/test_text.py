"""Text of others, made safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.core.text import clean_text, gist


def test_escapes_and_marks_are_taken_out_but_layout_stays():
    assert clean_text("a\tb\n\x1b]0;own\x07\x1b[2Jc\r\x00\x9b31m\u202egpj.exe\ud800") == "a\tb\n]0;own[2Jc31mgpj.exe"


def test_long_text_keeps_both_ends():
    text = clean_text("start" + "x" * 10_000 + "end", 100)
    assert len(text) <= 100
    assert text.startswith("start")
    assert text.endswith("end")
    assert "\n...\n" in text


@given(st.text(), st.integers(20, 200))
def test_the_result_can_be_encoded_and_is_never_longer_than_the_limit(text, limit):
    cleaned = clean_text(text, limit)
    cleaned.encode()
    assert len(cleaned) <= limit
    assert clean_text(cleaned, limit) == cleaned


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("Traceback (most recent call last):\n  File x\nValueError: too many\n\n > 3 | a, b = c", "ValueError: too many"),
        ("crash:   File x\n  json.JSONDecodeError: no value", "json.JSONDecodeError: no value"),
        ("it took 3 s\nof 2 s", "it took 3 s"),
        ("", ""),
    ],
)
def test_the_gist_of_a_failure_is_one_line(message: str, line: str):
    assert gist(message) == line
