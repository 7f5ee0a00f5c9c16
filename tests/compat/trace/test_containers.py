"""Conformance group 8: operations over nested containers of nodes, and plain data out of them."""

from __future__ import annotations

import numpy as np
import pytest

from agentopt.compat.trace import NodeContainer, apply_op, node, operators, to_data


class Inner(NodeContainer):
    def __init__(self, y) -> None:
        self.y = node(y)


class Outer(NodeContainer):
    def __init__(self, x, v) -> None:
        self.x = node(x)
        self.many = [node(x + "1"), node(x + "2")]
        self.named = {"v": node(v), "x": (node(x + "1"),)}
        self.inner = Inner(x)


def test_an_operation_over_all_members() -> None:
    foo, bar, both = Outer("foo", 1), Outer("bar", 2), Outer("replaced", 3)
    assert apply_op(operators.add, both, foo, bar) is both
    assert both.x == "foobar"
    assert both.x.parents == [foo.x, bar.x]
    assert [item.data for item in both.many] == ["foo1bar1", "foo2bar2"]
    assert (both.named["v"], both.named["x"][0], both.inner.y) == (3, "foo1bar1", "foobar")
    assert apply_op(operators.add, None, node(1), y=node(2)) == 3
    both = apply_op(dict, Inner("r"), a=Inner("a"), b=Inner("b"))
    assert {key: value.data for key, value in both.y.items()} == {"a": "a", "b": "b"}
    assert [item.data for item in apply_op(operators.add, [None, None], [node("a"), node("b")], node("!"))] == ["a!", "b!"]


def test_members_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="one length"):
        apply_op(operators.add, [0, 0], [node(1)], node(2))
    with pytest.raises(ValueError, match="dict is neither"):
        apply_op(operators.add, [0], {"a": 1}, node(2))
    assert apply_op(operators.add, "other", "other", node(2)) == "other"


def test_plain_data_comes_out() -> None:
    assert to_data(node(1)) == 1
    assert to_data(node([node(1), node(2)])) == [1, 2]
    assert to_data([node(1), (node(2), {node("k"): node(3)}), {node(4)}, "plain"]) == [1, (2, {"k": 3}), {4}, "plain"]
    assert to_data(node(({node(1): node("1")},))) == ({1: "1"},)
    assert to_data(Inner(3)).y == 3
    array = np.ones(2)
    assert to_data({"a": array})["a"] is array


def test_a_node_of_nested_containers_knows_its_members() -> None:
    p = node(1, name="p", trainable=True)
    made = node([{"deep": (p, 2)}])
    made.backward("reaches")
    assert made.data == [{"deep": (1, 2)}]
    assert len(p.feedback) == 1
