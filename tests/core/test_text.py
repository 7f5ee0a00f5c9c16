"""Text of others, made safe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentopt.core.text import clean_text


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
