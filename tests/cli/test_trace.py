from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from agentopt.cli.trace_tree import print_trace
from agentopt.store.sqlite import SqliteStore
from agentopt.trace.graph import Feedback, Graph, Node
from agentopt.trace.jsonl import dump
from agentopt.trace.otel import to_otlp
from tests.cli.logs import ESC, Log, finished, invoke, last_json, program, refused, shown
from tests.trace.graphs import agent, chain


def saved(folder: Path, graph: Graph) -> Path:
    file = folder / "trace.jsonl"
    file.write_bytes(dump(graph))
    return file


def failed() -> Graph:
    graph = agent("Capital of France?")
    about = {"error": "ValueError", "message": "no such city", "where": 'File "answers.py", line 3\n    raise ValueError  <---'}
    graph.output = graph.add(Node(0, "exception", "check", None, seconds=0.2, started=0.5, meta=about))
    return graph


# --- one file


def test_the_first_look_is_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = shown("trace", "show", saved(tmp_path, agent("Capital of France?"))).splitlines()
    assert lines[0] == "trace.jsonl  3 steps · 470 ms · 1 call of models · 31 → 12 tokens · $0.00021"
    assert [line.rstrip() for line in lines[2:5]] == [
        "◆ planner prompt  'You plan.\\nQuestion: {q}'",
        "◆ class           'brief'",
        "○ question        'Capital of France?'",
    ]
    assert lines[6:10] == [
        "steps",
        "├── plan  400 ms  uses planner prompt  ← question  '1. look up\\n2. say'",
        "│   └── gpt-4o  390 ms · 31 → 12 tokens  uses planner prompt?  '1. look up\\n2. say'",
        "└── answer  50 ms  uses class  ← plan, question  'Paris'",
    ]
    assert lines[11:] == ["feedback", "  answer: [exact 0] too long", "    say one word"]


def test_a_failure_says_where_it_came_from(tmp_path: Path) -> None:
    text = shown("trace", "show", saved(tmp_path, failed()))
    assert "└── ✗ check  200 ms  ValueError: no such city" in text
    assert 'failed in check\n  File "answers.py", line 3' in text


def test_long_traces_are_counted_and_levels_can_be_closed(tmp_path: Path) -> None:
    text = shown("trace", "show", saved(tmp_path, chain(1000)), "--steps", 4)
    assert text.count("── step") == 4
    assert "more calls of step" in text
    assert "... 1 more call of gpt_4o" in shown("trace", "show", saved(tmp_path, agent("q")), "--depth", 1)


def test_signs_give_way_where_a_terminal_has_none() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_trace("x", agent("q"), Console(file=out, width=100, markup=False))
    out.seek(0)
    assert "+-- plan  400 ms  uses planner prompt  < question" in out.read()


def test_hostile_text_is_harmless(tmp_path: Path) -> None:
    graph = agent(f"{ESC}[2J")
    graph.add(Node(0, "call", f"f{ESC}[31m", f"{ESC}]0;x"))
    graph.feedback.append(Feedback(-1, f"a{ESC}b"))
    for options in ((), ("--mermaid",)):
        assert ESC not in shown("trace", "show", saved(tmp_path, graph), *options)


def test_many_remarks_and_many_sources_are_cut(tmp_path: Path) -> None:
    graph = chain(3)
    graph.feedback = [Feedback(-1, f"remark {number}") for number in range(12)]
    assert "  ... 2 more" in shown("trace", "show", saved(tmp_path, graph))


def test_json_mermaid_and_a_picture(tmp_path: Path) -> None:
    file = saved(tmp_path, agent("q"))
    assert [node["name"] for node in last_json(shown("trace", "show", file, "--json"))["nodes"]][:2] == ["question", "plan"]
    assert shown("trace", "show", file, "--mermaid").startswith("flowchart TD\n")
    picture = tmp_path / "picture.svg"
    result = invoke("trace", "show", file, "--svg", picture)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"written: {picture}\n")
    assert picture.read_text().startswith("<svg ")
    assert "flowchart" in shown("trace", "show", file, "--svg", picture, "--mermaid")


