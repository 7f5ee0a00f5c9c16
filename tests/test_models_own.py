"""Settings -> what counts the calls of models that a workflow makes itself."""

import pytest

from agentopt.core.chat import Usage
from agentopt.core.errors import ConfigError
from agentopt.models import journal_of, metering_of, pricing_of
from agentopt.settings import RunConfig

MILLION = Usage(1_000_000, 1_000_000)


def config(**llm):
    return RunConfig.model_validate({"optimizer": {"name": "mutate"}, "llm": llm, "archive": {"name": "pareto"}})


def test_prices_hold_for_the_providers_own_address_or_are_given():
    price = pricing_of(config(prices={"own/model": "1,2"}))
    assert price("openai:gpt-4o-mini", MILLION) == price("litellm:openai/gpt-4o-mini", MILLION) == pytest.approx(0.75)
    assert price("openai-compatible:gpt-4o-mini", MILLION) is None
    assert price("openai-compatible:own/model", MILLION) == price("litellm:own/model", MILLION) == 3.0
    assert price("azure:unknown", MILLION) is None
    with pytest.raises(ConfigError, match=r"llm\.prices\.m 'cheap'"):
        pricing_of(config(prices={"m": "cheap"}))


def test_the_meter_has_the_prices_and_the_cap_of_the_settings():
    meter = metering_of(config(prices={"m": "1,2"}, max_output_tokens=99))
    assert meter.price("litellm:m", MILLION) == 3.0
    assert meter._cap == 99


def test_a_budget_of_calls_needs_somebody_who_calls():
    with pytest.raises(ConfigError, match="counts what models take, and none is named"):
        journal_of(config(), {"calls": 3})
    assert journal_of(config(), {"calls": 3}, own=True) is None
