"""Conformance group 2: comparisons and truth tests work in ``if``, ``and``, ``or``; what is recorded is a node."""

from __future__ import annotations

import pytest

from agentopt.compat.trace import MessageNode, Node, node


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("other", [True, False])
def test_and_and_or_give_one_of_the_two_sides(value, other) -> None:
    x, y = node(value), node(other)
    assert (x and y) is (y if value else x)
    assert (x or y) is (x if value else y)
    assert (x and other) is (other if value else x)
    assert (other and x) is (x if other else other)
    assert (x or other) is (x if value else other)
    assert (other or x) is (other if other else x)
    assert (not x) is (not value)


def test_comparisons_are_nodes_that_if_can_ask() -> None:
    x, y = node(1), node(2)
    for made, expected in ((x < y, True), (x <= y, True), (x > y, False), (x >= 2, False)):
        assert type(made) is MessageNode
        assert bool(made) is expected
        assert x in made.parents
    assert type(x == y) is bool
    assert (1 in node([1]), node(1) in node([1])) == (True, True)
    assert isinstance(x, Node)
    assert [k for k in (3, 1, 2) if node(k) > 1] == [3, 2]
    assert sorted([node(3), node(1)])[0] == 1
