"""Proxies that traced calls were given or returned are linked to what made them."""

from __future__ import annotations

from agentopt.trace.node import node
from agentopt.trace.params import Param
from agentopt.trace.recorder import record
from agentopt.trace.traced import traced


@traced
def use(*args, **kwargs):
    return object()


def shape(graph):
    return [(each.kind, each.name, [(edge.source, edge.role, edge.how) for edge in each.inputs]) for each in graph]


def test_a_proxy_that_a_call_was_given_is_linked_to_its_operations():
    weight = Param(2.0, "weight")
    with record() as trace:
        total = node(weight) * 3.0 + node(1.5, "offset")
        use(total, [total, 1])
    graph = trace.graph()
    assert shape(graph) == [
        ("param", "weight", []),
        ("op", "mul", [(0, "a", "arg")]),
        ("input", "offset", []),
        ("op", "add", [(1, "a", "arg"), (2, "b", "arg")]),
        ("call", "use", [(3, "arg0", "arg"), (3, "arg1", "arg")]),
    ]
    assert graph.subgraph([4]) == [0, 1, 3, 4]
    assert graph.value(3) == 7.5


def test_a_proxy_of_what_a_call_made_came_from_that_call():
    make = traced(lambda: "made".join(["a", "b"]))
    with record() as trace:
        made = node(make())
        use(made + "!")
    graph = trace.graph()
    assert [each.name for each in graph] == ["<lambda>", "add", "use"]
    assert [edge.source for edge in graph[1].inputs] == [0]


def test_a_proxy_that_a_call_returned_hangs_on_that_call():
    prompt = Param("the text of it", "prompt")

    @traced
    def wrap():
        return (node(prompt.value.upper()), 1)

    with record() as trace:
        wrapped, _ = wrap()
        trace.output(use(wrapped + "?"))
    graph = trace.graph()
    assert shape(graph) == [
        ("call", "wrap", [(1, "prompt", "reads")]),
        ("param", "prompt", []),
        ("op", "add", [(0, "a", "arg")]),
        ("call", "use", [(2, "arg0", "arg")]),
    ]
    assert graph.subgraph([graph.output]) == [0, 1, 2, 3]


def test_a_proxy_is_a_target():
    weight = Param(2.0, "weight")
    with record() as trace:
        use(1.5)
        total = node(weight) + 1.0
    trace.backward(total, "too much", 0.5)
    graph = trace.graph()
    assert graph[graph.feedback[0].target].value == 3.0
    assert [said.text for said in weight.feedback] == ["too much"]


def test_operations_inside_of_a_call_are_inside_of_it():
    @traced
    def work(x):
        doubled = x * 2.0
        use(doubled)
        return doubled

    start = node(1.5)
    with record() as trace:
        work(start)
    graph = trace.graph()
    assert [(each.name, each.span) for each in graph] == [("input", -1), ("work", -1), ("mul", 1), ("use", 1)]
    assert [(edge.source, edge.how) for edge in graph[1].inputs] == [(0, "arg"), (2, "contains"), (3, "contains")]


def test_proxies_of_parameters_read_before_the_trace_began():
    weight = Param(2.0, "weight")
    before = node(weight) + 1.0
    with record() as trace:
        use(before)
    graph = trace.graph()
    assert [(each.kind, each.name) for each in graph] == [("param", "weight"), ("op", "add"), ("call", "use")]
    assert list(graph.params) == ["weight"]


def test_a_long_chain_of_proxies_needs_no_recursion():
    total = node(0.5)
    for _ in range(20_000):
        total = total + 1.0
    with record() as trace:
        use(total)
    assert len(trace.graph()) == 20_002
