"""Proxies: what operations give, what a graph holds, where feedback goes."""

from __future__ import annotations

import copy
import gc
import math
import operator
import pickle
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest

from agentopt.trace.graph import Edge, Graph
from agentopt.trace.node import Node, graph_of, node, params_of, plain
from agentopt.trace.operators import attr, cond, contains, eq, length, ne, text
from agentopt.trace.params import Param, applied

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    divmod,
    pow,
    operator.lshift,
    operator.rshift,
    operator.and_,
    operator.or_,
    operator.xor,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
def test_a_binary_operation_gives_what_it_gives_on_the_values_from_either_side(op) -> None:
    a, b = node(7), node(2)
    for made, inputs in ((op(a, b), (a, b)), (op(a, 2), (a, 2)), (op(7, b), (7, b))):
        assert type(made) is Node
        assert made.value == op(7, 2)
        if op in (operator.lt, operator.le, operator.gt, operator.ge) and inputs[0] is not a:
            inputs = inputs[::-1]  # Python asks the right one with the mirrored comparison
        assert list(map(id, made.inputs)) == list(map(id, inputs))


def test_matrices_are_multiplied_from_either_side() -> None:
    a = np.arange(4.0).reshape(2, 2)
    for made in (node(a) @ a, a @ node(a), node(a) @ node(a)):
        assert np.array_equal(made.value, a @ a)


UNARY = [operator.neg, operator.pos, abs, operator.invert, round, math.floor, math.ceil, math.trunc]


@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.__name__)
def test_a_unary_operation_gives_what_it_gives_on_the_value(op) -> None:
    a = node(-3)
    made = op(a)
    assert made.value == op(-3)
    assert made.inputs == (a,)


def test_rounding_and_powers_take_their_second_argument() -> None:
    assert round(node(3.14159), 2).value == 3.14
    assert pow(node(7), 3, 5).value == pow(7, 3, 5)
    assert (2 ** node(3)).value == 8


@pytest.mark.parametrize("op", [operator.iadd, operator.isub, operator.imul, operator.ior])
def test_an_operation_in_place_leaves_the_old_node_and_its_value(op) -> None:
    first = {1} if op in (operator.isub, operator.ior) else [1]
    second = 2 if op is operator.imul else type(first)([2])
    old = node(first)
    new = op(old, second)
    assert new is not old
    assert old.value == first
    assert new.value == getattr(operator, op.__name__[1:] + ("_" if op is operator.ior else ""))(first, second)


def test_two_nodes_are_equal_only_if_they_are_one() -> None:
    twin, other = node(np.ones(2)), node(np.ones(2))
    held = [other, twin]
    held.remove(twin)
    assert held[0] is other
    assert twin not in held
    assert twin == twin
    assert (twin != other) is True
    assert len({twin, other}) == 2


def test_equality_with_a_plain_value_is_recorded_and_so_is_eq() -> None:
    a, b = node(3), node(3)
    assert (a == 3).value is True
    assert (a != 3).value is False
    assert eq(a, b).inputs == (a, b)
    assert eq(a, b).value is True
    assert ne(1, b).value is True
    assert eq(1, 1) is True


def test_what_python_wants_plain_is_plain() -> None:
    a = node([1, 2, 3])
    assert len(a) == 3
    assert 2 in a
    assert node(2) in a
    assert bool(node(0)) is False
    assert (int(node(3.9)), float(node(2)), complex(node(2))) == (3, 2.0, 2 + 0j)
    assert list(range(node(2))) == [0, 1]
    assert [10, 20][node(1)] == 20
    assert bytes(node(b"x")) == b"x"
    assert math.sqrt(node(9)) == 3.0


def test_text_of_a_node_is_the_text_of_its_value() -> None:
    a = node(1.5)
    assert f"{a}" == str(a) == "1.5"
    assert f"{a:.3f}" == "1.500"
    assert f"{node('x')!r:>9}" == "Node('x')"
    assert text(a).value == "1.5"


def test_the_recorded_forms_of_what_python_wants_plain() -> None:
    a = node([1, 2])
    assert (length(a).value, contains(a, 2).value, cond(node(False), 1, a).value) == (2, True, [1, 2])
    assert attr(node(a), "append").value(3) is None
    assert attr(node(type("Has", (), {"value": 5})), "value").value == 5
    assert (node(", ").join([node("a"), "b"])).value == "a, b"


def test_indexing_and_iterating_keep_where_things_came_from() -> None:
    a, k = node({"x": [1, 2, 3]}), node(1)
    found = a["x"][k]
    assert found.value == 2
    assert found.inputs[1] is k
    assert found.inputs[0].inputs == (a, "x")
    assert a["x"][k:].value == [2, 3]
    assert [i.value for i in reversed(a["x"])] == [3, 2, 1]
    pairs = [(key, value) for key, value in a.items()]
    assert [(key.value, value.value) for key, value in pairs] == [("x", [1, 2, 3])]
    assert a in {reached for reached in _all(pairs[0][1])}
    assert [i.value for i in node(iter("ab"))] == ["a", "b"]
    made = list(node("ab"))[1]
    assert made.op(*[plain(given) for given in made.inputs]) == "b"
    with pytest.raises(TypeError):
        a["x"] = 1


