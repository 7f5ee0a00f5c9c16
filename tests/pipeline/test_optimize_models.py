"""Workflows that ask models or hold code of their own: what they take is in the run's budget and log, and what they did in its traces."""

from __future__ import annotations

import asyncio
import sys
import threading
import types

import pytest

import agentopt as ao
from agentopt.core.errors import ConfigError
from agentopt.core.running import RUNNER
from agentopt.store.sqlite import SqliteStore
from agentopt.testing import FakeLLM, ScriptedModel, Step
from agentopt.trace.jsonl import load
from agentopt.trace.params import Param
from agentopt.trainables import trainable

ROWS = [{"city": f"City{number}", "answer": f"C{number}"} for number in range(12)]


def short(received):
    """A model that is brief if it is told to be."""
    text = str(received.body["messages"])
    city = text.rpartition("City")[2].split("'")[0]
    return Step(f"C{city}" if "BRIEF" in text else f"The short name of that city is C{city}")


def match(row, output):
    return output == row["answer"], "" if output == row["answer"] else f"expected {row['answer']} and nothing else"


def improver():
    return ScriptedModel(["### file: style\n````text\nBe BRIEF\n````"])


def events(folder, kind):
    with SqliteStore.open(folder, read_only=True) as store:
        return [event for event in store.read() if event.kind == kind]


def traces(folder):
    with SqliteStore.open(folder, read_only=True) as store:
        return [(event.data, load(store.get(event.data["trace"]))) for event in store.read() if event.kind == "rollout"]


@pytest.fixture
def server():
    with FakeLLM(short) as server:
        yield server


def agent(server, style):
    import openai

    client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)

    @ao.traced
    def ask(question):
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": question}])
        return reply.choices[0].message.content

    def pipeline(city):
        return ask(f"{style}. What is the short name of {city}")

    return pipeline


def test_its_calls_are_paid_from_the_budget_and_their_traces_lead_to_the_prompt(server, tmp_path):
    style = Param("Be kind", "style")
    asked = {"model": improver(), "optimizer": "evolve", "out": tmp_path / "run"}
    optimized = ao.optimize(agent(server, style), ROWS, match, budget="2evals,500calls", **asked)
    assert optimized.diffs["style"].endswith("-Be kind\n+Be BRIEF")
    own = [event.data for event in events(tmp_path / "run", "llm_request") if event.data["purpose"] == "pipeline"]
    spent = optimized.result.spent
    assert len(own) == len(server.requests) == spent["rollouts"]
    assert spent["calls"] == len(own) + 1
    assert "25 calls of models (24 by the workflow itself)" in optimized.report()
    assert {data["model"] for data in own} == {"openai-compatible:gpt-4o-mini"}
    assert all(data["case"] for data in own)
    for data, graph in traces(tmp_path / "run"):
        (said,) = graph.feedback
        assert dict(said.scores) == {"score": data["scores"]["score"]}
        assert said.target == graph.output
        assert graph.kind(graph.output) == "call"
        assert [graph.name(number) for number in graph.of_kind("param")] == ["style"]
        assert graph.of_kind("llm")
        assert [graph.name(number) for number in graph.of_kind("input")] == ["city"]


def test_a_budget_of_calls_is_never_overshot_and_leaves_room_for_the_test(server):
    style = Param("Be kind", "style")
    improving = ScriptedModel(lambda request: f"### file: style\n````text\nBe BRIEF {request.digest}\n````")
    optimized = ao.optimize(agent(server, style), ROWS, match, budget="60calls", model=improving, optimizer="evolve")
    assert optimized.result.spent["calls"] <= 60
    assert optimized.result.comparisons[0].n == 3


def test_a_budget_in_usd_counts_them_at_their_price(server):
    style = Param("Be kind", "style")
    asked = {"model": improver(), "optimizer": "evolve", "llm": {"price": "1,2", "prices": {"gpt-4o-mini": "100,200"}}}
    optimized = ao.optimize(agent(server, style), ROWS, match, budget="2evals,$900", **asked)
    assert 0 < optimized.result.spent["usd"] < 900
    assert "max_tokens" in server.requests[0].body or "max_completion_tokens" in server.requests[0].body
    with pytest.raises(ConfigError, match=r"the price of openai-compatible:gpt-4o-mini is unknown.*give llm=\{'prices': \{'gpt-4o-mini'"):
        ao.optimize(agent(server, style), ROWS, match, budget="2evals,$9", model=improver(), llm={"price": "1,2"})
    with pytest.raises(ConfigError, match=r"it does not fit the first pass over 6 rows: one request can take .* usd"):
        ao.optimize(agent(server, style), ROWS, match, budget="2evals,$0.001", **asked)


