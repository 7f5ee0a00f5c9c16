from __future__ import annotations

import math
from random import Random

import pytest

from agentopt.core.credit import Account, Gains, Lineage, Pool, largest_share, rates


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_gains_have_no_unit(scale: float, shift: float) -> None:
    rng = Random(3)
    keys = [10.0 - 0.1 * number + rng.random() for number in range(80)]
    plain, turned = Gains(), Gains()
    for key in keys:
        assert turned.add(key * scale + shift * scale) == pytest.approx(plain.add(key), abs=1e-6)


def test_only_a_new_best_gains_and_the_first_result_is_the_measure() -> None:
    gains = Gains()
    assert [gains.add(key) for key in (5.0, math.inf, 5.0, 6.0, 4.0)] == [0.0, 0.0, 0.0, 0.0, pytest.approx(1 / 2)]
    assert 0.0 < gains.add(3.999) < 0.01
    assert Gains().add(-math.inf) == 0.0
    alike = Gains()
    assert [alike.add(key) for key in (5.0, 5.0, 4.0)] == [0.0, 0.0, 1.0]
    huge = Gains()
    assert [huge.add(key) for key in (1.7e308, -1.7e308)] == [0.0, 0.0]


def test_what_lies_long_ago_is_no_measure() -> None:
    gains = Gains()
    for key in (1e9, *[100.0 + number % 3 for number in range(60)]):
        gains.add(key)
    assert gains.add(98.0) == pytest.approx(0.5)


def test_a_lineage_shares_all_of_a_gain() -> None:
    lineage = Lineage()
    lineage.add("a", "one", ("seed",))
    lineage.add("b", "two", ("a",))
    lineage.add("c", "three", ("b", "seed"))
    lineage.add("d", "four", ("b", "c"))
    assert lineage.shares("a") == {"one": 1.0}
    assert lineage.shares("b") == pytest.approx({"two": 0.7, "one": 0.3})
    assert lineage.shares("d") == pytest.approx({"four": 0.7, "two": 0.105 + 0.0315, "one": 0.045 + 0.0135, "three": 0.105})
    lineage.add("d", "late", ())
    assert "late" not in lineage.shares("d"), "who made it first made it"
    parents: tuple[str, ...] = ()
    for name in "opqrstuv":
        lineage.add(name, name, parents)
        parents = (name,)
    assert list(lineage.shares("v")) == ["v", "u", "t", "s"]
    assert sum(lineage.shares("v").values()) == pytest.approx(1.0)


def test_rates_are_gain_per_cost_in_the_unit_that_tells_most() -> None:
    some = {"a": Account(gain=1.0, answers=10.0), "b": Account(gain=3.0, answers=10.0)}
    assert rates(some)["b"] > 2 * rates(some)["a"]
    some["a"].usd = 1.0
    assert rates(some)["b"] > rates(some)["a"], "one price alone says nothing"
    some["b"].usd = 10.0
    assert rates(some)["b"] < rates(some)["a"]
    some["b"].scarce, some["a"].scarce = 0.1, 0.2
    assert rates(some)["b"] > rates(some)["a"]


def test_rates_without_anything_to_compare() -> None:
    assert rates({"a": Account(), "b": Account()}) == {"a": 1.0, "b": 1.0}
    assert rates({"a": Account(answers=3.0, scarce=1.0), "b": Account()}) == {"a": 1.0, "b": 1.0}
    found = rates({"a": Account(gain=1.0, answers=3.0), "b": Account()})
    assert found["b"] == pytest.approx(1 / 3), "who has no answers yet has the common rate"


def test_a_pool_counts_fades_and_shares() -> None:
    pool = Pool(["a", "b"], 0.5)
    assert pool.shares(0.2, 5) == {"a": 0.5, "b": 0.5}
    pool.charge("a", {"evals": 1.0, "usd": 2.0}, 0.25)
    pool.charge("a", {"evals": 0.0, "usd": 2.0}, 0.25)
    account = pool.accounts["a"]
    assert (account.answers, account.usd, account.scarce, account.results, account.barren) == (1.5, 3.0, 0.375, 2, 2)
    assert (pool.used, pool.results, pool.mean("usd"), pool.mean("calls")) == ({"evals": 1.0, "usd": 4.0}, 2, 2.0, 0.0)
    assert pool.total == Account(0.0, 0.375, 3.0, 1.5, results=2)
    account.gain = 1.0
    assert pool.shares(0.2, 5)["a"] == pytest.approx(0.1 + 0.8 * 0.5)
    pool.charge("b", {}, 0.25)
    assert pool.shares(0.2, 5)["a"] > 0.6
    assert sum(pool.shares(0.2, 5).values()) == pytest.approx(1.0)


def test_an_arm_stands_back_after_its_plateau() -> None:
    pool = Pool(["a", "b"], 0.9)
    for _ in range(4):
        pool.charge("a", {}, 0.1)
    assert pool.shares(0.2, 4) == pytest.approx({"a": 0.1, "b": 0.9})
    for _ in range(4):
        pool.charge("b", {}, 0.1)
    assert pool.shares(0.2, 4) == pytest.approx({"a": 0.5, "b": 0.5})
    pool.charge("a", {}, 0.1)
    pool.begin_anew()
    assert pool.shares(1.0, 4) == {"a": 0.5, "b": 0.5}
    assert {account.barren for account in pool.accounts.values()} == {0}


def test_the_largest_share_of_what_was_left() -> None:
    most: dict[str, float] = {}
    used = {"calls": 2.0, "evals": 1.0, "usd": 5.0}
    assert largest_share(used, {"calls": 20.0, "evals": 100.0}, most) == 0.1
    assert largest_share(used, {"calls": 20.0, "evals": 4.0}, most) == 0.2, "not more than a twentieth of the most counts as the rest"
    assert largest_share(used, {"tokens": 0.0}, most) == 0.0
    assert largest_share(used, {}, most) == 0.0
    assert most == {"calls": 20.0, "evals": 100.0, "tokens": 0.0}
