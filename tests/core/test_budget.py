from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt.core.budget import COUNTED_UNITS, Ledger, add_budgets, format_budget, parse_budget
from agentopt.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("60s", {"seconds": 60.0}),
        ("10m", {"seconds": 600.0}),
        ("1.5h", {"seconds": 5400.0}),
        ("500evals", {"evals": 500.0}),
        ("1eval", {"evals": 1.0}),
        ("2000 rollouts", {"rollouts": 2000.0}),
        ("1 rollout", {"rollouts": 1.0}),
        ("60s, 500 Evals", {"seconds": 60.0, "evals": 500.0}),
        ("+30s", {"seconds": 30.0}),
        ("0.25s", {"seconds": 0.25}),
    ],
)
def test_parse(text: str, budget: dict[str, float]) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "60", "s", "60 parsecs", "60s,", "-5s", "60sec", "5d", "1e3evals", "500evals;60s", "60 s s"])
def test_parse_says_what_an_amount_is(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--budget: .* is not an amount; write for example 60s, 10m"):
        parse_budget(text, "--budget")


@pytest.mark.parametrize("text", ["60s,1m", "5evals,1eval"])
def test_each_unit_once(text: str) -> None:
    with pytest.raises(ConfigError, match=r"budget: .* names (seconds|evals) twice; give each unit once"):
        parse_budget(text)


@pytest.mark.parametrize(("text", "end"), [("0s", ""), ("0evals", "whole"), ("1.5evals", "whole"), ("9" * 400 + "evals", "whole")])
def test_amounts_make_sense(text: str, end: str) -> None:
    with pytest.raises(ConfigError, match=f"must be above 0 and finite.*{end}$"):
        parse_budget(text)


AMOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "seconds": st.floats(1e-9, 1e12),
        "evals": st.integers(1, 10**12).map(float),
        "rollouts": st.integers(1, 10**12).map(float),
    },
).filter(bool)


@given(AMOUNTS)
@settings(deadline=None)
def test_format_is_the_inverse_of_parse(budget: dict[str, float]) -> None:
    assert parse_budget(format_budget(budget)) == budget


def test_format_is_short() -> None:
    assert format_budget({"seconds": 60.0, "evals": 500.0}) == "60s,500evals"
    assert format_budget({"seconds": 1_500_000.0}) == "1500000s"
    assert format_budget({"seconds": 5}) == "5s"


def test_add() -> None:
    assert add_budgets({"evals": 100.0, "seconds": 5.0}, {"evals": 50.0}) == {"evals": 150.0, "seconds": 5.0}
    assert add_budgets({"evals": 100.0}, {"seconds": 60.0}) == {"evals": 100.0}, "an unlimited unit stays unlimited"


def test_ledger_reserves_before_it_spends() -> None:
    ledger = Ledger({"evals": 3.0})
    assert ledger.reserve("evals", 2)
    assert ledger.left("evals") == 1
    assert not ledger.reserve("evals", 2)
    assert ledger.left("evals") == 1, "a promise that does not fit changes nothing"
    ledger.settle("evals", 1)
    assert (ledger.spent, ledger.reserved) == ({"evals": 1.0}, {"evals": 1.0})
    ledger.release("evals", 1)
    assert ledger.left("evals") == 2


def test_ledger_without_a_limit() -> None:
    ledger = Ledger({})
    assert ledger.left("rollouts") == math.inf
    assert ledger.reserve("rollouts", 10**9)
    ledger.settle("rollouts", 10**9)
    assert ledger.spent == {"rollouts": 1e9}


@given(st.integers(0, 20), st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release"]), st.integers(1, 5))))
@settings(deadline=None)
def test_ledger_never_overshoots(limit: int, steps: list[tuple[str, int]]) -> None:
    ledger = Ledger({"evals": float(limit)})
    promised = 0
    for step, amount in steps:
        if step == "reserve":
            promised += amount * ledger.reserve("evals", amount)
        elif promised >= amount:
            getattr(ledger, step)("evals", amount)
            promised -= amount
        assert ledger.spent.get("evals", 0) + promised + ledger.left("evals") == limit
        assert ledger.left("evals") >= 0


def test_counted_units() -> None:
    assert COUNTED_UNITS == ("evals", "rollouts", "calls", "tokens")