@pytest.mark.parametrize("coroutines", [False, True])
def test_calls_of_the_first_pass_wait_for_room_that_others_in_flight_may_leave(server, coroutines):
    """Six rows at once can take six times what one may, and take next to nothing."""
    import openai

    style = Param("Be kind", "style")
    messages = [{"role": "user", "content": "City1"}]

    async def later(city):
        async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            await client.chat.completions.create(model="gpt-4o-mini", messages=[*messages, {"role": "user", "content": str(style)}])
            return city

    pipeline = later if coroutines else agent(server, style)
    asked = {"optimizer": "evolve", "llm": {"max_output_tokens": 1000}, "model": improver()}
    optimized = ao.optimize(pipeline, {"train": ROWS[:6]}, match, budget="2evals,2500tokens", **asked)
    assert len(server.requests) >= 6
    assert optimized.result.spent["tokens"] <= 2500


def test_a_price_by_name_holds_for_the_model_that_is_asked_too(server):
    style = Param("Be kind", "style")
    asked = {"model": improver(), "optimizer": "evolve", "llm": {"prices": {"gpt-4o-mini": "1,2", "scripted": "1,2"}}}
    optimized = ao.optimize(agent(server, style), ROWS, match, budget="2evals,$900", **asked)
    assert 0 < optimized.result.spent["usd"] < 900


def test_clients_that_nobody_counts_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "anthropic", types.ModuleType("anthropic"))
    number = Param(1.0, "number", bounds=(0.0, 2.0))

    def given(budget, **options):
        return ao.optimize(lambda city: number.value, ROWS, lambda row, output: output / 2, budget=budget, **options)

    with pytest.raises(ConfigError, match=r"anthropic is loaded, whose calls cannot be counted.*give allow_unmetered=True"):
        given("4evals,$1")
    assert "unmetered" in given("4evals,$1", allow_unmetered=True).report()
    assert "calls through anthropic, if there were any, are in no count: unmetered" in given("4evals").report()


def test_threads_of_the_workflow_see_the_candidate_too():
    number = Param(0.5, "number", bounds=(0.0, 1.0))

    def pipeline(city):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(number.value))
        thread.start()
        thread.join()
        return seen[0]

    optimized = ao.optimize(pipeline, ROWS, lambda row, output: output, budget="20evals")
    assert optimized.best.values["number"] > 0.9


def test_an_exception_is_in_the_trace_with_what_was_said_of_it(tmp_path):
    scale = Param(1.0, "scale", bounds=(0.0, 2.0))

    @ao.traced
    def fragile(city):
        if city == "City3":
            raise ValueError(f"no way with {scale.value}")
        return scale.value

    data = {"train": ROWS[:6]}
    ao.optimize(fragile, data, lambda row, output: output / 2, budget="3evals", out=tmp_path / "run")
    failed = [(rollout, graph) for rollout, graph in traces(tmp_path / "run") if "failure" in rollout]
    assert len(failed) == 3
    _, graph = failed[0]
    assert graph.kind(graph.output) == "exception"
    assert graph.feedback[0].target == graph.output
    assert "ValueError: no way with 1.0" in graph.feedback[0].text


@trainable
def grade(text):
    """Gives a mark."""
    return len(text) / 100


def test_code_parameters_run_in_boxes_of_their_own(tmp_path):
    seen = set()

    def pipeline(city):
        seen.add(RUNNER.get().sandbox.partition("/")[0])
        return grade(city)

    better = ScriptedModel(["### file: grade\n```python\ndef grade(text):\n    return len(text) / 10\n```"])
    data = {"train": ROWS[:3], "test": ROWS[3:6]}
    asked = {"model": better, "optimizer": "evolve", "out": tmp_path / "run", "workers": 2}
    optimized = ao.optimize(pipeline, data, lambda row, output: output, budget="2evals", **asked)
    assert optimized.result.sandbox.startswith(f"pipeline+{next(iter(seen))}")
    assert "+    return len(text) / 10" in optimized.diffs["grade"]
    with pytest.raises(ConfigError, match=r"look at \.diffs"):
        optimized.best.apply()