def test_spans_of_opentelemetry(tmp_path: Path) -> None:
    file = tmp_path / "spans.json"
    file.write_text(json.dumps(to_otlp(agent("Capital of France?"))))
    assert "├── plan  400 ms  uses planner prompt" in shown("trace", "show", file)
    assert "0 of them begin with 'f00d'" in refused("trace", "show", file, "--trace", "f00d")


def test_what_is_no_trace_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    assert (
        refused("trace", "show", file)
        == f"{file}: cannot be read (No such file or directory); give a trace, a file of spans or a run folder"
    )
    file.write_text("nonsense")
    assert refused("trace", "show", file).startswith(f"{file}: this is no trace")
    file.write_text("{}")
    assert refused("trace", "show", file).startswith(f"{file}: it is no OTLP JSON")
    file.write_bytes(dump(agent("q"))[:-200])
    assert refused("trace", "show", file).startswith(f"{file}: the trace")
    picture = tmp_path / "no" / "picture.svg"
    (tmp_path / "no").write_text("")
    assert "cannot be written" in refused("trace", "show", saved(tmp_path, agent("q")), "--svg", picture)
    assert "--candidate and --case are for run folders" in refused("trace", "show", file, "--case", "x")


# --- a run


def test_a_run_shows_its_best_on_the_first_case_that_was_traced(tmp_path: Path) -> None:
    folder, best = with_traces(tmp_path / "run")
    text = shown("trace", "show", folder)
    assert text.startswith(f"candidate {best} on train-0  3 steps")
    assert shown("trace", "show", folder, "--case", "train-1", "--candidate", best[:6]).startswith(f"candidate {best} on train-1  ")
    sentence = refused("trace", "show", folder, "--case", "train-9")
    assert sentence == f"{folder}: no trace of candidate {best} on case 'train-9' was kept; there is train-0, train-1"
    assert "--trace names a trace in a file of spans" in refused("trace", "show", folder, "--trace", "ab")
    assert f"no trace of candidate {seed_of(folder)} was kept" in refused("trace", "show", folder, "--candidate", "seed")


def test_the_report_of_a_run_has_a_small_tree(tmp_path: Path) -> None:
    folder, _ = with_traces(tmp_path / "run")
    text = shown("show", folder)
    assert "what the best did on train-0: 3 steps · 470 ms" in text
    assert "├── plan  400 ms  uses planner prompt" in text
    assert f"agentopt trace show {folder}" in text


def test_a_run_without_traces_is_shown_without(tmp_path: Path) -> None:
    folder, _, best = finished(tmp_path / "run")
    assert "agentopt trace show" not in shown("show", folder)
    assert f"no trace of candidate {best} was kept; only workflows given to agentopt.optimize are traced" in refused(
        "trace", "show", folder
    )


def test_a_damaged_trace_is_said(tmp_path: Path) -> None:
    folder, best = with_traces(tmp_path / "run", b"nonsense")
    sentence = f"{folder}: the trace of candidate {best} on train-0 cannot be shown: this is no trace"
    assert refused("trace", "show", folder).startswith(sentence)
    assert sentence in shown("show", folder).replace("\n", " ")


def with_traces(folder: Path, blob: bytes | None = None) -> tuple[Path, str]:
    """A run whose best was traced on each case."""
    log = Log(folder)
    seed = log.add_seed({"error": 1.0})
    trace = log.store.put(blob or dump(agent("Capital of France?")))
    best = log.add(program(2), {"error": 0.5}, [seed], displaced=[seed], more={"trace": trace})
    return log.stop(), best


def seed_of(folder: Path) -> str:
    with SqliteStore.open(folder, read_only=True) as store:
        return next(event.data["candidate"] for event in store.read() if event.kind == "proposed")
