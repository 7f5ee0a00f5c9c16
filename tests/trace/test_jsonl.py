"""Traces are saved and loaded as data: what comes back is what was there, and what cannot be read is said."""

from __future__ import annotations

import json
import math

import pytest

from agentopt.core.errors import UserError
from agentopt.trace.export import to_mermaid
from agentopt.trace.graph import Edge, Feedback, FunctionInfo, Graph, Node, ParamInfo
from agentopt.trace.jsonl import dump, load
from agentopt.trace.otel import to_otlp
from agentopt.trace.params import Param
from agentopt.trace.recorder import record
from agentopt.trace.render import render
from agentopt.trace.traced import traced
from agentopt.trace.values import More, Outline


def with_values(*values):
    graph = Graph()
    for value in values:
        graph.add(Node(0, "input", "x", value))
    return graph


def test_a_recorded_trace_comes_back():
    prompt = Param("Answer the question: {q}", "prompt", description="what to do")

    @traced
    def answer(q):
        if not q:
            raise ValueError("no question")
        return [prompt.format(q=q), (1, 2.5)]

    with record() as trace:
        trace.backward(answer("why"), "too short", {"accuracy": 0.5})
        with pytest.raises(ValueError, match="no question"):
            answer("")
    graph = trace.graph()
    again = load(dump(graph))
    assert dump(again) == dump(graph)
    assert [node._replace(value=None, started=0, seconds=0) for node in again][:3] == [
        node._replace(value=None, started=0, seconds=0) for node in graph
    ][:3]
    assert [node.value for node in again][:3] == [node.value for node in graph][:3]
    assert again[3].value == Outline("ValueError", "ValueError('no question')")
    assert again[3].meta["where"] == graph[3].meta["where"]
    assert (again.output, again.params, again.functions, again.feedback) == (graph.output, graph.params, graph.functions, graph.feedback)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**70),
        1.5,
        "text \ud800 \x00 ü",
        [1, [2, {"a": None}]],
        {"a": 1, "$": "x"},
        {"$": "tuple", "items": []},
        {1: "a", (2, 3): [4]},
        (1, (2,)),
        {1, 2},
        frozenset({"a"}),
        b"\x00\xff",
        bytearray(b"abc"),
        1 + 2j,
        math.inf,
        -math.inf,
        More(5),
        Outline("Thing", "Thing(1)"),
    ],
)
def test_values_come_back(value):
    (node,) = load(dump(with_values(value)))
    assert node.value == value
    assert type(node.value) is type(value)


def test_values_that_are_equal_to_nothing_come_back():
    numpy = pytest.importorskip("numpy")
    nan, array, objects = load(dump(with_values(math.nan, numpy.arange(6).reshape(2, 3), numpy.array([None, {}], dtype=object))))
    assert math.isnan(nan.value)
    assert array.value.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert objects.value == Outline("ndarray", "array([None, {}], dtype=object)")


def test_arrays_without_numpy(monkeypatch):
    numpy = pytest.importorskip("numpy")
    data = dump(with_values(numpy.zeros((2, 3))))
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    assert load(data)[0].value == Outline("ndarray", "<ndarray <f8 (2, 3)>")


def test_what_no_json_has_comes_back_as_text():
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]
    thing, number, nested = load(dump(with_values(test_arrays_without_numpy, 10**5000, deep)))
    assert thing.value.type == "function"
    assert number.value == Outline("int", "<int of 16610 bits>")
    assert nested.value is not None


def test_keys_that_are_not_known_are_ignored():
    lines = dump(with_values(1)).splitlines()
    header, node = (json.loads(line) | {"later": {"a": 1}} for line in lines)
    header["functions"] = {"f": {"name": "f", "source": "x", "later": 3}}
    header["params"] = {"p": {"name": "p", "later": 3}}
    graph = load(b"\n".join(json.dumps(line).encode() for line in (header, node)))
    assert graph.functions == {"f": FunctionInfo("f", source="x")}
    assert graph.params == {"p": ParamInfo("p")}
    assert graph[0].value == 1


def good():
    graph = with_values(1, 2)
    graph.add(Node(0, "call", "f", 3, (Edge(0, "x"), Edge(1, "y", "inferred")), (("z", 1),), meta={"a": 1}))
    graph.feedback.append(Feedback(2, "fine", {"score": 1.0}))
    return dump(graph)


