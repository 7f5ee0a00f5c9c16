"""The ten-line path: a workflow and rows in, a better workflow and its proof out."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import agentopt as ao
from agentopt.core.calls import Bound
from agentopt.core.candidate import Proposal
from agentopt.core.chat import Usage
from agentopt.core.errors import ConfigError, ConsentError, RunFailed, SeedFailed, StoreError, TaskError
from agentopt.core.events import canonical
from agentopt.core.metering import METER
from agentopt.core.protocols import Exhausted
from agentopt.pipeline.optimize import aoptimize
from agentopt.pipeline.report import load_params
from agentopt.store.sqlite import SqliteStore
from agentopt.testing import ScriptedModel
from agentopt.trace.params import Param
from tests.toys import number_task

ROWS = [{"x": float(x), "answer": 2.0 * x + 1.0} for x in range(16)]


class Line:
    """A workflow with two numbers. ``calls`` counts what it was asked."""

    def __init__(self, **options: Any) -> None:
        self.slope = Param(0.5, "slope", bounds=(0.0, 4.0), **options)
        self.offset = Param(0.0, "offset", bounds=(-4.0, 4.0), **options)
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.slope.value * x + self.offset.value

    @property
    def values(self):
        return {"slope": self.slope.value, "offset": self.offset.value}


def closeness(row, output):
    error = abs(output - row["answer"])
    return 1 / (1 + error), f"off by {error:.3g}"


def found(pipeline=None, data=ROWS, score=closeness, budget="12evals", **options):
    return ao.optimize(pipeline or Line(), data, score, budget=budget, **options)


def log(folder: Path):
    with SqliteStore.open(folder, read_only=True) as store:
        return canonical(store.read())


def test_numbers_get_better_and_the_proof_is_on_rows_the_search_never_saw():
    line = Line()
    optimized = found(line, budget="80evals")
    assert line.values == {"slope": 0.5, "offset": 0.0}, "nothing is changed before apply"
    result = optimized.result
    assert result.status == "budget"
    assert result.cases == {"train": 8, "validation": 4, "test": 4}
    assert result.sandbox == "pipeline"
    assert result.comparisons[0].proven
    told = optimized.report()
    assert "test score: best - seed = +" in told
    assert "held out (4 rows): score " in told
    assert "slope: 0.5 -> " in told
    assert "cost: no model was asked; " in told
    assert str(optimized) == told
    optimized.best.apply()
    assert line.values == optimized.best.values
    assert abs(line.slope.value - 2.0) < 0.5


def test_the_first_pass_is_the_seeds_and_is_not_done_twice():
    line = Line()
    optimized = found(line, budget="2evals", workers=1)
    assert line.calls == optimized.result.spent["rollouts"]


def test_two_runs_are_the_same_whatever_the_threads_do(tmp_path):
    logs = []
    for name in ("one", "two"):
        found(budget="12evals", out=tmp_path / name)
        logs.append([data for kind, data in log(tmp_path / name) if kind != "run_started"])
    assert logs[0] == logs[1]


def test_all_that_score_may_return():
    async def later(row, output):
        await asyncio.sleep(0)
        return closeness(row, output)

    ways = {
        "truth": lambda row, output: closeness(row, output)[0] > 0.2,
        "number": lambda row, output: closeness(row, output)[0],
        "pair": closeness,
        "Score": lambda row, output: ao.Score(score=closeness(row, output)[0]),
        "later": later,
        "awaitable": lambda row, output: later(row, output),
    }
    for name, score in ways.items():
        best = found(score=score, budget="4evals").result.best
        assert best is not None, name
        assert list(best.scores) == ["score"], name


def test_a_mapping_brings_objectives_of_its_own():
    def both(row, output):
        return {"near": closeness(row, output)[0], "cheap": -abs(output), "feedback": "so so"}

    summary = found(score=both, budget="4evals").result
    assert set(summary.best.scores) == {"near", "cheap"}
    assert [comparison.objective for comparison in summary.comparisons][:1] == ["near"]


def test_an_async_workflow_and_a_caller_with_a_loop():
    line = Line()

    async def pipeline(x):
        await asyncio.sleep(0)
        return line(x)

    optimized = asyncio.run(aoptimize(pipeline, ROWS, closeness, budget="6evals"))
    assert optimized.result.evaluations == 6

    async def wrong():
        ao.optimize(pipeline, ROWS, closeness, budget="6evals")

    with pytest.raises(RuntimeError, match=r"use await agentopt.pipeline.optimize.aoptimize"):
        asyncio.run(wrong())


def test_pairs_and_other_rows_are_the_one_argument():
    line = Line()
    pairs = found(line, [(row["x"], row["answer"]) for row in ROWS], lambda row, output: -abs(row[1] - output), budget="3evals")
    assert pairs.result.best is not None
    single = found(line, {"train": [1.0, 2.0]}, lambda row, output: -abs(2 * row - output), budget="3evals")
    assert single.result.cases == {"train": 2}
    assert "data has no 'test' rows" in single.report()


# --- a model


def test_a_model_rewrites_a_prompt():
    prompt = Param("Say hello", "prompt")
    model = ScriptedModel(["### file: prompt\n````text\nSay HELLO, and loudly\n````"])
    optimized = ao.optimize(
        lambda name: f"{prompt.value}: {name}",
        [{"name": f"N{number}"} for number in range(12)],
        lambda row, output: ("HELLO" in output, "it should shout"),
        budget="2evals",
        model=model,
        optimizer="evolve",
        goal="Make it shout.",
    )
    assert "Make it shout." in str(model.requests[0].messages)
    assert optimized.diffs["prompt"] == "--- prompt (before)\n+++ prompt (best)\n@@ -1 +1 @@\n-Say hello\n+Say HELLO, and loudly"
    assert optimized.result.comparisons[0].mean == 1.0
    assert "calls of models" in optimized.report()
    optimized.best.apply()
    assert prompt.value == "Say HELLO, and loudly"


def test_with_a_model_named_the_default_optimizer_asks_it():
    prompt = Param("Say hello", "prompt")
    score = lambda row, output: len(output) / 100  # noqa: E731

    def asked(*lines, budget="9evals"):
        model = ScriptedModel([*lines])
        return ao.optimize(lambda name: prompt.value, [{"name": "A"}], score, budget=budget, model=model), model

    with pytest.raises(RunFailed, match="brought nothing usable"):
        asked("nothing of use")
    better = "<variable>\n<name>prompt</name>\n<value>\nSay hello to all of them\n</value>\n</variable>"
    optimized, model = asked(better)
    assert (optimized.result.status, optimized.result.why) == ("exhausted", "the last 8 asks left everything as it was")
    assert "#Variables" in str(model.requests[0].messages)
    assert "#Code" in str(model.requests[0].messages)
    assert optimized.best.values == {"prompt": "Say hello to all of them"}
    optimized, _ = asked(better, "nothing of use")
    assert optimized.result.status == "failed", "what was found before it failed is not lost"
    assert optimized.best.values == {"prompt": "Say hello to all of them"}


def test_without_a_model_prompts_stay_and_that_is_said(monkeypatch):
    monkeypatch.delenv("AGENTOPT_MODEL", raising=False)
    line, prompt = Line(), Param("Say hello", "prompt")
    optimized = found(lambda x: line(x) + len(prompt.value) * 0, budget="6evals")
    assert "no model is named, so prompt stayed as written" in optimized.report()
    with pytest.raises(ConfigError, match="no model is named, and nothing but a model can improve prompt"):
        found(lambda x: len(prompt.value))
    fixed = Param("Say hello", "fixed", trainable=False)
    with pytest.raises(ConfigError, match="nothing but a model can improve these parameters"):
        found(lambda x: len(fixed.value))


# --- what the workflow itself takes


def asking(line, model="fake:one"):
    def pipeline(x):
        meter = METER.get()
        if meter:
            meter.begin(model, Bound(10, 10, 0.01), {"x": x}).end(Usage(5, 1))
        return line(x)

    return pipeline


def test_calls_of_the_first_pass_keep_to_the_budget():
    with pytest.raises(
        ConfigError, match=r"budget: it does not fit the first pass over 8 rows: one request can take 1 calls, and 0 are left"
    ):
        found(asking(Line()), budget="5calls")


# --- what a user gets wrong


def test_no_parameter_is_read():
    with pytest.raises(TaskError, match=r"the workflow read no parameter; make one with agentopt.param"):
        found(lambda x: x)


def test_a_workflow_that_fails_before_it_reads_anything_is_told_with_its_error():
    def keyless(x):
        raise KeyError("OPENAI_API_KEY")

    with pytest.raises(SeedFailed, match=r"(?s)none of 8 rows gets a score \(crash\).*OPENAI_API_KEY"):
        ao.optimize(keyless, ROWS, lambda row, output: 0.0, budget="9evals", model=ScriptedModel(["x"]))


def test_params_names_those_that_the_first_rows_do_not_read():
    line, rare = Line(), Param(1.0, "rare")
    optimized = found(lambda x: line(x) + (rare.value if x > 99 else 0.0), budget="4evals", params=[rare])
    assert set(optimized.params) == {"slope", "offset", "rare"}


def test_two_parameters_of_one_name():
    with pytest.raises(TaskError, match="two parameters are named 'slope'; give each a name of its own"):
        found(lambda x: Param(1.0, "slope").value * x)
    with pytest.raises(TaskError, match="two parameters are named 'slope'"):
        found(Line(), params=[Param(1.0, "slope")])


def test_a_workflow_that_always_fails_is_told_with_its_error():
    def broken(x):
        raise LookupError("no such table")

    with pytest.raises(SeedFailed, match=r"(?s)none of 8 rows gets a score \(crash\); the first: .*LookupError: no such table"):
        found(broken, params=[Param(1.0, "number")])


def test_a_score_that_always_fails_is_told_with_its_error():
    with pytest.raises(SeedFailed, match=r"(?s)none of 8 rows gets a score \(wrong\); the first: .*KeyError: 'missing'"):
        found(score=lambda row, output: row["missing"])


def test_a_row_on_which_the_workflow_fails_counts_as_the_worst_score():
    line = Line()

    def fragile(x):
        if x == 3.0:
            raise ValueError("three is too much")
        return line(x)

    data = {"train": ROWS[:6]}
    best = found(fragile, data, budget="4evals").result.seed
    clean = found(Line(), data, budget="4evals").result.seed
    at_three = closeness(ROWS[3], 0.5 * 3.0)[0]
    assert best.scores["score"] == pytest.approx(clean.scores["score"] - at_three / 6)


def test_without_a_worst_score_one_failed_row_fails_the_seed():
    line = Line()

    def fragile(x):
        return line(x) if x != 3.0 else 1 / 0

    def loss(row, output):
        return -abs(output - row["answer"])

    with pytest.raises(SeedFailed, match=r"(?s)the seed does not score \(crash\) on train3, .*give floor=.*ZeroDivisionError"):
        found(fragile, {"train": ROWS[:6]}, loss, budget="4evals")
    with pytest.raises(SeedFailed, match=r"the seed does not score \(nonfinite\) on train2, .*give floor=.* nan"):
        found(line, {"train": ROWS[:6]}, lambda row, output: float("nan") if row is ROWS[2] else -1.0, budget="4evals")
    with pytest.raises(SeedFailed, match=r"(?s)the seed does not score \(wrong\) on train2, .*mend score: .*KeyError"):
        found(line, {"train": ROWS[:6]}, lambda row, output: {}["x"] if row is ROWS[2] else -1.0, budget="4evals")
    assert found(fragile, {"train": ROWS[:6]}, loss, budget="4evals", floor=-99.0).result.best is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"wrokers": 2}, "the option 'wrokers' is unknown; the options are: params, goal, optimizer"),
        ({"workers": 0}, "workers is 0; give a whole number of at least 1"),
        ({"budget": "much"}, "budget: 'much' is not an amount"),
        ({"score": 3}, "score is a int; give a function"),
        ({"data": []}, "data has no rows"),
        ({"data": [{"y": 1}]}, r"Line\(x\) cannot be called with the fields y"),
        ({"optimizer": "magic"}, "there is no 'magic'"),
        ({"seconds": -1}, "limits.seconds is -1"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    given = {"pipeline": Line(), "data": ROWS, "score": closeness, "budget": "9evals", "out": tmp_path / "run"} | change
    with pytest.raises(ao.UserError, match=words):
        ao.optimize(given.pop("pipeline"), given.pop("data"), given.pop("score"), **given)
    assert list(tmp_path.iterdir()) == []


# --- keeping what was found


def test_what_is_saved_can_be_loaded_into_another_process(tmp_path):
    optimized = found(budget="20evals")
    optimized.save(tmp_path / "best.json")
    assert json.loads((tmp_path / "best.json").read_text())["format"] == "agentopt parameters"
    other = Line()
    assert load_params(tmp_path / "best.json") == optimized.best.values
    assert other.values == {"slope": 0.5, "offset": 0.0}
    load_params(tmp_path / "best.json", [other.slope, other.offset])
    assert other.values == optimized.best.values
    with pytest.raises(ConfigError, match="it has no value for the parameter 'third'; it has offset, slope"):
        load_params(tmp_path / "best.json", [Param(1.0, "third")])


@pytest.mark.parametrize(
    ("text", "words"), [(None, "it cannot be read"), ("{", "not a JSON file"), ("[]", "holds no parameters"), ("{}", "holds no")]
)
def test_what_is_no_file_of_ours_is_said(tmp_path, text, words):
    if text is not None:
        (tmp_path / "best.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_params(tmp_path / "best.json")


def test_code_is_applied_only_with_trust(tmp_path):
    from agentopt.pipeline.report import Best

    code, number = Param("def f(): return 1\n", "f", "code"), Param(1.0, "number")
    best = Best({"f": "def f(): return 2\n", "number": 2.0}, {"f": code, "number": number})
    with pytest.raises(ConsentError, match=r"f is code .* look at .diffs and call .best.apply\(trust=True\)"):
        best.apply()
    assert (code.value, number.value) == ("def f(): return 1\n", 1.0)
    best.apply(trust=True)
    assert (code.value, number.value) == ("def f(): return 2\n", 2.0)
    best.apply()


def test_nothing_better_is_said():
    class Lazy:
        async def propose(self, view, n, rng):
            return Exhausted("no idea")

        def observe(self, entry, admission):
            """Nothing."""

    with pytest.raises(TypeError, match="positional"):
        Lazy().observe()
    optimized = found(optimizer=Lazy(), budget="5evals")
    assert optimized.diffs == {}
    assert "nothing changed: the workflow is as it was" in optimized.report()


# --- going on


class Stop(Exception):
    pass


def stopping_after(rollouts):
    def observer(event, state):
        if state.rollouts >= rollouts:
            raise Stop

    return observer


def test_a_run_that_was_cut_off_goes_on_in_its_folder(tmp_path):
    found(budget="12evals", out=tmp_path / "whole")
    with pytest.raises(Stop):
        found(budget="12evals", out=tmp_path / "cut", on_event=stopping_after(40))
    line = Line()
    optimized = found(line, budget="12evals", out=tmp_path / "cut")
    assert optimized.result.status == "budget"
    assert optimized.result.evaluations == 12
    whole, cut = ([data for kind, data in log(tmp_path / name) if kind == "admitted"] for name in ("whole", "cut"))
    assert whole == cut
    optimized.best.apply()
    assert line.values == optimized.best.values
    calls = line.calls
    again = found(line, budget="12evals", out=tmp_path / "cut")
    assert again.result == optimized.result
    assert line.calls == calls + 1, "a finished run is only read, but for the row that tells its parameters"


def test_a_finished_run_is_read_without_calling_the_workflow_if_its_parameters_are_given(tmp_path):
    line, out = Line(), tmp_path / "run"
    first = found(line, budget="4evals", out=out)
    calls = line.calls
    again = found(line, budget="4evals", out=out, params=[line.slope, line.offset])
    assert line.calls == calls
    assert again.best.values == first.best.values
    found(line, budget="4evals", out=out)
    assert line.calls == calls + 1


def test_more_budget_for_a_finished_run(tmp_path):
    found(budget="6evals", out=tmp_path / "run")
    assert found(budget="9evals", out=tmp_path / "run").result.evaluations == 9


def test_another_workflow_or_other_data_are_refused(tmp_path):
    found(budget="6evals", out=tmp_path / "run")
    with pytest.raises(StoreError, match="it holds the run of another workflow, other data or another score"):
        found(data=ROWS[:-1], budget="6evals", out=tmp_path / "run")
    other = Param(1.0, "other")
    with pytest.raises(StoreError, match="the run has the parameter 'offset', which the workflow does not read any more"):
        found(lambda x: other.value * x, budget="6evals", out=tmp_path / "run")
    ao.evolve(number_task(), budget="3evals", out=tmp_path / "else", executor="inline")
    with pytest.raises(StoreError, match="it holds a run of something else than a workflow"):
        found(budget="6evals", out=tmp_path / "else")


def test_a_run_of_an_optimizer_and_a_model_of_ones_own_goes_on(tmp_path):
    prompt = Param("hello", "prompt")

    def run(budget):
        model = ScriptedModel(lambda request: f"### file: prompt\n````text\nhello {request.digest}\n````")
        data = [{"name": f"N{number}"} for number in range(12)]
        return ao.optimize(
            lambda name: prompt.value,
            data,
            lambda row, output: len(set(output)) / 30,
            budget=budget,
            model=model,
            optimizer="evolve",
            out=tmp_path / "run",
        )

    run("3evals")
    assert run("5evals").result.evaluations == 5


def test_a_thread_that_was_left_is_in_the_report():
    line, go = Line(), threading.Event()

    def pipeline(x):
        if line.offset.value != 0.0:
            go.wait()
        return line(x)

    class Moves:
        async def propose(self, view, n, rng):
            return [Proposal({"slope": 1.0, "offset": rng.random()})]

        def observe(self, entry, admission):
            """Nothing."""

    given = {"optimizer": Moves(), "seconds": 0.05}
    try:
        with pytest.raises(RunFailed, match=r"8 calls of pipeline did not end within 0\.05 s and still run"):
            found(pipeline, {"train": ROWS[:3]}, budget="9evals", **given)
        few = found(pipeline, {"train": ROWS[:2]}, budget="2evals", **given)
        assert few.report().count("warning: a call of the workflow passed its deadline in a thread") == 1
    finally:
        go.set()


def test_ctrl_c_in_the_first_pass_ends_it(monkeypatch):
    import os
    import signal

    line = Line()

    async def pipeline(x):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        return line(x)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        found(pipeline)


def test_ctrl_c_later_brings_what_was_found_so_far():
    import os
    import signal

    def interrupt(event, state):
        if event.kind == "admitted" and state.told == 5:
            os.kill(os.getpid(), signal.SIGINT)

    optimized = found(budget="500evals", on_event=interrupt)
    assert optimized.result.status == "interrupted"
    assert optimized.best.values
