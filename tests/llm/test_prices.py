from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.core.chat import ChatRequest, Message, Usage
from agentopt.core.errors import ConfigError
from agentopt.llm.prices import Price, cost, known_prices, parse_price, upper_bound
from tests.llm.helpers import ask


def test_every_known_price_has_a_date_and_a_source() -> None:
    assert len(known_prices()) >= 5
    for name, price in known_prices().items():
        assert re.fullmatch(r"openai:[\w.-]+", name)
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", price.date)
        assert price.source
        assert price.cached is not None
        assert 0 < price.cached < price.input < price.output


def test_a_price_of_ones_own() -> None:
    assert parse_price("0.15,0.60") == Price(0.15, 0.6, source="--price")
    assert parse_price(" 3, 15 ,0.3") == Price(3.0, 15.0, 0.3, source="--price")
    assert parse_price("0,0") == Price(0.0, 0.0, source="--price")


@pytest.mark.parametrize("text", ["", "1", "1,2,3,4", "cheap,dear", "-1,2", "nan,1", "1,inf"])
def test_a_price_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--price .*: give USD per million tokens .* --price 0\.15,0\.60"):
        parse_price(text)


def test_cost() -> None:
    usage = Usage(1000, 100, 400)
    assert cost(usage, Price(1.0, 10.0, 0.1)) == pytest.approx((600 + 40 + 1000) / 1e6)
    assert cost(usage, Price(1.0, 10.0)) == pytest.approx((1000 + 1000) / 1e6), "no discount without a price for it"
    assert cost(Usage(10, 0, 99), Price(1.0, 10.0, 0.0)) == 0.0, "no more can be cached than was given"
    assert cost(usage, Price(0.0, 0.0)) == 0.0


def test_what_is_unknown_is_never_nothing() -> None:
    assert cost(None, Price(1.0, 1.0)) is None
    assert cost(Usage(1, 1), None) is None
    assert upper_bound(ask(max_output_tokens=5)).usd is None
    assert upper_bound(ask(), Price(1.0, 1.0)).usd is None
    assert upper_bound(ask()).output_tokens is None


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(1, 10_000), st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_nothing_that_keeps_to_the_cap_costs_more_than_the_bound(
    texts: list[str], cap: int, given_: float, made: float, cached: float
) -> None:
    request = ChatRequest(tuple(Message("user", text) for text in texts), max_output_tokens=cap)
    price = Price(given_, made, cached)
    bound = upper_bound(request, price)
    worst = Usage(sum(len(text.encode()) for text in texts) + 4 * len(texts), cap)
    assert not bound.exceeded_by(worst)
    assert bound.usd is not None
    for part in (0, worst.input_tokens):
        told = cost(Usage(worst.input_tokens, cap, part), price)
        assert told is not None
        assert told <= bound.usd * (1 + 1e-9)


def test_who_goes_beyond_the_bound() -> None:
    bound = upper_bound(ask("four", max_output_tokens=10))
    assert bound.exceeded_by(Usage(5, 11))
    assert bound.exceeded_by(Usage(10_000, 1))
    assert not bound.exceeded_by(Usage(5, 10))
    assert not upper_bound(ask("four")).exceeded_by(Usage(5, 10**9)), "without a cap nothing is beyond it"


def test_half_a_surrogate_pair_has_a_size_too() -> None:
    assert upper_bound(ask("\ud800")).input_tokens > 0
