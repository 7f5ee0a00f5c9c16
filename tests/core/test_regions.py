"""What of a program may change."""

from __future__ import annotations

import pytest

from agentopt.core.regions import open_spans, pieces, within

BLOCK = "a\n# EVOLVE-BLOCK-START\nb\n# EVOLVE-BLOCK-END\nc\n"


def test_pieces_are_frozen_and_open_in_turn() -> None:
    assert pieces(BLOCK) == ["a\n# EVOLVE-BLOCK-START\n", "b\n", "# EVOLVE-BLOCK-END\nc\n"]


@pytest.mark.parametrize("text", ["a\n", "# EVOLVE-BLOCK-START\na\n", "# EVOLVE-BLOCK-END\n# EVOLVE-BLOCK-START\n"])
def test_without_markers_that_pair_up_all_is_open(text: str) -> None:
    assert pieces(text) is None
    assert open_spans(text) == [(0, len(text))]


def test_spans_are_bytes() -> None:
    text = "ä\n" + BLOCK
    ((start, end),) = open_spans(text)
    assert text.encode()[start:end] == b"b\n"


def test_what_lies_within() -> None:
    assert within((2, 4), [(0, 1), (2, 4)])
    assert not within((1, 4), [(0, 1), (2, 4)])
