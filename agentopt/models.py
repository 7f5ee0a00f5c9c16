"""Settings -> the models of a run, behind its journal, and the prompts of its optimizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agentopt.core.budget import MODEL_UNITS, format_budget
from agentopt.core.chat import ChatModel, Usage
from agentopt.core.errors import ConfigError
from agentopt.core.metering import Pricing
from agentopt.engine.journal import Journal
from agentopt.engine.metering import Metering
from agentopt.loading import bundled_root
from agentopt.prompts.templates import Templates
from agentopt.settings import RunConfig

if TYPE_CHECKING:
    from agentopt.llm.choose import ModelSpec
    from agentopt.llm.prices import Price

__all__ = ["OBJECT", "describe", "journal_of", "metering_of", "named", "pricing_of", "prompts_of"]

OBJECT = "object "
"""Before the name of a model that was given as an object, which only its owner can give again."""
_IN_FILES = ("relay", "replay")


def named(config: RunConfig, environ: Mapping[str, str] = os.environ) -> RunConfig:
    """With the model of AGENTOPT_MODEL if none is named, and paths that mean the same in every folder. Raises ConfigError."""
    where, text = ("--model", config.model) if config.model else ("AGENTOPT_MODEL", environ.get("AGENTOPT_MODEL"))
    if not text or text.startswith(OBJECT):
        return config
    from agentopt.llm.choose import parse_models

    specs = [replace(spec, name=os.path.abspath(spec.name)) if spec.scheme in _IN_FILES else spec for spec in parse_models(text, where)]
    record = os.path.abspath(config.llm.record) if config.llm.record else None
    prompts = os.path.abspath(config.llm.prompts) if config.llm.prompts else None
    allowed = [os.path.abspath(path) for path in config.llm.agent_allow]
    llm = config.llm.model_copy(update={"record": record, "prompts": prompts, "agent_allow": allowed})
    return config.model_copy(update={"model": ",".join(_spelled(spec) for spec in specs), "llm": llm})


def _spelled(spec: ModelSpec) -> str:
    return f"{spec}@{spec.weight:g}" if spec.weight != 1 or "@" in spec.name else str(spec)


def describe(config: RunConfig) -> str:
    """What searches, for the first line of a run."""
    unsafe = " (agents run without a box)" if config.llm.unsafe_agent else ""
    return f"searching with {config.optimizer.name}, asking {config.model}{unsafe}"


def journal_of(config: RunConfig, budget: Mapping[str, float], given: ChatModel | None = None, own: bool = False) -> Journal | None:
    """The models that are named, or the one that was given as an object, ready to be asked; None if there are none. Raises UserError.

    ``own``: what is tried calls models itself.
    """
    if not config.model:
        for unit in MODEL_UNITS:
            if unit in budget and not own:
                raise ConfigError(f"budget: {format_budget({unit: budget[unit]})} counts what models take, and none is named; add --model")
        return None
    from agentopt.llm.cassette import Recorder
    from agentopt.llm.choose import ModelSettings, build_models, make_chooser, parse_models
    from agentopt.llm.choosers import WeightedChooser
    from agentopt.llm.prices import parse_price
    from agentopt.llm.retry import CallPolicy

    named = _given_prices(config)
    specs = () if given else parse_models(config.model)
    chooser = WeightedChooser({given.name: 1.0}) if given else make_chooser(specs, config.llm.choose)
    journal = Journal(chooser, config.llm.max_output_tokens)

    def around(model: ChatModel, price: Price | None) -> ChatModel:
        price = named.get(model.name.split(":", 1)[-1], price)
        if "usd" in budget and price is None:
            raise ConfigError(
                f"budget: the price of {model.name} is unknown, so USD cannot be counted; add --price INPUT,OUTPUT, or llm.prices"
            )
        return journal.metered(Recorder(model, config.llm.record) if config.llm.record else model, price)

    policy = CallPolicy(
        retries=config.llm.retries,
        concurrency=config.llm.concurrency,
        requests_per_minute=config.llm.requests_per_minute,
        tokens_per_minute=config.llm.tokens_per_minute,
    )
    price = parse_price(config.llm.price) if config.llm.price else None
    settings = ModelSettings(
        base_url=config.llm.base_url,
        price=price,
        timeout=config.llm.timeout,
        relay_seconds=config.llm.relay_seconds,
        policy=policy,
        around=around,
        agent_seconds=config.llm.agent_seconds,
        agent_allow=tuple(config.llm.agent_allow),
        agent_env=tuple(config.llm.agent_env),
        unsafe_agent=config.llm.unsafe_agent,
    )
    journal.use({given.name: around(given, price)} if given else build_models(specs, settings))
    return journal


def metering_of(config: RunConfig) -> Metering:
    """What counts the calls of models that what is tried makes itself. Raises ConfigError."""
    return Metering(pricing_of(config), config.llm.max_output_tokens)


def pricing_of(config: RunConfig) -> Pricing:
    """Prices by name, those of ``llm.prices`` first; the table's hold for the provider's own address only. Raises ConfigError."""
    from agentopt.llm.prices import cost, known_prices

    given = _given_prices(config)

    def price(model: str, usage: Usage) -> float | None:
        provider, _, name = model.partition(":")
        own = name if provider == "openai" else name.removeprefix("openai/") if provider == "litellm" else ""
        return cost(usage, given.get(name) or known_prices().get(f"openai:{own}"))

    return price


def _given_prices(config: RunConfig) -> dict[str, Price]:
    """By name, without the provider. Raises ConfigError."""
    from agentopt.llm.prices import parse_price

    return {name: parse_price(text, f"llm.prices.{name}") for name, text in config.llm.prices.items()}


def prompts_of(config: RunConfig, optimizer: str) -> Templates:
    """The optimizer's templates, those in the user's folder first. Raises ConfigError for one that cannot be used."""
    folders = [bundled_root("prompts")]
    if config.llm.prompts:
        folders.insert(0, Path(config.llm.prompts))
    return Templates(optimizer, folders, config.llm.prompt_tokens)
