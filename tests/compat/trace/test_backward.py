"""Conformance group 5: feedback reaches every parameter once, whatever the shape of the graph, any number of times."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from agentopt.compat.trace import Node, ParameterNode, bundle, node, operators, stop_tracing
from agentopt.trace.params import applied


def said(parameter) -> list[str]:
    return [one.user_feedback for pieces in parameter.feedback.values() for one in pieces]


def test_feedback_reaches_every_parameter_with_its_part_of_the_graph() -> None:
    x, y = node(1, name="x", trainable=True), node(1, name="y", trainable=True)
    output = x * 2 + y * 3 + 1
    output.backward("test feedback", score=0.5)
    for parameter, other in ((x, y), (y, x)):
        ((target, (piece,)),) = parameter.feedback.items()
        assert target is output
        assert (piece.user_feedback, piece.scores) == ("test feedback", {"score": 0.5})
        shown = [made for _, made in piece.graph]
        assert any(made is parameter for made in shown)
        assert any(made is output for made in shown)
        assert not any(made is other for made in shown)
        assert [level for level, _ in piece.graph][-1] == output.level == 3
        assert len(piece) == len(shown)
        assert piece.whole().feedback[0].text == "test feedback"
    assert output.feedback == {}
    output.zero_feedback()
    x.zero_feedback()
    assert x.feedback == {}
    assert said(y) == ["test feedback"]


@bundle(trainable=True)
def learnt(x):
    """Squares."""
    return x**2 + 1


def test_feedback_reaches_code() -> None:
    learnt.parameter.zero_feedback()
    y = learnt(node(-1))
    y.backward("test feedback")
    ((piece,),) = learnt.parameter.feedback.values()
    graph = piece.whole()
    assert [graph.name(number) for number in graph.of_kind("param")] == ["learnt"]
    assert graph.functions["eval"].doc == "Squares."
    assert graph.value(graph.output) == 2
    learnt.parameter.zero_feedback()


def test_different_feedback_on_a_shared_parameter() -> None:
    p = node("prompt", name="p", trainable=True)
    first, second = p + " a", p + " b"
    first.backward("too short")
    second.backward("too long")
    first.backward("again")
    assert said(p) == ["too short", "again", "too long"]
    assert [len(pieces) for pieces in p.feedback.values()] == [2, 1]


def test_diamonds_repeated_arguments_and_roots() -> None:
    p = node(2, name="p", trainable=True)
    left, right = p + 1, p * 2
    diamond = left * right + p * p
    diamond.backward("once")
    assert said(p) == ["once"]
    square = p * p
    assert square.parents == [p]
    assert len(square.inputs) == 2
    p.backward("said to it directly")
    assert said(p) == ["once", "said to it directly"]


def test_equal_valued_siblings_and_arrays() -> None:
    for value in (1.0, np.ones(3)):
        p, q = node(value, name="p", trainable=True), node(value, name="q", trainable=True)
        left, right = p + 0, q + 0
        both = left + right
        left.backward("left")
        assert (said(p) == ["left"]) == isinstance(value, float)
        assert said(q) == []
        assert both.parents == [left, right]
        assert right in both.parents
        assert both in right.children


def test_options_of_trace_and_feedback_that_is_no_text() -> None:
    p = node(1, name="p", trainable=True)
    (p + 1).backward(ValueError("too small"), retain_graph=True)
    (p + 1).backward(node("a node"))
    with pytest.warns(UserWarning, match="visualize has no effect"):
        (p + 1).backward("seen", visualize=True)
    with pytest.raises(TypeError, match="visualise"):
        (p + 1).backward("never", visualise=True)
    assert said(p) == ["too small", "a node", "seen"]

    def typed(x: Node[str]) -> ParameterNode[int]:
        return x

    assert typed(p) is p
    assert Node[str].__origin__ is Node


def test_a_candidate_that_is_applied_counts_for_nodes_and_code() -> None:
    p = node("written", name="prompt", trainable=True)

    @bundle(trainable=True)
    def shout(text):
        return text.upper()

    learnt = "def shout(text):\n    return text + '!'\n"
    with applied({"prompt": "tried", "shout": learnt}):
        made = shout(p)
    assert (made.data, shout(p).data) == ("tried!", "WRITTEN")
    assert p.data == "written"


def test_arrays_on_the_way() -> None:
    p = node(2.0, name="p", trainable=True)
    z = (node(np.arange(3.0)) * p).sum()
    z.backward("bigger")
    assert z == 6.0
    assert said(p) == ["bigger"]


def test_what_is_not_trainable_gets_nothing() -> None:
    x = node(1)
    (x + 1).backward("nobody listens")
    x.backward()
    assert x.feedback == {}
    with stop_tracing():
        p = node(1, trainable=True)
        (p + 1).backward("not recorded")
    assert p.feedback == {}


def _seconds(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_long_chains_and_wide_fans_take_linear_time() -> None:
    p = node(1, name="p", trainable=True)
    chains = []
    for n in (1_000, 10_000):
        z = p
        for _ in range(n):
            z = z + 1
        chains.append(z)
    few, many = (min(_seconds(lambda z=z: z.backward("x")) for _ in range(3)) for z in chains)
    assert many / few <= 40  # linear is 10; Trace's way would take 100 times as long
    assert len(said(p)) == 6
    parameters = [node(k, trainable=True) for k in range(2_000)]
    node(parameters).backward("wide")
    assert all(said(parameter) == ["wide"] for parameter in parameters)


@pytest.mark.parametrize("n", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_chain_needs_no_recursion_and_is_freed(n) -> None:
    p = node(0, name="p", trainable=True)
    z = p
    for _ in range(n):
        z = z + 1
    z.backward("far")
    z.backward("and again")
    assert z.level == n
    gone = weakref.ref(z)
    p.zero_feedback()
    del z
    gc.collect()
    assert gone() is None


def test_nothing_is_kept_that_nobody_holds() -> None:
    p = node(1, name="p", trainable=True)

    @bundle()
    def fun(x):
        return [x]

    made = [weakref.ref(operators.add(fun(p), [1])) for _ in range(500)]
    gc.collect()
    assert [ref for ref in made if ref() is not None] == []
    assert p.children == []
    held = fun(p)
    assert p.children == [held]


def test_names_and_calls_of_many_threads_do_not_mix() -> None:
    p = node(1, name="p", trainable=True)
    made: dict[int, list] = {}

    @bundle()
    def fun(x, k):
        return x.__class__(k)

    def work(thread: int) -> None:
        with stop_tracing() if thread == 0 else threading.Lock():
            made[thread] = [(k, fun(p, k)) for k in range(thread * 1000, thread * 1000 + 300)]

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    nodes = [one for pairs in made.values() for _, one in pairs]
    assert len({one.name for one in nodes}) == 8 * 300
    for thread, pairs in made.items():
        for k, one in pairs:
            assert one.data == one.info["output"] == one.info["inputs"]["args"][1] == k
            assert len(one.parents) == (0 if thread == 0 else 2)
    assert len(p.children) == 7 * 300
