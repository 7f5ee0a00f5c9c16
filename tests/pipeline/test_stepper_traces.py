"""Traces, proxies and feedback of many runs, as one step takes them up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentopt.pipeline.stepper import Stepper
from agentopt.store.sqlite import SqliteStore
from agentopt.trace.graph import Graph
from agentopt.trace.jsonl import load
from agentopt.trace.node import Judgement, node
from agentopt.trace.params import Param
from agentopt.trace.recorder import record
from agentopt.trace.traced import traced
from agentopt.trace.union import parts
from tests.pipeline.worlds import Counting, params


@traced
def shout(text: str, k: Any) -> str:
    return text.upper() * (k + 2)


def pipeline(prompt: Param, k: Param, question: str) -> str:
    return shout(prompt.format(q=question), k)


def rollouts(folder: Path) -> Iterator[tuple[dict[str, Any], list[Graph]]]:
    """Each rollout of the log, and the traces it kept."""
    with SqliteStore.open(folder, read_only=True) as store:
        for event in list(store.read()):
            if event.kind == "rollout":
                yield dict(event.data), parts(load(store.get(event.data["trace"]))) if "trace" in event.data else []


def test_the_ten_lines(tmp_path: Path):
    prompt, k = params()
    opt = Stepper([prompt, k], optimizer=Counting, out=tmp_path / "run", goal="shout")
    for question in ("who", "when"):
        opt.zero_feedback()
        with record() as trace:
            y = pipeline(prompt, k, question)
        trace.backward(y, f"too loud: {y}", score=0.2)
        step = opt.step()
        assert step.changed.keys() == {"k"}
    opt.close()
    (first, graphs), (second, _) = rollouts(tmp_path / "run")
    assert (first["scores"], first["feedback"]) == ({"score": 0.2}, "too loud: ANSWER: WHOANSWER: WHO")
    (graph,) = graphs
    assert {graph.name(number) for number in graph.of_kind("param")} == {"prompt", "k"}
    (said,) = graph.feedback
    assert (graph.name(said.target), said.scores) == ("shout", {"score": 0.2})
    assert second["feedback"].count("WHEN") == 3, "the next candidate was tried"


def test_a_minibatch_is_one_step(tmp_path: Path):
    prompt, k = params()
    with Stepper([prompt, k], optimizer=Counting, out=tmp_path / "run") as opt:

        def one(question: str) -> None:
            with record() as trace:
                y = pipeline(prompt, k, question)
            trace.backward(y, f"on {question}", score=float(len(question)))
            trace.backward(y, "and that is that")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, ["a", "bb", "ccc", "dddd"]))
        opt.step()
        assert prompt.feedback == k.feedback == []
    ((rollout, graphs),) = rollouts(tmp_path / "run")
    assert rollout["scores"] == {"score": 2.5}
    assert sorted(rollout["feedback"].split("\n\n")) == ["and that is that", "on a", "on bb", "on ccc", "on dddd"]
    assert len(graphs) == 4
    assert [len(graph.feedback) for graph in graphs] == [2] * 4


def test_feedback_of_one_outcome_reaches_two_parameters_and_counts_once(tmp_path: Path):
    prompt, k = params()
    with Stepper([prompt, k], optimizer=Counting, out=tmp_path / "run") as opt:
        for score in (0.0, 1.0, 1.0):
            with record() as trace:
                y = pipeline(prompt, k, "x")
            trace.backward(y, score=score)
        assert len(prompt.feedback) == len(k.feedback) == 3
        opt.step()
    ((rollout, _),) = rollouts(tmp_path / "run")
    assert rollout["scores"] == {"score": 2 / 3}


def test_proxies(tmp_path: Path):
    x = Param(1.0, "x")
    with Stepper([x], optimizer="tune", out=tmp_path / "run") as opt:
        y = (node(x) - 3.0) ** 2
        opt.backward(y, "smaller is better", -y.value)
        other = node(x) + 1.0
        other.backward("and this", {"score": 0.0})
        opt.step()
        assert x.value != 1.0
    ((rollout, graphs),) = rollouts(tmp_path / "run")
    assert rollout["scores"] == {"score": -2.0}
    assert [(graph.value(graph.output), graph.feedback[0].text) for graph in graphs] == [(4.0, "smaller is better"), (2.0, "and this")]


def test_backward_finds_the_trace(tmp_path: Path):
    prompt, k = params()
    with Stepper([prompt, k], optimizer=Counting, out=tmp_path / "run") as opt:
        with record() as trace:
            opt.backward(pipeline(prompt, k, "in"), "inside")
        with record() as trace:
            y = pipeline(prompt, k, "out")
        opt.backward(y, "outside", trace=trace)
        opt.backward(y, "of the whole")
        opt.step()
    ((rollout, graphs),) = rollouts(tmp_path / "run")
    assert sorted(rollout["feedback"].split("\n\n")) == ["inside", "of the whole", "outside"]
    assert [graph.feedback[0].text for graph in graphs] == ["inside", "outside"]


def test_what_raised_is_judged_too(tmp_path: Path):
    prompt, k = params()

    @traced
    def fail(text: str) -> str:
        raise KeyError(text)

    with Stepper([prompt, k], optimizer=Counting, objectives=["right"], out=tmp_path / "run") as opt:
        opt.backward(None, "", {"right": 0.0})
        opt.step()
        with pytest.raises(KeyError), record() as trace:
            fail(prompt.format(q=k + 0))
        trace.backward(trace.failure, "it raised")
        assert opt.step().status == "failed"
    _, (rollout, graphs) = rollouts(tmp_path / "run")
    assert rollout["failure"]["message"] == "it raised"
    assert graphs[0].kind(graphs[0].feedback[0].target) == "exception"


def test_feedback_that_reaches_no_parameter_is_none(tmp_path: Path):
    prompt, k = params()
    with Stepper([prompt], optimizer=Counting, out=None) as opt:
        with record() as trace:
            y = shout("constant", 0)
        trace.backward(y, "bad")
        with record() as trace:
            y = shout("only k", k)
        trace.backward(y, "bad")
        with pytest.raises(ValueError, match="no feedback has reached the parameters since the last step"):
            opt.step()


def test_scores_of_traces_and_proxies_are_finite_numbers():
    x = Param(1.0, "x")
    with Stepper([x], optimizer="tune", out=None) as opt:
        y = node(x) + 1.0
        for score in (math.nan, math.inf):
            with pytest.raises(ValueError, match="give a finite number"):
                opt.backward(y, "", score)
            x.feedback.append(Judgement(y, "", {"score": score}))
            with pytest.raises(ValueError, match="give a finite number"):
                opt.step()
            opt.zero_feedback()


def test_a_parameter_that_is_held_by_something_else_counts():
    class Holder:
        param = Param(1.0, "x")

    with Stepper([Holder()], optimizer="tune", out=None) as opt:  # pyright: ignore[reportArgumentType]
        opt.backward(None, "", 1.0)
        assert opt.step().changed.keys() == {"x"}
