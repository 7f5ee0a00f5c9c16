from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from agentopt.llm.choosers import BanditChooser, Chooser, WeightedChooser


def test_who_is_left_out_is_not_chosen_unless_alone() -> None:
    weighted, bandit = WeightedChooser({"a": 1000.0, "b": 1.0}), BanditChooser(["a", "b"])
    for chooser in (weighted, bandit):
        assert {chooser.choose(Random(seed), {}, {"a"}) for seed in range(20)} == {"b"}
        assert chooser.choose(Random(0), {}, {"a", "b"}) in ("a", "b")
    bandit.observe("a", 1.0, 0.1)
    bandit.observe("b", 0.0, 0.1)
    assert bandit.choose(Random(0), {}, ["a"]) == "b"


def test_weights_are_kept_and_the_generator_decides() -> None:
    chooser = WeightedChooser({"a": 1.0, "b": 3.0})
    rng = Random(1)
    drawn = Counter(chooser.choose(rng) for _ in range(4000))
    chooser.observe("a", 100.0, 0.0)
    assert drawn["b"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert [chooser.choose(Random(k)) for k in range(50)] == [WeightedChooser({"a": 1.0, "b": 3.0}).choose(Random(k)) for k in range(50)]


def play(chooser: Chooser, models: dict[str, tuple[float, float | None]], rounds: int) -> Counter[str]:
    """models: name -> (chance of a gain of 2, USD per request)."""
    rng = Random(3)
    asked: Counter[str] = Counter()
    for _ in range(rounds):
        name = chooser.choose(rng)
        chance, usd = models[name]
        chooser.observe(name, 2.0 if rng.random() < chance else 0.0, usd)
        asked[name] += 1
    return asked


def test_each_model_is_asked_once_first_and_pending_ones_count() -> None:
    chooser = BanditChooser(["a", "b", "c"])
    rng = Random(0)
    assert chooser.choose(rng) == "a"
    assert chooser.choose(rng, {"a": 1}) == "b"
    assert chooser.choose(rng, {"a": 1, "b": 1}) == "c"
    chooser.observe("a", 0.0, 0.01)
    assert chooser.choose(rng, {"b": 1, "c": 1}) == "a", "what has cost nothing yet is no bargain"


def test_the_formula() -> None:
    chooser = BanditChooser(["a", "b"])
    for name, gain, usd in [("a", 4.0, 0.02), ("b", 1.0, 0.01), ("b", 2.0, 0.03), ("a", 0.0, 0.02)]:
        chooser.observe(name, gain, usd)
    bonus = math.sqrt(2 * math.log(4) / 2)
    bounds = {"a": (2.0 / 4.0 + bonus) / 0.02, "b": (1.5 / 4.0 + bonus) / 0.02}
    assert chooser.choose(Random(0)) == max(bounds, key=bounds.__getitem__) == "a"
    chooser.observe("a", 0.0, 0.2)
    bounds = {"a": (4 / 3 / 4 + math.sqrt(2 * math.log(5) / 3)) / 0.08, "b": (1.5 / 4 + math.sqrt(2 * math.log(5) / 2)) / 0.02}
    assert chooser.choose(Random(0)) == max(bounds, key=bounds.__getitem__) == "b"


def test_a_cheap_model_that_gains_as_often_is_asked_most() -> None:
    asked = play(BanditChooser(["dear", "cheap"]), {"dear": (0.5, 0.1), "cheap": (0.5, 0.01)}, 300)
    assert asked["cheap"] > 250


def test_a_dear_model_is_asked_when_its_gains_are_worth_it() -> None:
    asked = play(BanditChooser(["dear", "poor"]), {"dear": (0.9, 0.02), "poor": (0.0, 0.01)}, 2000)
    assert asked["dear"] > 1000


def test_with_an_unknown_cost_gains_alone_decide() -> None:
    asked = play(BanditChooser(["dear", "unknown"]), {"dear": (0.9, 10.0), "unknown": (0.1, None)}, 500)
    assert asked["dear"] > 350


def test_a_free_model_is_preferred_and_nothing_divides_by_zero() -> None:
    asked = play(BanditChooser(["free", "paid"]), {"free": (0.3, 0.0), "paid": (0.3, 0.01)}, 200)
    assert asked["free"] > 150


def test_observations_alone_make_the_state() -> None:
    first, second = BanditChooser(["a", "b"]), BanditChooser(["a", "b"])
    seen = []
    rng = Random(9)
    for _ in range(40):
        name = first.choose(rng)
        first.choose(rng)
        seen.append((name, rng.random(), 0.01 if name == "a" else 0.02))
        first.observe(*seen[-1])
    for observation in seen:
        second.observe(*observation)
    assert first.choose(Random(0)) == second.choose(Random(1))