def test_methods_and_attributes() -> None:
    a = node("a-b")
    made = a.replace("-", "+").split(sep="+")
    assert made.value == ["a", "b"]
    assert made.op.names == ("sep",)
    assert node(2 + 3j).imag.value == 3.0
    with pytest.raises(AttributeError, match="str"):
        _ = a.nothing
    with pytest.raises(AttributeError):
        _ = a.__nothing__
    assert node(len)([1, 2]).value == 2
    assert node(dict)(a=a).value == {"a": "a-b"}


def test_functions_of_numpy_are_recorded() -> None:
    a = node(np.array([1.0, 4.0]))
    assert np.sqrt(a).value.tolist() == [1.0, 2.0]
    assert np.mean(a, axis=0).value == 2.5
    assert np.add.reduce(a).value == 5.0
    assert (np.ones(2) + a).value.tolist() == [2.0, 5.0]
    assert (np.ones(2) == a).value.tolist() == [True, False]
    assert np.concatenate([a, a]).value.shape == (4,)
    assert np.asarray(a).dtype == float
    assert (a.sum() / len(a)).value == 2.5


def test_what_an_operation_raises_is_raised_unchanged() -> None:
    a = node(0)
    with pytest.raises(ZeroDivisionError):
        1 / a
    with pytest.raises(KeyError, match="k"):
        node({})["k"]


def test_containers_of_nodes_become_one_node_of_plain_data() -> None:
    a, b = node(1), node("k")
    made = node([a, (2, {"x": a}), {b: 1}, frozenset((a,)), {a}])
    assert made.value == [1, (2, {"x": 1}), {"k": 1}, frozenset((1,)), {1}]
    assert {id(a), id(b)} <= {id(reached) for reached in _all(made)}
    assert plain({"x": [a], "y": Param(3, "p")}) == {"x": [1], "y": 3}
    assert plain((a, slice(a, None))) == (1, slice(1, None))
    same = [1, 2]
    assert node(same).value is same
    assert node(a) is a
    assert node(a, "named").label == "named"


def test_a_parameter_is_an_operand_and_is_read_where_it_is_used() -> None:
    p = Param(2.0, "scale")
    with applied({"scale": 3.0}):
        assert (node(5) * p).value == 15.0
        assert node(p).value == 3.0
    assert (node(5) * p).value == 10.0


def test_a_parameter_on_either_side_of_a_node_is_its_operand() -> None:
    p, n = Param(2.0, "scale"), node(5)
    for made, expected in ((p * n, 10.0), (n * p, 10.0), (p - n, -3.0), (p < n, True), (p >= n, False), (p == n, False), (p != n, True)):
        assert made.value == expected
        assert params_of(made) == [p]


def test_feedback_reaches_each_parameter_once_however_often_and_by_however_many_ways() -> None:
    p, q, unused = Param(1, "p"), Param(2, "q"), Param(3, "unused")
    shared = node(p)
    left, right = shared + 1, shared * 2
    diamond = left + right + shared + (node(p) + node(p)) + node(q)
    diamond.backward("too big", score=0.5)
    (judged,) = p.feedback
    assert (judged.text, judged.scores, judged.target) == ("too big", {"score": 0.5}, diamond)
    assert q.feedback == [judged]
    assert unused.feedback == []
    assert params_of(diamond) == [p, q]


def test_different_feedback_on_one_parameter_is_kept_apart_and_again() -> None:
    p = Param(1, "p")
    runs = [node(p) + k for k in range(3)]
    for k, run in enumerate(runs):
        run.backward(f"run {k}", {"size": k})
    runs[0].backward("once more")
    assert [(judged.text, judged.scores) for judged in p.feedback] == [
        ("run 0", {"size": 0}),
        ("run 1", {"size": 1}),
        ("run 2", {"size": 2}),
        ("once more", {}),
    ]


def test_a_score_that_is_not_finite_is_refused() -> None:
    p, fixed = Param(1, "p"), Param(2, "fixed", trainable=False)
    with pytest.raises(ValueError, match="score 'size' is inf"):
        (node(p) + 1).backward("x", {"size": math.inf})
    (node(p) + node(fixed)).backward("x")
    assert (len(p.feedback), len(fixed.feedback)) == (1, 0)


def test_siblings_of_equal_values_keep_their_own_ways() -> None:
    p, q = Param(np.float64(1.0), "p"), Param(1.0, "q")
    left, right = node(p) + np.zeros(2), node(q) + np.zeros(2)
    left.backward("left")
    assert [judged.text for judged in p.feedback] == ["left"]
    assert q.feedback == []
    assert right.inputs[0].op is q


