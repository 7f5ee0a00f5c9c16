from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentopt.core.errors import MissingExtra, UserError
from agentopt.trace.export import to_json
from agentopt.trace.graph import Edge, Feedback, Graph, Node
from agentopt.trace.merge import merge
from agentopt.trace.otel import CONVENTION, from_otlp, to_otlp
from agentopt.trace.otel_sdk import SpanTraces, span_traces
from agentopt.trace.otlp import attributes_of
from tests.trace.graphs import agent, any_graph, chain


def through(graph: Graph) -> Graph:
    return from_otlp(json.dumps(to_otlp(graph)).encode())


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}


def spans_of(graph: Graph) -> list[dict[str, Any]]:
    return to_otlp(graph)["resourceSpans"][0]["scopeSpans"][0]["spans"]


def foreign(*spans: dict[str, Any], trace: str = "ab" * 16) -> bytes:
    """A file as some other program writes it. Spans are given by name, id, parent, times and attributes."""
    written = []
    for number, span in enumerate(spans):
        pairs = [
            {"key": key, "value": value if isinstance(value, dict) else {"stringValue": value}}
            for key, value in span.get("about", {}).items()
        ]
        written.append(
            {
                "traceId": trace,
                "spanId": span.get("id", f"{number + 1:016x}"),
                "parentSpanId": span.get("parent", ""),
                "name": span.get("name", "a span"),
                "startTimeUnixNano": str(span.get("began", number) * 10**9),
                "endTimeUnixNano": str(span.get("ended", number + 1) * 10**9),
                "attributes": pairs,
                "status": span.get("status", {}),
                "events": span.get("events", []),
            }
        )
    return json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": written}]}]}).encode()


def graph_or_sentence(data: bytes) -> Graph | str:
    try:
        return from_otlp(data)
    except UserError as error:
        return str(error)


def chat(said: str, reply: str, **more: Any) -> dict[str, Any]:
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.temperature": {"doubleValue": 0.5},
        "gen_ai.usage.input_tokens": {"intValue": "31"},
        "gen_ai.usage.output_tokens": {"intValue": 12},
        "gen_ai.response.finish_reasons": {"arrayValue": {"values": [{"stringValue": "stop"}]}},
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": said}]}]),
        "gen_ai.output.messages": json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": reply}], "finish_reason": "stop"}]
        ),
    }
    return {"name": "chat gpt-4o", "about": about, **more}


# --- there and back


@pytest.mark.parametrize(
    "graph", [agent("q"), agent("q", error=ValueError("no")), chain(30), Graph()], ids=["agent", "failed", "chain", "empty"]
)
def test_a_trace_comes_back_with_its_structure(graph: Graph) -> None:
    if not len(graph):
        with pytest.raises(UserError, match="there is no span in it"):
            through(graph)
        return
    back = through(graph)
    assert len(merge([graph, back])) == 1
    assert back.params == graph.params
    assert back.functions == graph.functions
    assert back.feedback == graph.feedback
    assert back.output == graph.output
    for before, after in zip(graph, back, strict=True):
        if before.kind != "exception":
            assert after.value == before.value
            assert after.literals == before.literals
            assert after.meta == before.meta
        assert after.seconds == pytest.approx(before.seconds, abs=1e-8)
        assert after.started == pytest.approx(before.started, abs=1e-8)


def test_what_was_raised_comes_back_as_text() -> None:
    graph = agent("q", error=ValueError("no: never"))
    node = through(graph)[graph.output]
    assert node.value == "ValueError: no: never"
    span = spans_of(graph)[graph.output]
    assert span["status"] == {"code": 2, "message": "no: never"}
    assert attributes(span)["error.type"] == "ValueError"
    assert attributes(span["events"][0])["exception.type"] == "ValueError"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_graph())
def test_any_trace_comes_back_with_its_structure(graph: Graph) -> None:
    if len(graph):
        back = through(graph)
        assert len(merge([graph, back])) == 1
        assert to_json(back) == to_json(through(back))
        assert [each.text for each in back.feedback] == [each.text for each in graph.feedback]


def test_feedback_is_an_evaluation_of_the_span_or_said_of_the_whole() -> None:
    graph = agent("q")
    graph.feedback = [
        Feedback(1, "fine", {"a": 1.0, "b": 2.0}),
        Feedback(-1, "of all", {"c": 0.0}),
        Feedback(1, "no score"),
        Feedback(4, "", {"d": 3.0}),
    ]
    events = spans_of(graph)[1]["events"]
    assert [event["name"] for event in events] == ["gen_ai.evaluation.result"] * 3
    assert attributes(events[0])["gen_ai.evaluation.name"] == "a"
    assert attributes(events[0])["gen_ai.evaluation.score.value"] == 1.0
    assert attributes(events[0])["gen_ai.evaluation.explanation"] == "fine"
    assert through(graph).feedback == [graph.feedback[0], graph.feedback[2], graph.feedback[3], graph.feedback[1]]