def changed(line, **fields):
    lines = good().splitlines()
    lines[line] = json.dumps(json.loads(lines[line]) | fields).encode()
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "this is no trace: its first line is not the header"),
        (b"\x80\x04pickle", "this is no trace"),
        (b"[1]", "this is no trace"),
        (b'{"a": 1}', "this is no trace"),
        (changed(0, agentopt_trace=2), "the trace has version 2, and this agentopt reads versions up to 1; upgrade agentopt"),
        (changed(0, agentopt_trace="x"), "the trace has version 'x'"),
        (changed(0, nodes="x"), "line 1 is damaged"),
        (changed(0, nodes=9), "the trace is cut off: it holds 3 of its 9 nodes"),
        (changed(0, output=7), "there is no node 7"),
        (changed(0, functions=3), "line 1 is damaged"),
        (changed(2, kind="other"), "line 3 is damaged (ValueError: there is no kind 'other')"),
        (changed(2, kind=[]), "line 3 is damaged"),
        (changed(3, inputs=[[9, "x"]]), "there is no node 9"),
        (changed(3, inputs=[[-1, "x"]]), "is no edge"),
        (changed(3, inputs=[[0, "x", "other"]]), "is no edge"),
        (changed(3, inputs=[[0]]), "line 4 is damaged"),
        (changed(3, inputs=3), "line 4 is damaged"),
        (changed(3, literals=[[[], 1]]), "line 4 is damaged"),
        (changed(3, span=3), "there is no node 3"),
        (changed(3, started="x"), "line 4 is damaged"),
        (changed(3, value={"$": "float"}), "line 4 is damaged"),
        (changed(3, value={"$": []}), "line 4 is damaged"),
        (changed(3, meta=[]), "line 4 is damaged"),
        (changed(0, nodes=math.inf), "line 1 is damaged (OverflowError"),
        (changed(0, functions={"f": {"name": "f", "source": 3}}), "line 1 is damaged (ValueError: source is 3)"),
        (changed(0, params={"p": {"name": "p", "trainable": "x"}}), "line 1 is damaged (ValueError: trainable is 'x')"),
        (changed(0, feedback=[{"target": 0, "scores": {"s": 10**400}}]), "line 1 is damaged (OverflowError"),
        (changed(3, inputs=[[0, 3]]), "line 4 is damaged (ValueError: 3 names no argument)"),
        (changed(3, seconds=math.nan), "line 4 is damaged (ValueError: a time is nan s)"),
        (changed(3, started=1e300), "line 4 is damaged (ValueError: a time is 1e+300 s)"),
        (good()[:-40], "line 4 is damaged"),
        (b"\n".join(good().splitlines()[:-1]), "the trace is cut off: it holds 2 of its 3 nodes; take another copy of it"),
        (good().splitlines()[0] + b"\n" + b"[" * 100_000, "line 2 is damaged"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(data, says):
    with pytest.raises(UserError) as caught:
        load(data)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def nested(depth):
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def _places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*path, key))


def _replaced(value, path, by):
    if not path:
        return by
    copied = value.copy()
    copied[path[0]] = _replaced(value[path[0]], path[1:], by)
    return copied


def _loaded(data):
    try:
        return load(data), ""
    except UserError as error:
        return Graph(), str(error)


_HOSTILE = [
    None,
    True,
    -1,
    10**400,
    math.inf,
    math.nan,
    "",
    "\x1b[31m",
    [[]],
    {},
    {"$": "array", "dtype": "<f8", "shape": [0], "base64": ""},
]


@pytest.mark.parametrize("by", [*_HOSTILE, nested(900)], ids=lambda by: repr(by)[:20])
def test_a_file_of_others_is_one_sentence_or_a_graph_that_can_be_shown(by):
    graph = load(good())
    graph.functions["f"] = FunctionInfo("f", source="def f(): ...")
    graph.add(Node(0, "exception", "f", None, (Edge(2, "x", "contains"),), span=2, meta={"error": "E", "message": "m", "where": "w"}))
    graph.output, lines = 3, [json.loads(line) for line in dump(graph).splitlines()]
    for number, line in enumerate(lines):
        for path in _places(line):
            data = b"\n".join(json.dumps(_replaced(line, path, by) if at == number else each).encode() for at, each in enumerate(lines))
            loaded, said = _loaded(data)
            assert "\n" not in said
            load(dump(loaded))
            render([loaded], 2000)
            to_mermaid(loaded)
            to_otlp(loaded)


def test_lines_after_the_last_node_are_ignored():
    assert len(load(good() + b"not json\n")) == 3


@pytest.mark.parametrize("length", [5_000, pytest.param(100_000, marks=pytest.mark.thorough)])
def test_a_long_chain_is_saved_and_loaded(length):
    step = traced(lambda x: x + 1.0)
    start = Param(0.5, "start")
    with record() as trace:
        value = start.value
        for _ in range(length):
            value = step(value)
        trace.output(value)
    graph = load(dump(trace.graph()))
    assert len(graph) == length + 1
    assert graph[graph.output].value == length + 0.5
    assert len(graph.subgraph([graph.output])) == length + 1
