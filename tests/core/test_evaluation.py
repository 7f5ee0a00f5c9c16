from __future__ import annotations

import json
from statistics import stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import FAILURE_KINDS, Admission, Aggregate, Entry, Evaluation, Failure, Measured, Rollout, aggregate
from agentopt.core.task import Objective

ACCURACY = Objective("accuracy", "max", floor=0.0)
SECONDS = Objective("seconds", "min")
NUMBERS = st.floats(-1e6, 1e6)
FAILURES = st.builds(Failure, st.sampled_from(FAILURE_KINDS), st.text(), st.booleans())
ROLLOUTS = st.builds(
    Rollout,
    case=st.text(),
    split=st.sampled_from(["train", "validation", "test"]),
    repeat=st.integers(0, 9),
    rng_seed=st.integers(0, 2**32 - 1),
    scores=st.dictionaries(st.text(), NUMBERS),
    measures=st.dictionaries(st.text(), NUMBERS),
    feedback=st.text(),
    output=st.text(),
    printed=st.text(),
    failure=st.none() | FAILURES,
    measured=st.builds(Measured, st.integers(0, 100).map(float), st.integers(0, 100).map(lambda n: n / 8), st.integers(0, 2**40)),
)


def rollout(case: str, score: float | None = None, *, repeat: int = 0, split: str = "train", **more: float) -> Rollout:
    failure = Failure("crash") if score is None else None
    return Rollout(case, split, repeat, 1, {} if score is None else {"accuracy": score, **more}, failure=failure)


@given(ROLLOUTS)
@settings(deadline=None)
def test_a_rollout_comes_back_from_json(given_rollout: Rollout) -> None:
    assert Rollout.from_json(json.loads(json.dumps(given_rollout.to_json()))) == given_rollout


@given(FAILURES)
@settings(deadline=None)
def test_a_failure_comes_back_from_json(failure: Failure) -> None:
    assert Failure.from_json(json.loads(json.dumps(failure.to_json()))) == failure


def test_defaults_take_no_room_in_the_log() -> None:
    assert rollout("a", 1.0).to_json().keys() == {"case", "split", "repeat", "rng_seed", "scores", "measured"}
    assert Failure("crash", "x").to_json() == {"kind": "crash", "message": "x"}


def test_a_log_of_an_older_version_lacks_fields() -> None:
    old = Rollout.from_json({"case": "a", "split": "train", "repeat": 0, "rng_seed": 1})
    assert old == Rollout("a", "train", 0, 1)
    assert old.key == ("a", 0)


def test_an_aggregate_comes_back_from_json() -> None:
    given_aggregate = Aggregate({"accuracy": 0.5}, 3, {"accuracy": 0.1})
    assert Aggregate.from_json(json.loads(json.dumps(given_aggregate.to_json()))) == given_aggregate


def test_every_case_weighs_the_same() -> None:
    rollouts = [rollout("a", 0.0), rollout("b", 1.0), rollout("b", 1.0, repeat=1), rollout("b", 0.5, repeat=2)]
    found = aggregate(rollouts, [ACCURACY])
    cases = [0.0, 2.5 / 3]
    assert found.scores["accuracy"] == pytest.approx(sum(cases) / 2)
    assert found.spread["accuracy"] == pytest.approx(stdev(cases))
    assert found.n == 4


def test_one_case_has_no_spread() -> None:
    assert aggregate([rollout("a", 0.5)], [ACCURACY]) == Aggregate({"accuracy": 0.5}, 1, {"accuracy": 0.0})


def test_a_failure_counts_as_the_worst() -> None:
    found = aggregate([rollout("a", 1.0), rollout("b")], [ACCURACY])
    assert found.scores == {"accuracy": 0.5}


def test_the_tasks_own_aggregate() -> None:
    found = aggregate(
        [rollout("a", 1.0, seconds=2.0), rollout("b", 0.5, seconds=4.0)],
        [ACCURACY, SECONDS],
        lambda cases: {name: max(case[name] for case in cases) for name in ("accuracy", "seconds")},
    )
    assert found.scores == {"accuracy": 1.0, "seconds": 4.0}
    assert found.spread["seconds"] == pytest.approx(stdev([2.0, 4.0]))


def entry(evaluation: Evaluation | None) -> Entry:
    return Entry(Candidate("id", {}), evaluation)


def test_an_entry_shows_its_scores() -> None:
    splits = {"train": Aggregate({"accuracy": 0.9}, 1, {}), "validation": Aggregate({"accuracy": 0.7}, 1, {})}
    found = entry(Evaluation("id", splits=splits))
    assert (found.id, found.scores, found.confirmed, found.failure) == ("id", {"accuracy": 0.9}, {"accuracy": 0.7}, None)


def test_without_validation_the_search_scores_stand() -> None:
    found = entry(Evaluation("id", splits={"train": Aggregate({"accuracy": 0.9}, 1, {})}))
    assert found.confirmed == {"accuracy": 0.9}


def test_a_failed_entry_has_no_scores() -> None:
    found = entry(Evaluation("id", splits={"train": Aggregate({"accuracy": 0.9}, 1, {})}, failure=Failure("timeout")))
    assert (found.scores, found.confirmed, found.failure) == ({}, {}, Failure("timeout"))


def test_an_entry_that_is_still_evaluated() -> None:
    found = entry(None)
    assert (found.scores, found.confirmed, found.failure, found.case_scores()) == ({}, {}, None, {})


def test_case_scores_are_the_last_repeats() -> None:
    rollouts = (rollout("a", 0.1), rollout("a", 0.2, repeat=1), rollout("b"), rollout("c", 0.3, split="validation"))
    found = entry(Evaluation("id", rollouts))
    assert found.case_scores() == {"a": {"accuracy": 0.2}}
    assert found.case_scores("validation") == {"c": {"accuracy": 0.3}}


def test_an_admission_says_little_by_default() -> None:
    assert Admission("dominated") == Admission("dominated", (), 0.0)
