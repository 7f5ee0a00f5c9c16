"""From outputs to scores, or to the failure that they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentopt.core import wire
from agentopt.core.errors import Reject
from agentopt.core.evaluation import Failure, Measured
from agentopt.core.task import Case, Measure, Objective, Score, Task
from agentopt.scoring.judge import Judge, Verdict

CASE = Case("c", {"x": 1}, expected=2)
ONE = (Objective("s", "max"),)
NOTHING = Measured()
TWO = (Objective("a", "max"), Objective("b", "min"))


def judge(result, objectives=ONE, measures=(), measured=NOTHING, output=None):
    def score(case, output, measured):
        if isinstance(result, BaseException):
            raise result
        return result

    return Judge(tuple(objectives), tuple(measures), score).judge(CASE, wire.encode(output), measured)


@pytest.mark.parametrize("result", [2, 2.0, True, np.float32(2), np.int64(2), np.bool_(True), np.array(2.0), {"s": 2}, Score(s=2)])
def test_every_spelling_of_one_number(result):
    verdict = judge(result)
    assert verdict.failure is None
    assert verdict.scores == {"s": 1.0 if result in (True,) and isinstance(result, bool | np.bool_) else 2.0}
    assert type(verdict.scores["s"]) is float


def test_a_score_brings_feedback_and_measures():
    verdict = judge(Score(a=1, b=2, feedback="bin 3\x1b[2J is full", measures={"size": 4}), TWO, [Measure("size", 0, 10)])
    assert verdict == Verdict({"a": 1.0, "b": 2.0}, {"size": 4.0}, "bin 3[2J is full")


def test_a_dict_may_bring_them_too():
    verdict = judge({"b": 2, "a": 1, "feedback": "ok", "measures": {"size": 4}}, TWO, [Measure("size", 0, 10)])
    assert verdict == Verdict({"a": 1.0, "b": 2.0}, {"size": 4.0}, "ok")
    assert list(verdict.scores) == ["a", "b"]


def test_objectives_from_outside_are_filled_in_and_need_no_score():
    outside = [Objective(q, "min", source="outside", quantity=q) for q in ("wall", "cpu", "peak_bytes")]
    verdict = judge(None, outside, measured=Measured(1.5, 0.5, 4096))
    assert verdict.scores == {"wall": 1.5, "cpu": 0.5, "peak_bytes": 4096.0}
    mixed = judge(0.25, [outside[0], *ONE], measured=Measured(1.5))
    assert mixed.scores == {"wall": 1.5, "s": 0.25}


@pytest.mark.parametrize(
    ("result", "objectives", "words"),
    [
        (None, ONE, "score: the result is a NoneType, not a number"),
        ("2", ONE, "is a str, not a number"),
        ([1], ONE, "is a list, not a number"),
        (2, TWO, "not a Score with a, b"),
        ({"s": "high"}, ONE, "'s' is a str, not a number"),
        ({"s": 1j}, ONE, "'s' is a complex"),
        ({}, ONE, "'s' is missing"),
        ({"s": 1, "t": 2}, ONE, "'t' is not declared; the task has: s"),
        (Score(a=1), TWO, "'b' is missing"),
        ({"s": 1, "measures": 3}, ONE, "measures is a int"),
        (Score(s=1, measures={"size": 1}), ONE, "measure 'size' is not declared; the task has: none"),
        (np.ones(2), ONE, "is a ndarray"),
    ],
)
def test_a_result_of_the_wrong_form_is_the_score_functions_mistake(result, objectives, words):
    failure = judge(result, objectives).failure
    assert failure is not None
    assert (failure.kind, failure.scorer_error) == ("wrong", True)
    assert words in failure.message


def test_a_declared_measure_must_be_there():
    failure = judge(1.0, measures=[Measure("size", 0, 1)]).failure
    assert failure is not None
    assert "'size' is missing" in failure.message


@pytest.mark.parametrize(("value", "spelled"), [(math.nan, "nan"), (-math.inf, "-inf"), (np.float32("nan"), "nan"), (10**400, "inf")])
def test_a_score_that_is_not_finite(value, spelled):
    assert judge(value).failure == Failure("nonfinite", f"the objective 's' is {spelled}")


def test_a_measure_that_is_not_finite():
    failure = judge(Score(s=1, measures={"size": math.nan}), measures=[Measure("size", 0, 1)]).failure
    assert failure is not None
    assert failure.kind == "nonfinite"


def test_reject_is_the_candidates_failure():
    assert judge(Reject("bin 3 holds 104 of 100")).failure == Failure("wrong", "bin 3 holds 104 of 100")
    assert judge(Reject()).failure == Failure("wrong", "rejected by the task")


def test_any_other_error_is_the_scorers_with_its_traceback():
    failure = judge(KeyError("missing")).failure
    assert failure is not None
    assert (failure.kind, failure.scorer_error) == ("wrong", True)
    assert "in score" in failure.message
    assert "KeyError: 'missing'" in failure.message
    assert "_call" not in failure.message


@pytest.mark.parametrize(("score", "cheats"), [(1.0, False), (1.0 + 1e-12, False), (1.001, True), (0.0, False), (-1e-3, True)])
def test_a_score_past_a_declared_bound_is_a_cheat(score, cheats):
    failure = judge(score, [Objective("s", "max", floor=0.0, ceiling=1.0)]).failure
    assert (failure is not None and failure.kind == "cheat") == cheats


def test_measurements_have_bounds_too():
    objective = Objective("t", "min", source="outside", floor=1e-3)
    failure = judge(None, [objective], measured=Measured(wall=1e-6)).failure
    assert failure is not None
    assert (failure.kind, "below the floor of 0.001" in failure.message) == ("cheat", True)


@pytest.mark.parametrize(("data", "kind"), [(wire.encode(math.nan), "nonfinite"), (b"rubbish", "cheat"), (b"", "cheat")])
def test_outputs_that_are_no_values(data, kind):
    verdict = Judge(ONE, (), lambda case, output, measured: 1.0).judge(CASE, data, Measured())
    assert verdict.failure is not None
    assert verdict.failure.kind == kind


def test_arrays_arrive_as_arrays():
    seen = []

    def score(case, output, measured):
        seen.append(output)
        return float(output.sum())

    verdict = Judge(ONE, (), score).judge(CASE, wire.encode(np.arange(4)), Measured())
    assert verdict.scores == {"s": 6.0}
    assert isinstance(seen[0], np.ndarray)


@pytest.mark.parametrize("output", [0.5, {"s": 0.5}, {"s": 0.5, "feedback": "x"}])
def test_without_score_the_output_is_the_score(output):
    verdict = Judge(ONE).judge(CASE, wire.encode(output), Measured())
    assert verdict.scores == {"s": 0.5}


def test_a_self_reported_result_of_the_wrong_form_is_the_candidates_mistake():
    failure = Judge(ONE).judge(CASE, wire.encode("high"), Measured()).failure
    assert failure is not None
    assert (failure.kind, failure.scorer_error) == ("wrong", False)
    assert failure.message.startswith("evaluate: ")


@pytest.mark.parametrize("verdict", [Verdict({"s": 1.0}, {"m": 2.0}, "text"), Verdict(failure=Failure("wrong", "why", True))])
def test_verdicts_go_through_json(verdict):
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_the_judge_of_a_task():
    task = Task("t", objectives=[Objective("s")], measures=[Measure("m", 0, 1)])
    assert Judge.of(task) == Judge((Objective("s"),), (Measure("m", 0, 1),), None)
