from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from hypothesis import given, settings

from agentopt.trace.export import to_json, to_mermaid, to_networkx
from agentopt.trace.graph import Edge, Feedback, Graph, Node, ParamInfo
from agentopt.trace.picture import Picture, draw, seconds_text
from agentopt.trace.svg import to_svg
from tests.trace.graphs import agent, any_graph, chain

SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def counted(picture: Picture) -> int:
    """Steps that a picture shows or counts."""
    return sum(len(box.nodes) for box in picture.boxes[picture.given :])


# --- data


def test_networkx_has_every_node_and_edge() -> None:
    graph = agent("q")
    made: Any = to_networkx(graph)
    assert made.graph["output"] == graph.output
    assert list(made.nodes) == [node.id for node in graph]
    assert made.nodes[1]["name"] == "plan"
    assert made.nodes[1]["seconds"] == 0.4
    edges = {(source, target, about["role"], about["how"]) for source, target, about in made.edges(data=True)}
    assert edges == {(edge.source, node.id, edge.role, edge.how) for node in graph for edge in node.inputs}


def test_json_has_all_of_it() -> None:
    graph = agent("q", error=ValueError("no"))
    graph.add(Node(0, "op", "odd", {1: (float("nan"), {2}), "deep": [[1.5]]}))
    data = json.loads(json.dumps(to_json(graph), allow_nan=False))
    assert [node["name"] for node in data["nodes"]] == ["question", "plan", "planner prompt", "gpt-4o", "class", "answer", "odd"]
    assert data["nodes"][5]["value"] == "ValueError: no"
    assert data["nodes"][6]["value"] == {"1": ["nan", "{2}"], "deep": [[1.5]]}
    assert data["nodes"][1]["inputs"][1] == {"source": 2, "role": "planner prompt", "how": "reads"}
    assert data["params"]["planner prompt"]["constraint"] == "At most 3 steps."
    assert data["feedback"] == [{"target": 5, "text": "too long\nsay one word", "scores": {"exact": 0.0}}]
    assert data["output"] == 5


# --- what a picture shows


def test_a_small_trace_is_shown_whole() -> None:
    picture = draw(agent("q"))
    assert [(box.kind, box.title, box.depth) for box in picture.boxes] == [
        ("param", "planner prompt", 0),
        ("param", "class", 0),
        ("input", "question", 0),
        ("call", "plan", 0),
        ("llm", "gpt-4o", 1),
        ("call", "answer", 0),
    ]
    assert picture.given == 3
    assert {(arrow.source, arrow.target, arrow.how) for arrow in picture.arrows} == {
        (0, 3, "reads"),
        (0, 4, "inferred"),
        (1, 5, "arg"),
        (2, 3, "arg"),
        (2, 5, "arg"),
        (3, 5, "arg"),
    }
    assert picture.remarks == ((5, "[exact 0] too long\nsay one word"),)


def test_what_models_took_is_known() -> None:
    graph = Graph()
    graph.add(Node(0, "llm", "m", "x", meta={"tokens_in": 1200, "tokens_out": 3, "cost_usd": 0.5}))
    graph.add(Node(0, "llm", "m", "x", meta={"tokens_in": None, "cost_usd": None}))
    first, second = draw(graph).boxes
    assert (first.tokens, first.cost) == ((1200, 3), 0.5)
    assert (second.tokens, second.cost) == (None, None)


def test_a_long_trace_is_some_boxes_and_the_rest_counted() -> None:
    picture = draw(chain(1000))
    assert len(picture.boxes) <= 60
    assert counted(picture) == 1000
    [gap] = [box for box in picture.boxes if box.kind == "gap" and len(box.nodes) > 100]
    assert gap.title == f"{len(gap.nodes)} more calls of step"


def test_many_parameters_and_inputs_are_counted_too() -> None:
    graph = Graph()
    for number in range(30):
        graph.add(Node(0, "param", f"p{number}", number))
    graph.add(Node(0, "call", "f", 1, tuple(Edge(number, "x") for number in range(30))))
    picture = draw(graph)
    assert picture.given == 13
    assert picture.boxes[12].title == "18 more parameters"
    assert len(picture.arrows) == 13


def test_levels_that_are_not_opened_are_counted() -> None:
    picture = draw(agent("q"), depth=1)
    assert [(box.title, box.around) for box in picture.boxes[picture.given :]] == [
        ("plan", -1),
        ("1 more call of gpt_4o", 3),
        ("answer", -1),
    ]


def test_one_gap_never_reaches_out_of_its_frame() -> None:
    graph = Graph()
    for _ in range(2):
        outer = graph.add(Node(0, "call", "outer", 1))
        for _ in range(3):
            graph.add(Node(0, "call", "inner", 1, span=outer))
    boxes = draw(graph, depth=1).boxes
    assert [(box.title, box.around) for box in boxes] == [
        ("outer", -1),
        ("3 more calls of inner", 0),
        ("outer", -1),
        ("3 more calls of inner", 2),
    ]


