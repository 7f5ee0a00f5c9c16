from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from agentopt.cli.terminal import capped, gist, harmless, print_parts, stdout_console


@given(st.text(st.characters()))
def test_no_character_that_steers_a_terminal_is_left(text: str) -> None:
    shown = harmless(text)
    shown.encode("utf-8")
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in "\n\t"]


@pytest.mark.parametrize("text", ["plain", "señor 日本語　全角", "line\n\tindented", "🙂"])
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_what_is_spelt_out() -> None:
    assert harmless("\x1b[2J\r\u202e\ud800\x9b") == "\\x1b[2J\\r\\u202e\\ud800\\x9b"


def test_capped_says_how_much_is_missing() -> None:
    assert capped("one\ntwo", 5) == "one\ntwo"
    assert capped("one\ntwo\nthree", 1) == "one\n... 10 more characters"
    assert capped("x" * 10, 5, characters=4) == "xxxx\n... 6 more characters"


def test_the_gist_of_a_traceback_is_its_end() -> None:
    assert gist('Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no\n') == "ValueError: no"
    assert gist('  File "a.py", line 1\n    x\nValueError: no') == "ValueError: no"
    assert gist("first\nsecond") == "first"
    assert gist("\n\n") == ""


def test_results_can_go_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    console = stdout_console()
    print_parts(console, [Text("word " * 50), Table("a", "b", box=None)])
    assert out.getvalue().splitlines()[0] == "word " * 50


def test_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout_console().width == 100
    monkeypatch.setenv("COLUMNS", "300")
    assert stdout_console().width == 120
    monkeypatch.setenv("COLUMNS", "80")
    assert stdout_console().width == 80