def test_trusted_code_is_stamped_so():
    @trainable(trust=True)
    def mark(text):
        """Gives a mark."""
        return len(text) / 100

    model = ScriptedModel(["### file: mark\n```python\ndef mark(text):\n    return len(text) / 10\n```"])
    given = {"budget": "2evals", "model": model, "optimizer": "evolve"}
    optimized = ao.optimize(lambda city: mark(city), {"train": ROWS[:3]}, lambda row, output: output, **given)
    assert optimized.result.sandbox == "pipeline+L0"


def test_a_large_trace_is_cut_and_a_huge_one_left_out():
    from agentopt.executors.pipeline import dump_trace
    from agentopt.scoring.judge import Verdict
    from agentopt.trace.calling import Called
    from agentopt.trace.recorder import record
    from agentopt.trace.workflow import Attempt

    def attempt(nodes):
        with record() as trace:
            for number in range(nodes):
                trace.input("text", f"{number}" + "x" * 10_000)
                trace.input("list", ["y" * 10_000, number])
                trace.input("number", number)
        return Attempt(Called("out"), trace)

    whole = dump_trace(attempt(3), Verdict({"score": 1.0}, feedback="fine"), 1 << 20)
    assert len(whole) > 60_000
    cut = dump_trace(attempt(3), Verdict({"score": 1.0}, feedback="fine"), 20_000)
    assert len(cut) <= 20_000
    graph = load(cut)
    assert [graph.name(number) for number in graph.of_kind("input")] == ["text", "list", "number"] * 3
    assert [graph.value(number) for number in graph.of_kind("input")][2::3] == [0, 1, 2]
    assert graph.feedback[0].text == "fine"
    assert dump_trace(attempt(3), Verdict({"score": 1.0}), 200) == b""


def test_what_cannot_say_what_it_is_keeps_no_trace_from_being_cut():
    from agentopt.executors.pipeline import dump_trace
    from agentopt.scoring.judge import Verdict
    from agentopt.trace.calling import Called
    from agentopt.trace.recorder import record
    from agentopt.trace.workflow import Attempt

    class Mute:
        def __repr__(self):
            raise RuntimeError("no text")

    with record() as trace:
        trace.input("thing", Mute())
        trace.input("text", "x" * 50_000)
    cut = load(dump_trace(Attempt(Called("out"), trace), Verdict({"score": 1.0}), 20_000))
    assert cut.value(0).text == "<Mute whose repr raised RuntimeError>"
    assert len(cut.value(1)) < 20_000


def test_the_calls_of_the_first_pass_are_paid_with_their_errors_too(tmp_path):
    style = Param("Be kind", "style")

    def sometimes(received):
        return Step(status=500) if "City3" in str(received.body["messages"]) else short(received)

    with FakeLLM(sometimes) as server:
        asked = {"model": improver(), "optimizer": "evolve", "out": tmp_path / "run"}
        optimized = ao.optimize(agent(server, style), {"train": ROWS[:6]}, match, budget="2evals,500calls", **asked)
        replies = [event.data for event in events(tmp_path / "run", "llm_reply") if "ask" not in event.data]
        assert len(replies) == len(server.requests) == optimized.result.spent["calls"] - 1
    assert sum("error" in data for data in replies) == 2


def test_async_workflows_are_seen_as_well(server, tmp_path):
    import openai

    style = Param("Be BRIEF", "style")

    async def pipeline(city):
        async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            content = f"{style} about {city}"
            reply = await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": content}])
            await asyncio.sleep(0)
            return reply.choices[0].message.content

    asked = {"model": improver(), "optimizer": "evolve", "out": tmp_path / "run"}
    optimized = ao.optimize(pipeline, ROWS, match, budget="2evals", **asked)
    assert optimized.result.why == "no child could be scored: refused 8"
    assert "nothing changed" in optimized.report()
    own = [event for event in events(tmp_path / "run", "llm_request") if event.data["purpose"] == "pipeline"]
    assert len(own) == len(server.requests) > 0
