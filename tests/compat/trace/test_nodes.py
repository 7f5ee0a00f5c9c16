"""Conformance group 1: nodes, operators and containers give what plain values give, and know their operands."""

from __future__ import annotations

import copy
import math
import operator
import pickle

import numpy as np
import pytest

from agentopt.compat.trace import GRAPH, ExceptionNode, ExecutionError, MessageNode, Node, ParameterNode, node, operators, stop_tracing
from agentopt.trace.jsonl import dump, load
from agentopt.trace.node import graph_of
from agentopt.trace.node import node as plain_proxy
from agentopt.trace.params import Param

BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor"]


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_operation_has_exactly_its_operands_as_parents(name) -> None:
    op, x, y = getattr(operator, name), node(7), node(2)
    z = op(x, y)
    assert type(z) is MessageNode
    assert z.data == op(7, 2)
    assert z.parents == [x, y]
    assert z.parents[0] is x
    assert z in x.children
    assert z in y.children
    assert op(x, 2).data == op(7, y).data == op(7, 2)
    assert [parent.data for parent in op(7, y).parents] == [7, 2]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("add", (2, 3)),
        ("subtract", (2, 3)),
        ("multiply", (2, 3)),
        ("divide", (3, 2)),
        ("floor_divide", (3, 2)),
        ("mod", (3, 2)),
        ("node_divmod", (3, 2)),
        ("power", (3, 2)),
        ("lshift", (3, 2)),
        ("rshift", (3, 2)),
        ("and_", (3, 2)),
        ("or_", (3, 2)),
        ("xor", (3, 2)),
        ("pos", (3,)),
        ("neg", (3,)),
        ("invert", (3,)),
        ("abs", (-3,)),
        ("round", (2.345, 1)),
        ("floor", (2.5,)),
        ("ceil", (2.5,)),
        ("trunc", (2.5,)),
        ("lt", (1, 2)),
        ("le", (1, 2)),
        ("eq", (1, 2)),
        ("ne", (1, 2)),
        ("neq", (1, 2)),
        ("ge", (1, 2)),
        ("gt", (1, 2)),
        ("cond", (True, 1, 2)),
        ("not_", (0,)),
        ("is_", (None, None)),
        ("is_not", (None, 1)),
        ("in_", (1, [1])),
        ("not_in", (1, [1])),
        ("len_", ([1],)),
        ("ord_", ("a",)),
        ("chr_", (97,)),
        ("concat", ("a", "b")),
        ("lower", ("Ab",)),
        ("upper", ("Ab",)),
        ("title", ("ab",)),
        ("swapcase", ("Ab",)),
        ("capitalize", ("ab",)),
        ("split", ("a b",)),
        ("strip", (" a ",)),
        ("replace", ("aa", "a", "b", 1)),
        ("join", ("-", "a", "b")),
        ("format", ("{}", 1)),
        ("clone", ([1],)),
        ("identity", ([1],)),
        ("getitem", ([5, 6], 1)),
        ("pop", ([5, 6],)),
        ("node_getattr", (2j, "imag")),
        ("call", (abs, -1)),
        ("to_list", ((1,),)),
        ("make_list", (1, 2)),
        ("to_dict", ([(1, 2)],)),
        ("make_dict", ()),
        ("to_set", ([1],)),
        ("make_set", (1,)),
        ("to_tuple", ([1],)),
        ("make_tuple", (1, 2)),
        ("keys", ({"a": 1},)),
        ("values", ({"a": 1},)),
    ],
)
def test_operations_as_functions(name, args) -> None:
    expected = {
        "subtract": 2 - 3 if args == (2, 3) else None,
        "join": "a-b",
        "format": "1",
        "pop": 6,
        "getitem": 6,
        "cond": 1,
        "keys": ["a"],
        "values": [1],
        "split": ["a", "b"],
        "replace": "ba",
        "strip": "a",
        "title": "Ab",
        "capitalize": "Ab",
        "swapcase": "aB",
        "lower": "ab",
        "upper": "AB",
        "make_dict": {},
        "make_list": [1, 2],
        "make_tuple": (1, 2),
        "make_set": {1},
        "to_list": [1],
        "to_tuple": (1,),
        "to_set": {1},
        "to_dict": {1: 2},
        "call": 1,
        "node_getattr": 2.0,
        "identity": [1],
        "clone": [1],
        "len_": 1,
        "in_": True,
        "not_in": False,
        "is_": True,
        "is_not": True,
        "not_": True,
        "ord_": 97,
        "chr_": "a",
        "concat": "ab",
        "round": 2.3,
        "floor": 2,
        "ceil": 3,
        "trunc": 2,
        "node_divmod": (1, 1),
        "neq": True,
        "multiply": 6,
        "divide": 1.5,
        "floor_divide": 1,
        "power": 9,
        "lshift": 12,
        "rshift": 0,
    }
    made = getattr(operators, name)(*map(node, args))
    assert isinstance(made, MessageNode)
    wanted = expected.get(name, getattr(operator, {"abs": "abs"}.get(name, name), None))
    assert made.data == (wanted(*args) if callable(wanted) else wanted)
    assert len(made.parents) == len(made.inputs.values())