def test_calls_of_models_and_tools_have_the_names_of_the_convention() -> None:
    graph = Graph()
    meta = {
        "tokens_in": 3,
        "tokens_out": 4,
        "provider": "openai",
        "served_by": "m-1",
        "finish": "length",
        "settings": {"temperature": 0.5, "n": 2},
    }
    call = {"id": "c1", "function": {"name": "search", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "x"}}, "there"]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
        "just text",
        {"odd": 1},
    ]
    graph.add(Node(0, "llm", "m", "hello", (), (("messages", messages),), meta=meta))
    graph.add(Node(0, "tool", "search", [1, 2], (), (("query", "x"),)))
    graph.add(Node(0, "llm", "m", "hello"))
    first, second, third = map(attributes, spans_of(graph))
    assert CONVENTION == "0.66b2"
    assert first["gen_ai.operation.name"] == "chat"
    assert (first["gen_ai.request.model"], first["gen_ai.response.model"], first["gen_ai.provider.name"]) == ("m", "m-1", "openai")
    assert (first["gen_ai.usage.input_tokens"], first["gen_ai.usage.output_tokens"]) == ("3", "4")
    assert first["gen_ai.request.temperature"] == 0.5
    said = json.loads(first["gen_ai.input.messages"])
    assert said[0]["parts"][0] == {"type": "text", "content": "hi"}
    assert said[0]["parts"][2] == {"type": "text", "content": "there"}
    assert said[1] == {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "search", "arguments": "{}"}]}
    assert said[2] == {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "found"}]}
    assert said[3] == {"role": "user", "parts": [{"type": "text", "content": "just text"}]}
    assert said[4] == {"role": "user", "parts": [{"type": "text", "content": '{"odd": 1}'}]}
    [reply] = json.loads(first["gen_ai.output.messages"])
    assert reply == {"role": "assistant", "parts": [{"type": "text", "content": "hello"}], "finish_reason": "length"}
    assert (second["gen_ai.operation.name"], second["gen_ai.tool.name"]) == ("execute_tool", "search")
    assert (second["gen_ai.tool.call.arguments"], second["gen_ai.tool.call.result"]) == ('{"query": "x"}', "[1, 2]")
    assert "gen_ai.input.messages" not in third


def test_the_names_are_those_of_the_package_of_that_version() -> None:
    """Where it is installed."""
    pytest.importorskip("opentelemetry.semconv")
    from importlib.metadata import version

    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes  # pyright: ignore

    from agentopt.trace import otel_names

    if version("opentelemetry-semantic-conventions") != CONVENTION:
        pytest.skip("another version is installed")
    known = {value for key, value in vars(gen_ai_attributes).items() if key.startswith("GEN_AI_")}
    ours = {
        otel_names.INPUT,
        otel_names.OUTPUT,
        otel_names.OPERATION,
        otel_names.MODEL,
        otel_names.TOOL,
        otel_names.ARGUMENTS,
        otel_names.RESULT,
    }
    ours |= {*otel_names.FACTS.values(), *otel_names.SETTINGS.values(), *otel_names.FORMER, *otel_names.FORMER.values()}
    assert ours <= known
    assert set(otel_names.KINDS_OF) <= {each.value for each in gen_ai_attributes.GenAiOperationNameValues}


# --- what others wrote


def test_the_spans_of_another_program_are_a_graph_with_guessed_edges() -> None:
    plan = "first look up the city, then say it"
    data = foreign(
        {
            "name": "invoke_agent planner",
            "id": "0a",
            "began": 0,
            "ended": 9,
            "about": {"gen_ai.agent.name": "planner", "gen_ai.operation.name": "invoke_agent"},
        },
        chat("Plan for France", plan, id="0b", parent="0a", began=1, ended=2),
        {
            "name": "execute_tool search",
            "id": "0c",
            "parent": "0a",
            "began": 3,
            "ended": 4,
            "about": {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "search",
                "gen_ai.tool.call.arguments": '{"query": "France"}',
                "gen_ai.tool.call.result": '["Paris"]',
            },
        },
        chat(f"Plan: {plan}. Answer.", "Paris", id="0d", parent="0a", began=5, ended=6),
    )
    graph = from_otlp(data)
    top, first, tool, second = graph
    assert [node.kind for node in graph] == ["call", "llm", "tool", "llm"]
    assert [node.name for node in graph] == ["planner", "gpt-4o", "search", "gpt-4o"]
    assert [node.span for node in graph] == [-1, 0, 0, 0]
    assert top.inputs == (Edge(1, "", "contains"), Edge(2, "", "contains"), Edge(3, "", "contains"))
    assert first.inputs == ()
    assert second.inputs == (Edge(1, "messages", "inferred"),)
    assert (first.value, first.literals) == (plan, (("messages", [{"role": "user", "content": "Plan for France"}]),))
    assert (tool.value, tool.literals) == (["Paris"], (("query", "France"),))
    assert first.meta == {"provider": "openai", "tokens_in": 31, "tokens_out": 12, "settings": {"temperature": 0.5}, "finish": "stop"}
    assert (first.started, first.seconds) == (1.0, 1.0)
    assert graph.output == 0


