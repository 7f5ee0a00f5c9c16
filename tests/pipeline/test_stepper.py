"""Feedback, steps, and the run behind them."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from agentopt.api import load_run
from agentopt.core.chat import ModelError
from agentopt.core.errors import ConfigError, RunFailed, StoreError, TaskError
from agentopt.core.task import Objective
from agentopt.pipeline.stepper import Step, Stepper
from agentopt.store.sqlite import SqliteStore
from agentopt.testing.scripted import ScriptedModel
from agentopt.trace.params import Param
from tests.house.source import ROOT, clean_environment
from tests.pipeline.worlds import Asking, Brief, Broken, Counting, Stubborn, answer, params


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENTOPT_MODEL", raising=False)
    yield tmp_path
    gc.collect()
    assert [thread for thread in threading.enumerate() if thread.name == "agentopt-stepper"] == [], "no thread outlives its stepper"


def stepper(*given: Param, **options: Any) -> Stepper:
    defaults: dict[str, Any] = {"optimizer": Counting, "out": None}
    return Stepper(given or params(), **(defaults | options))


def events(folder: Path | str, *kinds: str) -> list[Any]:
    with SqliteStore.open(Path(folder), read_only=True) as store:
        return [event for event in store.read() if not kinds or event.kind in kinds]


def say(opt: Stepper, text: str = "", **scores: float) -> Step:
    opt.zero_feedback()
    opt.backward(None, text, scores or None)
    return opt.step()


# --- steps -----------------------------------------------------------------------------------------------------------


def test_a_step_is_one_advance_of_the_engine():
    prompt, k = params()
    with stepper(prompt, k, budget="4evals", out="run", goal="count") as opt:
        assert (opt.best, opt.run, opt.done) == (None, None, "")
        first = say(opt, "too short", score=0.25)
        assert (first.number, first.status, first.operator, first.rationale) == (1, "admitted", "count", "1 comes next")
        assert first.changed == {"k": (0, 1)}
        assert (k.value, prompt.value) == (1, "Answer: {q}")
        assert first.spent["evals"] == 2
        assert opt.run == Path("run")
        assert opt.best
        assert opt.best.values == {"prompt": "Answer: {q}", "k": 0}
        second = say(opt, score=0.75)
        assert second.status == "admitted"
        assert opt.best.scores == {"score": 0.75}
        assert say(opt, score=0.5).status == "dominated"
        assert k.value == 3
        last = say(opt, score=0.1)
        assert last.done == opt.done == "the budget is spent"
        assert last.candidate == opt.best.id
        assert last.changed == {"k": (3, 1)}
        assert k.value == 1
        assert say(opt, score=9.0) is last, "the run is over"
        assert str(first) == f"step 1: admitted; now trying {first.candidate} (count); changed: k"
        assert str(last) == f"step 4: dominated; the run ended: the budget is spent; the best is {last.candidate}; changed: k"
    result = load_run("run")
    assert (result.status, result.evaluations) == ("budget", 4)
    assert result.best
    assert result.best.values["k"] == 1
    kinds = [event.kind for event in events("run")]
    assert kinds[:6] == ["run_started", "proposed", "rollout", "evaluated", "admitted", "asked"]
    assert [event.data["feedback"] for event in events("run", "rollout") if "feedback" in event.data] == ["too short"]


def test_scores_are_means_and_texts_are_kept_once():
    with stepper(out="run") as opt:
        opt.backward(1, "long", {"accuracy": 1, "speed": 4.0})
        opt.backward(2, "long", {"accuracy": 0})
        opt.backward(3, "late")
        opt.step()
    (rollout,) = events("run", "rollout")
    assert rollout.data["scores"] == {"accuracy": 0.5, "speed": 4.0}
    assert rollout.data["feedback"] == "long\n\nlate"


def test_feedback_counts_for_the_step_it_was_given_before():
    prompt, k = params()
    with stepper(prompt, k, out="run") as opt:
        opt.backward(1, "first", 1.0)
        opt.step()
        opt.backward(1, "second", 2.0)
        opt.step()
        opt.backward(1, "forgotten", 3.0)
        opt.zero_feedback()
        opt.backward(1, "third", 4.0)
        opt.step()
    assert [event.data["feedback"] for event in events("run", "rollout")] == ["first", "second", "third"]


def test_without_scores_the_newest_is_the_best():
    _, k = params()
    with stepper(k, budget="3evals") as opt:
        say(opt, "worse")
        say(opt, "much worse")
        assert opt.best
        assert (opt.best.values, opt.best.scores) == ({"k": 1}, {"step": 2.0})
        with pytest.raises(ValueError, match=r"the score 'score' comes too late: this run began without scores"):
            say(opt, score=1.0)
        assert say(opt, "terrible").done
        assert k.value == 2


def test_an_objective_may_be_minimised():
    with stepper(objectives=["accuracy", Objective("tokens", "min")], out="run") as opt:
        say(opt, accuracy=0.5, tokens=100)
        assert say(opt, accuracy=0.5, tokens=200).status == "dominated"
        assert say(opt, accuracy=0.5, tokens=50).status == "admitted"
        assert opt.best
        assert opt.best.scores["tokens"] == 50


def test_a_candidate_without_a_score_has_failed_and_the_run_goes_on():
    with stepper(out="run") as opt:
        say(opt, score=1.0)
        assert say(opt, "it raised a KeyError").status == "failed"
        assert say(opt, score=2.0).status == "admitted"
    failed = events("run", "rollout")[1].data
    assert failed["failure"] == {"kind": "wrong", "message": "it raised a KeyError"}
    assert failed["feedback"] == "it raised a KeyError"


def test_refused_replies_and_duplicates_are_not_the_users_business():
    _, k = params()
    with stepper(k, optimizer=Stubborn, budget="4evals", out="run") as opt:
        for number in (1, 2, 3):
            assert not say(opt, score=float(number)).done
            assert k.value == number
        assert say(opt, score=0.0).done == "the budget is spent"
    assert len(events("run", "note")) == 3


def test_an_optimizer_without_further_ideas_ends_the_run():
    _, k = params()
    with stepper(k, optimizer=Brief) as opt:
        for score in (1.0, 3.0, 2.0):
            step = say(opt, score=score)
        assert step.done == opt.done == "two ideas were all"
        assert k.value == 1


def test_optimizers_by_name_and_by_options():
    given: list[Any] = ["tune", "mutate", "memetic", {"name": "tune", "options": {}}]
    for optimizer in given:
        k = Param(1.0, "k", bounds=(0.0, 10.0))
        with stepper(k, optimizer=optimizer, rng_seed=3) as opt:
            for _ in range(12):
                say(opt, score=-abs(float(k.value) - 7.0))
            assert opt.best
            assert opt.best.scores["score"] > -6.0


# --- feedback that cannot be used ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, {"a": 1.0, "b": math.nan}, "good", {"a": None}])
def test_scores_are_finite_numbers(score: Any):
    with stepper() as opt:
        with pytest.raises(ValueError, match=r"the score '(score|a|b)' is .*; give a finite number, or no score and a text"):
            opt.backward(None, "", score)
        with pytest.raises(ValueError, match="no feedback has reached the parameters"):
            opt.step()


@pytest.mark.parametrize("name", ["", "two words", "step", 3])
def test_score_names_are_identifiers(name: Any):
    with stepper() as opt, pytest.raises(ValueError, match=r"the score name .* is not usable"):
        opt.backward(None, "", {name: 1.0})


def test_saying_nothing_is_an_error():
    with stepper() as opt, pytest.raises(ValueError, match="backward says nothing"):
        opt.backward(None, "  ")


def test_a_run_keeps_the_scores_that_it_began_with():
    with stepper() as opt:
        say(opt, a=1.0, b=1.0)
        with pytest.raises(ValueError, match=r"the score 'c' is none of this run's \(a, b\)"):
            say(opt, a=1.0, c=1.0)
        with pytest.raises(ValueError, match=r"the feedback has the score 'a' but not 'b'; give all of a, b"):
            say(opt, a=1.0)
        opt.backward(None, "", {"b": 2.0})
        assert opt.step().status == "admitted", "what was refused was kept, and what was lacking has come"


def test_named_objectives_are_needed_from_the_first_step():
    with stepper(objectives=["accuracy"]) as opt:
        with pytest.raises(ValueError, match="the first feedback has no score; give it: accuracy"):
            say(opt, "bad")
        assert say(opt, accuracy=1.0).number == 1


def test_values_changed_by_hand_are_not_scored_as_the_candidates():
    prompt, k = params()
    with stepper(prompt, k) as opt:
        prompt.set("Begin: {q}")
        say(opt, score=1.0)
        assert opt.best
        assert opt.best.values["prompt"] == "Begin: {q}", "before the first step they are the user's"
        assert opt.apply_best() == {"k": (1, 0)}
        opt.backward(None, "", 2.0)
        with pytest.raises(ConfigError, match=r"parameter 'k' has not the value that candidate \w+ gave it.*call apply\(\)"):
            opt.step()
        assert opt.apply() == {"k": (0, 1)}
        assert opt.step().number == 2


def test_mappings_are_copied():
    config = Param({"a": [1]}, "config")
    k = Param(0, "k")
    with stepper(config, k) as opt:
        say(opt, score=1.0)
        before = config.parameter().initial
        before["a"].append(2)
        config.set(before)
        opt.backward(None, "", 2.0)
        with pytest.raises(ConfigError, match="parameter 'config' has not the value"):
            opt.step()


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "options", "fault"),
    [
        ((), {}, "there is no trainable parameter"),
        ((Param(1, "a", trainable=False),), {}, "there is no trainable parameter"),
        ((Param(1, "a"), Param(2, "a")), {}, "two parameters have the name 'a'"),
        (("text",), {}, "parameters holds a str; make it one with agentopt.param"),
        ((Param(1, "a"),), {"budgets": "1evals"}, "the option 'budgets' is unknown; the options are: goal, name"),
        ((Param(1, "a"),), {"objectives": ["a b"]}, "objective name 'a b' is not usable"),
    ],
)
def test_bad_parameters_and_options_are_said_at_once(given: Any, options: Any, fault: str):
    with pytest.raises(ConfigError, match=fault):
        Stepper(given, **options)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"budget": "1evals"}, "cannot fit the seed, one child"),
        ({"budget": "5parrots"}, "is not an amount"),
        ({"budget": "5calls"}, "counts what models take, and none is named"),
        ({"optimizer": "nobody"}, "there is no 'nobody'"),
        ({"objectives": [Objective("a"), Objective("a")]}, "two objectives have one name"),
    ],
)
def test_bad_input_is_said_at_the_first_step_and_leaves_nothing(in_tmp: Path, options: Any, fault: str):
    prompt, k = params()
    with stepper(prompt, k, out="run", **options) as opt:
        for _ in range(2):
            opt.zero_feedback()
            opt.backward(None, "", {"a": 1.0})
            with pytest.raises((ConfigError, TaskError), match=fault):
                opt.step()
        assert fault in opt.done
    assert list(in_tmp.iterdir()) == []


def test_a_text_that_names_a_file_stays_a_text(in_tmp: Path):
    (in_tmp / "prompt.txt").write_text("something else")
    prompt = Param("prompt.txt", "prompt")
    with stepper(prompt, Param(0, "k")) as opt:
        say(opt, score=1.0)
        assert opt.best
        assert opt.best.values["prompt"] == "prompt.txt"


def test_a_failure_of_the_run_is_loud_and_leaves_the_best_values():
    _, k = params()
    with stepper(*params()[:1], k, optimizer=Broken, out="run") as opt:
        say(opt, score=2.0)
        for _ in range(2):
            opt.backward(None, "", 1.0)
            with pytest.raises(RunFailed, match="proposed values that miss or add the parameter 'prompt'"):
                opt.step()
        assert "'prompt'" in opt.done
        assert k.value == 0
    assert load_run("run").status == "failed"


def test_a_folder_that_cannot_be_made(in_tmp: Path):
    (in_tmp / "file").write_text("")
    with stepper(out="file/run") as opt, pytest.raises(StoreError, match="cannot be made"):
        say(opt, score=1.0)


def test_time_that_ran_out_between_two_steps():
    _, k = params()
    with stepper(k, budget="1s", out="run") as opt:
        assert not say(opt, score=1.0).done
        for thread in threading.enumerate():
            if thread.name == "agentopt-stepper":
                thread.join()
        assert (k.value, opt.done) == (1, ""), "nobody changes values behind the user's back"
        step = say(opt, score=2.0)
        assert step.done == opt.done
        assert k.value == 0
        assert load_run("run").status == "failed", "no child was judged in time"
    assert step.done.startswith("no child could be scored")


# --- models ----------------------------------------------------------------------------------------------------------


def test_a_budget_of_calls_holds_exactly():
    _, k = params()
    model = ScriptedModel(answer)
    with stepper(k, optimizer=Asking, model=model, budget="3calls", out="run") as opt:
        steps = [say(opt, f"said {number}", score=float(number)) for number in range(4)]
        assert [bool(step.done) for step in steps] == [False, False, False, True]
        assert steps[-1].spent["calls"] == 3
        assert steps[0].rationale == '{"k": 1}'
    assert len(model.requests) == 3
    assert [json.loads(request.messages[0].content)["said"] for request in model.requests] == ["said 0", "said 1", "said 2"]


def test_a_model_that_is_not_there_ends_the_run_with_its_name():
    model = ScriptedModel([ModelError("auth", "the key is wrong")])
    with stepper(optimizer=Asking, model=model, out="run") as opt, pytest.raises(ConfigError, match="the key is wrong"):
        say(opt, score=1.0)


# --- event loops and threads -----------------------------------------------------------------------------------------


def test_inside_an_event_loop_steps_are_awaited():
    _, k = params()

    async def main() -> list[Step]:
        steps: list[Step] = []
        with stepper(k, budget="4evals") as opt:
            opt.backward(None, "", 1.0)
            with pytest.raises(RuntimeError, match=r"use await stepper.astep\(\)"):
                opt.step()
            steps.append(await opt.astep())
            opt.backward(None, "", 2.0)
            steps.append(opt.blocking_step())
            opt.backward(None, "", 3.0)
            steps.append(await opt.astep())
        return steps

    assert [step.changed for step in asyncio.run(main())] == [{"k": (0, 1)}, {"k": (1, 2)}, {"k": (2, 3)}]


def test_loops_come_and_go():
    _, k = params()
    with stepper(k) as opt:
        for number in range(3):
            opt.backward(None, "", float(number))
            assert asyncio.run(opt.astep()).number == number + 1


def test_the_loop_goes_on_while_a_step_waits_for_a_model():
    _, k = params()
    asked, go = threading.Event(), threading.Event()

    class Waiting(ScriptedModel):
        async def complete(self, request: Any) -> Any:
            asked.set()
            await asyncio.to_thread(go.wait)
            return await super().complete(request)

    async def main() -> Step:
        with stepper(k, optimizer=Asking, model=Waiting(answer)) as opt:
            opt.backward(None, "", 1.0)
            task = asyncio.create_task(opt.astep())
            await asyncio.to_thread(asked.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert k.value == 0
            go.set()
            step = await opt.astep()  # without feedback: it takes up what the first one began
            assert step.changed == {"k": (0, 1)}
            return step

    assert asyncio.run(main()).number == 1


def test_closing_ends_a_step_under_way():
    asked = threading.Event()

    class Deaf(ScriptedModel):
        async def complete(self, request: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

    opt = stepper(optimizer=Asking, model=Deaf(answer))
    opt.backward(None, "", 1.0)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            opt.step()
        except RunFailed as error:
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    asked.wait()
    opt.close()
    thread.join()
    assert "was closed while a step was under way" in str(faults[0])


def test_a_closed_stepper_says_so_and_a_forgotten_one_ends_its_thread():
    _, k = params()
    opt = stepper(k, out="run")
    say(opt, score=1.0)
    opt.close()
    opt.close()
    assert load_run("run").status == "interrupted"
    opt.backward(None, "", 1.0)
    with pytest.raises(RunFailed, match="the stepper is closed; make a new one, with the same out, to go on"):
        opt.step()
    assert opt.apply_best() == {"k": (1, 0)}
    forgotten = stepper(k)
    say(forgotten, score=1.0)
    assert any(thread.name == "agentopt-stepper" for thread in threading.enumerate())
    del forgotten
    gc.collect()
    assert not any(thread.name == "agentopt-stepper" for thread in threading.enumerate())
    Stepper([k]).close()


FORGOTTEN = """
import asyncio
from agentopt.core.candidate import Proposal
from agentopt.pipeline.stepper import Stepper
from agentopt.trace.params import Param

class Threaded:
    def __init__(self, context): ...
    def observe(self, entry, admission): ...
    async def propose(self, view, n, rng):
        return [Proposal({"k": await asyncio.to_thread(rng.random)})]

opt = Stepper([Param(0.0, "k")], optimizer=Threaded, out=None)
opt.backward(None, "", 1.0)
print(opt.step().number)
"""


def test_a_process_may_end_without_closing_anything():
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORGOTTEN], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