def test_the_graph_of_a_node() -> None:
    p = Param(2, "p", description="a factor")
    x = node(3, "x")
    y = x * p
    z = node("{}{b}").format(y, b=node(p) + 1)
    judged = z
    judged.backward("too long", 0.25)
    graph = p.feedback[0].graph()
    kinds = [(row.kind, row.name, row.value) for row in graph]
    assert kinds[:3] == [("input", "x", 3), ("param", "p", 2), ("op", "mul", 6)]
    assert [name for kind, name, _ in kinds].count("p") == 1
    assert graph[2].inputs == (Edge(0, "a"), Edge(1, "b"))
    last = graph[graph.output]
    assert (last.name, last.value) == ("str.format", "63")
    assert [edge.role for edge in last.inputs][-1] == "b"
    assert graph[last.inputs[-1].source].literals == (("b", 1),)
    assert graph.functions["mul"].doc == "Same as a * b."
    assert graph.params["p"].description == "a factor"
    assert [(said.target, said.text, dict(said.scores)) for said in graph.feedback] == [(graph.output, "too long", {"score": 0.25})]
    assert len(graph_of()) == 0


def test_functions_of_one_name_stay_apart() -> None:
    f, g = (lambda x: x + 1), (lambda x: x * 2)
    graph = graph_of(node(1)._apply(f, (node(1),)) + node(1)._apply(g, (node(1),)) + node(1)._apply(f, (node(2),)))
    assert [row.name for row in graph if row.name.startswith("<lambda>")] == ["<lambda>", "<lambda>_2", "<lambda>"]


def test_a_label_is_kept() -> None:
    graph = graph_of(node(node(1) + 1, "total"))
    assert graph[graph.output].meta == {"label": "total"}


def test_copies_are_values_without_a_past() -> None:
    made = node([1]) + node([2])
    for twin in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert twin.value == [1, 2]
        assert twin.inputs == ()
    assert copy.copy(made).value is made.value
    assert copy.deepcopy(made).value is not made.value


def test_a_dropped_chain_of_any_length_is_freed() -> None:
    end = _chain(node(0), 100_000)
    first = weakref.ref(end)
    gc.disable()
    try:
        del end
        assert first() is None
    finally:
        gc.enable()


def _seconds(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


class _Floor:
    """The least that a graph can be made of."""

    __slots__ = ("inputs", "value")

    def __init__(self, value: int, inputs: tuple[object, ...]) -> None:
        self.value, self.inputs = value, inputs

    def __add__(self, other: int) -> _Floor:
        return _Floor(self.value + other, (self, other))


@pytest.mark.parametrize("length", [20_000, pytest.param(100_000, marks=pytest.mark.thorough)])
def test_backward_on_a_long_chain_and_a_wide_fan_is_linear(length: int) -> None:
    p = Param(1.0, "p")
    short, long = _chain(node(p), length // 10), _chain(node(p), length)
    few = min(_seconds(lambda: short.backward("x")) for _ in range(3))
    many = min(_seconds(lambda: long.backward("x")) for _ in range(3))
    build = min(_seconds(lambda: _chain(_Floor(1, ()), length)) for _ in range(2))
    assert many <= max(3e-6 * length, 10 * build)
    assert many / few <= 40  # linear is 10; a quadratic one would take 100 times as long
    assert len(graph_of(long)) == length + 1
    fan = node([node(Param(k, f"p{k}")) for k in range(length // 10)])
    assert min(_seconds(lambda: fan.backward("x")) for _ in range(3)) <= max(1e-6 * length, build)


def test_a_node_is_cheap() -> None:
    rounds = [(_seconds(lambda: _chain(_Floor(1, ()), 20_000)), _seconds(lambda: _chain(node(1), 20_000))) for _ in range(7)]
    floor, ours = (min(times) for times in zip(*rounds, strict=True))
    assert ours <= max(20_000 * 2e-6, 12 * floor)
    gc.collect()
    tracemalloc.start()
    try:
        held = _chain(node(1), 10_000)
        assert tracemalloc.get_traced_memory()[0] / 10_000 <= 400
        assert held.value == 10_001
    finally:
        tracemalloc.stop()


def test_threads_do_not_meet() -> None:
    p = Param(1, "p")
    ends: dict[int, Node] = {}

    def work(k: int) -> None:
        ends[k] = _chain(node(p) * k, 2000)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    serials = set()
    for k, end in ends.items():
        assert end.value == k + 2000
        reached = _all(end)
        assert len(reached) == 2002
        serials |= {made.serial for made in reached}
    assert len(serials) == 8 * 2002


def _chain(start, n: int):
    for _ in range(n):
        start = start + 1
    return start


def _all(end: Node) -> list[Node]:
    found, stack = {id(end): end}, [end]
    while stack:
        for given in stack.pop().inputs:
            if isinstance(given, Node) and id(given) not in found:
                found[id(given)] = given
                stack.append(given)
    return list(found.values())


def test_an_empty_graph_is_a_graph() -> None:
    assert isinstance(graph_of(), Graph)