def test_nothing_is_guessed_from_what_had_not_ended() -> None:
    text = "a text that is long enough to be known again"
    graph = from_otlp(foreign(chat("x", text, began=0, ended=9), chat(text, "y", began=1, ended=2)))
    assert graph[1].inputs == ()


def test_older_names_are_read_too() -> None:
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "openai",
        "gen_ai.usage.prompt_tokens": {"intValue": "5"},
        "gen_ai.prompt": "what?",
        "gen_ai.completion": '[{"role": "assistant", "content": "that"}, {"role": "assistant", "content": "or that"}]',
        "gen_ai.system_instructions": "be brief",
    }
    [node] = from_otlp(foreign({"name": "chat", "about": about}))
    assert node.name == "chat"
    assert node.meta == {"provider": "openai", "tokens_in": 5}
    assert node.literals == (("messages", "what?"), ("instructions", "be brief"))
    assert [each["content"] for each in node.value] == ["that", "or that"]


def test_a_failed_span_is_an_exception() -> None:
    pairs = {"exception.type": "KeyError", "exception.message": "no", "exception.stacktrace": "line 3"}
    events = [{"name": "exception", "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items()]}]
    graph = from_otlp(
        foreign(
            {"name": "f", "status": {"code": "STATUS_CODE_ERROR"}, "events": events},
            {"name": "g", "status": {"code": 2, "message": "broke"}},
        )
    )
    assert [node.kind for node in graph] == ["exception", "exception"]
    assert graph[0].meta == {"error": "KeyError", "message": "no", "where": "line 3"}
    assert graph[1].meta == {"error": "error", "message": "broke", "where": ""}
    assert graph[1].value == "broke"
    assert graph.output == -1


def test_evaluations_by_others_are_feedback() -> None:
    about = [
        {"key": "gen_ai.evaluation.name", "value": {"stringValue": "tone"}},
        {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 0.25}},
    ]
    events = [{"name": "gen_ai.evaluation.result", "attributes": about}, {"name": "gen_ai.evaluation.result", "attributes": about}]
    assert from_otlp(foreign({"events": events})).feedback == [Feedback(0, "", {"tone": 0.25})] * 2


def test_parents_that_cannot_be_are_no_parents() -> None:
    graph = from_otlp(
        foreign({"id": "0a", "parent": "0b"}, {"id": "0b", "parent": "0a"}, {"id": "0c", "parent": "0c"}, {"id": "0d", "parent": "ff"})
    )
    assert [node.span for node in graph] == [-1, 0, -1, -1]


def test_the_first_of_two_spans_with_one_id_counts() -> None:
    assert [node.name for node in from_otlp(foreign({"id": "0a", "name": "x"}, {"id": "0a", "name": "y"}))] == ["x"]


def test_a_file_of_lines_and_several_traces(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    file.write_bytes(foreign({"name": "x"}, trace="aa" * 16) + b"\n\n" + foreign({"name": "y"}, trace="bb" * 16) + b"\n")
    assert from_otlp(file, "bb")[0].name == "y"
    with pytest.raises(UserError, match=rf"spans.jsonl: it holds 2 traces; name one of {'aa' * 16}, {'bb' * 16}"):
        from_otlp(file)
    with pytest.raises(UserError, match="it holds 2 traces, and 0 of them begin with 'cc'; name one of aa"):
        from_otlp(file, "cc")
    with pytest.raises(UserError, match=r"nowhere\.json: cannot be read: No such file"):
        from_otlp(tmp_path / "nowhere.json")


BAD = {
    "no text": (b"\xff\xfe\x00", "it is no UTF-8 text; OTLP is read as JSON, not as protobuf"),
    "no JSON": (b"{", "it is no JSON .*; give OTLP JSON or a trace that agentopt saved"),
    "no JSON in a line": (b'{"resourceSpans": []}\nnonsense', "line 2 is no JSON"),
    "something else": (b'{"a": 1}', r"it is no OTLP JSON \(KeyError: 'resourceSpans'\)"),
    "a number": (b"3", "it is no OTLP JSON"),
    "no span": (b'{"resourceSpans": []}', "there is no span in it"),
    "no time": (
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "a", "spanId": "b"}]}]}]}',
        "it is no OTLP JSON .KeyError: 'startTimeUnixNano'",
    ),
    "endless brackets": (b"[" * 100_000, "it is no JSON"),
    "a wrong value": (foreign({"about": {"x": {"intValue": "one"}}}), "it is no OTLP JSON .ValueError"),
    "a wrong attribute of ours": (
        foreign({"about": {"agentopt.node": "x"}}, {"about": {"agentopt.node": {"intValue": 1}}}),
        "an attribute of a span in it",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_refused_in_one_sentence(what: str) -> None:
    data, sentence = BAD[what]
    with pytest.raises(UserError, match=sentence) as refused:
        from_otlp(data)
    assert "\n" not in str(refused.value)


def test_attributes_that_are_nested_too_deep() -> None:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(60):
        value = {"kvlistValue": {"values": [{"key": "k", "value": value}]}}
    with pytest.raises(UserError, match="nested too deep"):
        from_otlp(foreign({"about": {"x": value}}))


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "resourceSpans",
                        "scopeSpans",
                        "spans",
                        "attributes",
                        "key",
                        "value",
                        "spanId",
                        "traceId",
                        "startTimeUnixNano",
                        "intValue",
                    ]
                ),
                inner,
            )
        ),
    )
)
def test_any_json_is_a_graph_or_one_sentence(document: Any) -> None:
    read = graph_or_sentence(json.dumps(document).encode())
    assert "\n" not in read if isinstance(read, str) else len(read) > 0