def test_changes_of_containers_are_made_to_a_copy() -> None:
    x = node([3, 1])
    assert operators.list_append(x, 2).data == [3, 1, 2]
    assert operators.list_sort(x, reverse=True).data == [3, 1]
    assert operators.dict_update(node({"a": 1}), node({"b": 2})).data == {"a": 1, "b": 2}
    assert operators.set_add(node({1}), 2).data == {1, 2}
    assert x.data == [3, 1]
    assert "list_append" in operators.names()
    with pytest.raises(AttributeError, match="nothing"):
        _ = operators.nothing


def test_inputs_are_known_by_name() -> None:
    x, y = node(1), node(2)
    z = operators.add(x=x, y=y)
    assert z.inputs["x"] is x
    assert z.inputs == {"x": x, "y": y}
    assert list(z.inputs.keys()) == ["x", "y"]
    assert ("x" in z.inputs, "q" in z.inputs, x in z.inputs) == (True, False, True)
    assert z.inputs == (x, y)
    assert z.inputs != {"x": x}
    assert hash(z.inputs) == hash((x, y))


def test_texts() -> None:
    assert node("-").join([node("a"), node("b")]).data == "a-b"
    x = node("a b", name="x")
    assert x.split().data == ["a", "b"]
    assert x.replace("a", node("c")).data == "c b"
    assert (x + "!").data == "a b!"
    assert ("! " + x).data == "! a b"
    assert f"{x:>5}|{x}" == "  a b|a b"
    assert repr(x).startswith(f"Node: ({x.name}, dtype=<class 'str'>")


def test_indexing_and_iteration_keep_the_lineage() -> None:
    x, index = node([1, 2, 3]), node(0)
    z = x[index]
    assert z == 1
    assert x in z.parents
    assert index in z.parents
    assert all(isinstance(item, Node) and x in item.parents for item in x)
    d = node({"a": 1, "b": 2})
    for key, value in d.items():
        assert value.data == d.data[key.data]
        assert any(d in parent.parents for pair in key.parents for parent in [pair, *pair.parents])
    assert [key.data for key in d.keys()] == ["a", "b"]  # noqa: SIM118
    copied: dict = {}
    copied.update(d)
    assert all(isinstance(key, Node) for key in copied)
    assert [item.data for item in node(np.array([1, 2]))] == [1, 2]
    assert len(x) == 3
    assert (x.len().data, x.pop().data) == (3, 3)


def test_copies_and_clones() -> None:
    z = node([1, 2, 3])[0]
    for made in (operators.identity(z), z.clone()):
        assert made.parents == [z]
        assert made in z.children
    for made in (copy.deepcopy(z), copy.copy(z), z.detach(), pickle.loads(pickle.dumps(z))):
        assert made.data == z.data
        assert made.parents == []
        assert made not in z.children
    p = node({"a": [1]}, name="p", trainable=True, description="what", constraint="small")
    p.param.feedback.append("kept apart")
    for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert isinstance(twin, ParameterNode)
        assert (twin.data, twin.trainable, twin.description, twin.constraint) == ({"a": [1]}, True, "[ParameterNode] what", "small")
        twin._data = {"a": [2]}
        assert p.data == {"a": [1]}
        assert twin.feedback == {}


def test_hashes_go_by_identity_and_equality_by_value() -> None:
    x, y = node(1), node(1)
    assert x == y
    assert (x != y) is False
    assert x == 1
    assert x != 2
    assert len({x, y}) == 2
    a, b = node(np.ones(2)), node(np.ones(2))
    assert (a == b) is True
    assert (a == node(np.zeros(2))) is False
    assert (a == np.ones(2)).tolist() == [True, True]
    assert (x.eq(y).data, x.neq(y).data, (x < y).data) == (True, False, False)


