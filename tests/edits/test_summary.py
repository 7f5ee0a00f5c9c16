"""What is told of an edit."""

from __future__ import annotations

from agentopt.edits.summary import summarise

BEFORE = "\n".join(f"line {k}" for k in range(30))


def test_lines_that_went_and_came() -> None:
    assert summarise(BEFORE, BEFORE.replace("line 7\n", "line seven\n\nmore\n"), 10) == "-line 7\n+line seven\n+more"
    assert summarise(BEFORE, BEFORE, 10) == ""


def test_long_edits_are_cut_and_rewrites_only_named() -> None:
    longer = BEFORE + "\n" + "\n".join(f"new {k}" for k in range(6)) + "\n" + "x" * 500
    lines = summarise(BEFORE, longer, 4).split("\n")
    assert lines[:4] == ["+new 0", "+new 1", "+new 2", "+new 3"]
    assert lines[4:] == ["(and 3 more lines)"]
    assert len(summarise("a", "x" * 500, 4).split("\n")[1]) == 160
    assert summarise(BEFORE, "\n".join(f"other {k}" for k in range(40)), 4) == "(rewritten: 30 lines became 40)"