@pytest.mark.parametrize(
    "kind", ["agentopt.kind", "agentopt.inputs.nodes", "agentopt.functions", "agentopt.meta", "agentopt.inputs.literals", "agentopt.value"]
)
@pytest.mark.parametrize("value", ["7", "[1]", "[[1]]", "{}", "x", '[{"a": 1}]'])
def test_attributes_of_ours_with_nonsense_are_a_graph_or_one_sentence(kind: str, value: str) -> None:
    file = json.loads(foreign({"about": {"agentopt.kind": "call", kind: value}}))
    file["resourceSpans"][0]["resource"] = {"attributes": [{"key": kind, "value": {"stringValue": value}}]}
    read = graph_or_sentence(json.dumps(file).encode())
    assert "another form than its name promises" in read if isinstance(read, str) else len(read) == 1


# --- in a process


def test_without_the_sdk_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtra, match=r"pip install 'agentopt\[otel\]'"):
        span_traces()


class Context:
    def __init__(self, trace: int, span: int) -> None:
        self.trace_id, self.span_id = trace, span


class Ended:
    """What the SDK hands over when a span has ended."""

    def __init__(self, trace: int, number: int, parent: int = 0) -> None:
        self.context, self.parent = Context(trace, number), Context(trace, parent) if parent else None
        self.name, self.start_time, self.end_time, self.events = f"span {number}", number, number + 5, ()
        self.attributes: dict[str, Any] | None = {"tags": ("a", "b")} if parent else None
        self.status = type("Status", (), {"status_code": type("Code", (), {"name": "UNSET"}), "description": None})
        self.resource = type("Resource", (), {"attributes": {"service.name": "x"}})

    def get_span_context(self) -> Context:
        return self.context


def test_spans_that_ended_are_graphs_by_trace() -> None:
    traces = SpanTraces(kept=2)
    with pytest.raises(KeyError):
        traces.graph()
    for span in (Ended(1, 1), Ended(2, 3, 2), Ended(2, 2), Ended(3, 4)):
        traces.add(span)
    assert traces.traces == (f"{2:032x}", f"{3:032x}")
    assert [(node.name, node.span) for node in traces.graph(f"{2:032x}")] == [("span 2", -1), ("span 3", 0)]
    assert [node.name for node in traces.graph()] == ["span 4"]


def test_the_sdk_itself_feeds_a_graph() -> None:
    """Where it is installed."""
    sdk: Any = pytest.importorskip("opentelemetry.sdk.trace")
    processor, traces = span_traces()
    provider = sdk.TracerProvider()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("test")

    def work() -> None:
        with tracer.start_as_current_span("outer"):
            with tracer.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}):
                pass
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        work()
    provider.shutdown()
    outer, inner = traces.graph()
    assert (outer.kind, outer.meta["error"], outer.meta["message"]) == ("exception", "ValueError", "no")
    assert (inner.kind, inner.name, inner.span) == ("llm", "m", 0)


def test_numbers_that_json_has_not_are_written_as_its_doubles_are():
    written = attributes_of({"many": 10**400, "few": -(10**400), "none": math.nan, "half": 0.5, "whole": 2**62})
    assert [next(iter(pair["value"].values())) for pair in written] == ["Infinity", "-Infinity", "NaN", 0.5, str(2**62)]