@settings(max_examples=100, deadline=None)
@given(any_graph())
def test_any_trace_has_pictures(graph: Graph) -> None:
    picture = draw(graph, most=10)
    assert counted(picture) == sum(node.kind not in ("input", "param") for node in graph)
    assert all(box.around < number for number, box in enumerate(picture.boxes))
    svg = to_svg(graph, most=10)
    assert ElementTree.fromstring(svg).tag == f"{SVG}svg"
    assert svg == to_svg(graph, most=10)
    assert to_mermaid(graph).startswith("flowchart TD\n")


# --- drawings


def test_the_picture_says_what_happened() -> None:
    graph = agent("Capital of <France> & Peru?\x00\ufffe")
    shown = words(to_svg(graph))
    assert shown[0] == "3 steps · 470 ms · 1 call of models · 31 → 12 tokens · $0.00021"
    for text in ("planner prompt", "class", "question", "plan", "gpt-4o", "answer", "'Paris'", "400 ms", "parameter", "model"):
        assert text in shown
    assert any("<France> & Peru" in text for text in shown)
    assert any("answer: [exact 0] too long say one word" in text for text in shown)
    assert "failed" not in shown


def test_the_way_of_an_exception_is_red() -> None:
    graph = Graph()
    graph.params["p"] = ParamInfo("p", "prompt")
    error = ValueError("no such city")
    outer = graph.add(Node(0, "exception", "answer", error))
    read = graph.add(Node(0, "param", "p", "text", span=outer))
    before = graph.add(Node(0, "tool", "search", "found", span=outer))
    graph.add(Node(0, "exception", "parse", error, (Edge(read, "p"), Edge(before, "x")), span=outer))
    svg = to_svg(graph)
    assert svg.count('fill="#fde2e2" stroke="#e5484d" stroke-width="2"') == 2
    assert {"✗ answer", "✗ parse", "failed", "ValueError: no such city"} <= set(words(svg))
    mermaid = to_mermaid(graph)
    assert re.findall(r"class (\w+) failing", mermaid) == ["s1", "n3"]


def test_a_picture_needs_nothing_from_elsewhere() -> None:
    graph = agent("<script>alert(1)</script> https://example.org")
    graph.feedback.append(Feedback(0, "</title><script>"))
    root = ElementTree.fromstring(to_svg(graph))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "style", "title", "g", "rect", "path", "text"}
    assert not [value for element in root.iter() for key, value in element.attrib.items() if "href" in key or "url(" in value]


def test_many_remarks_and_wide_letters() -> None:
    graph = agent("都市" * 100)
    graph.feedback = [Feedback(-1, f"remark {number}") for number in range(20)]
    shown = words(to_svg(graph))
    assert "▸ remark 5" in shown
    assert "... 14 more remarks" in shown
    assert max(len(text) for text in shown if "都" in text) < 30


def test_arrows_have_lanes_and_share_the_last() -> None:
    graph = Graph()
    for number in range(38):
        graph.add(Node(0, "call", f"f{number}", number, tuple(Edge(source, f"x{source}") for source in range(number))))
    svg = to_svg(graph)
    assert len(ElementTree.fromstring(svg).findall(f"{SVG}path")) == 38 * 37
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) < 1200  # type: ignore[index]


def test_mermaid_frames_spans_and_escapes_what_could_end_a_label() -> None:
    graph = agent('say "hi"] --> n9\n%% `x` <b>#')
    text = to_mermaid(graph)
    assert '  subgraph s3 ["plan<br>400 ms<br>' in text
    assert "  n0 -.-> s3\n" in text
    assert "  n0 -. perhaps .-> n4\n" in text
    assert "  s3 --> n5\n" in text
    assert '"hi"' not in text
    assert "#34;hi#34;#93;" in text
    assert "  f0>" in text
    assert "  n5 --- f0\n" in text
    assert "class n0 param" in text


def test_a_remark_on_the_whole_hangs_on_nothing() -> None:
    graph = agent("q")
    graph.feedback = [Feedback(-1, "of all")]
    assert "--- f0" not in to_mermaid(graph)


def test_durations_are_short() -> None:
    assert [seconds_text(each) for each in (0.000003, 0.0004, 0.0123, 1.25, 99, 200)] == [
        "<0.1 ms",
        "0.4 ms",
        "12.3 ms",
        "1.25 s",
        "99 s",
        "3 min 20 s",
    ]


@pytest.mark.parametrize("length", [10_000, pytest.param(100_000, marks=pytest.mark.thorough)])
def test_a_picture_of_many_nodes_is_small_and_takes_linear_time(length: int) -> None:
    few, many = chain(length // 10, ("step", "tokenize")), chain(length, ("step", "tokenize"))
    assert len(to_svg(many)) < 40_000
    assert _seconds(many) <= 40 * _seconds(few)  # linear is 10, quadratic 100


def _seconds(graph: Graph) -> float:
    taken = []
    for _ in range(3):
        began = time.process_time()
        to_svg(graph)
        taken.append(time.process_time() - began)
    return min(taken)