def test_lists_of_nodes_go_by_identity() -> None:
    x, twin = node(np.ones(2)), node(np.ones(2))
    z = x + 1
    assert x in z.parents
    assert twin not in z.parents
    assert (z.parents.index(x), z.parents.count(twin)) == (0, 0)
    with pytest.raises(ValueError, match="not in list"):
        z.parents.remove(twin)
    parents = z.parents
    parents.remove(x)
    assert x not in parents
    assert x in z.parents


def test_a_node_of_a_function_is_called() -> None:
    fun = node(lambda x: x + 1)
    output = fun(node(2))
    assert output == 3
    assert len(output.parents) == 2
    holder = node(type("Holder", (), {"value": 3, "twice": lambda self, k=2: 3 * k})())
    assert holder.getattr("value") == 3
    assert holder.call("twice", k=node(4)) == 12
    assert holder.twice() == 6


def test_wrapping_a_node_again() -> None:
    x = node([1], trainable=True)
    again = node(x, trainable=True)
    assert node(x) is x
    assert again is not x
    assert again.data == x.data
    assert isinstance(x, ParameterNode)


def test_descriptions_and_names() -> None:
    x = node(1, description="x")
    p = node(1, name="p", trainable=True)
    assert x.description == "[Node] x"
    assert node(1).description == "[Node] This is a Node in a computational graph."
    assert node(1, description="[given] x").description == "[given] x"
    assert p.description == "[ParameterNode] This is a ParameterNode in a computational graph."
    assert p.name == f"p:{p.id}"
    assert p.py_name == f"p{p.id}"
    assert len({node(1).name for _ in range(100)}) == 100
    assert (x.type, x.is_root, x.is_leaf, (x + 1).is_root, x.level, (x + 1 + 1).level) == (int, True, True, False, 0, 2)
    assert x.info is None
    assert p.param.name == "p"
    assert node("a", trainable=True).param.name == "str"
    assert node("a", name="my 1st", trainable=True).param.name == "my_1st"
    assert (x + 1).info["fun_name"] == "add"
    assert node(x + 1, name="ignored").data == 2


def test_a_value_may_be_set() -> None:
    p = node("a", trainable=True)
    p._data = node("b")
    assert p.data == "b"
    q = node([1], trainable=True)
    assert q.data == [1]
    q._data = None
    assert q.data is None
    assert q.param.trainable is False


def test_tracing_can_be_stopped() -> None:
    x = node(1)
    with stop_tracing():
        assert GRAPH.TRACE is False
        z = x + 2
    GRAPH.clear()
    assert z == 3
    assert z.inputs == {}
    assert z.parents == []
    assert GRAPH.TRACE is True


def test_proxies_of_our_own_are_adopted() -> None:
    factor = Param(3, "factor")
    ours = plain_proxy(2) * plain_proxy(factor)
    made = operators.add([ours, factor], [1])
    assert made.data == [6, 3, 1]
    made.backward("fine")
    assert [said.text for said in factor.feedback] == ["fine"]


def test_message_nodes_made_by_hand() -> None:
    x = node(1, name="x")
    z = MessageNode("z", inputs=[x], description="[add] adds")
    assert z.inputs[x.name] is x
    assert z.info["fun_name"] == "add"
    assert MessageNode(1, inputs={"a": x}).py_name.startswith("op")
    failed = ExceptionNode(ValueError("no"), inputs={"a": x})
    assert failed.data == "(ValueError) no"
    assert failed.create_feedback("full") == failed.create_feedback() == "(ValueError) no"
    with pytest.raises(ValueError, match="style"):
        failed.create_feedback("other")


def test_a_graph_of_three_thousand_operations_is_saved() -> None:
    x = node(1, name="x", trainable=True)
    z = x
    for _ in range(3000):
        z = z + 1
    graph = load(dump(graph_of(z)))
    assert len(graph.of_kind("op")) == 3000
    assert (graph.value(graph.output), graph.params["x"].kind) == (3001, "value")
    assert pickle.loads(pickle.dumps(z)).data == 3001
    assert copy.deepcopy(z).data == 3001


def test_numbers_of_numpy_and_math() -> None:
    a = node(np.arange(3.0))
    assert np.sqrt(a).parents == [a]
    assert (np.ones(3) + a).data.tolist() == [1, 2, 3]
    assert math.floor(node(2.5)) == 2
    with pytest.raises(ExecutionError):
        a @ node(np.ones(4))
