"""What requests cost, and what they can cost at most. An unknown price is None, never 0."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agentopt.core.calls import Bound
from agentopt.core.chat import ChatRequest, Usage
from agentopt.core.errors import ConfigError

__all__ = ["Price", "cost", "known_prices", "parse_price", "upper_bound"]

_TABLE = Path(__file__).with_name("prices.csv")
_MILLION = 1_000_000
_TOKENS_PER_MESSAGE = 16
_TOKENS_PER_REQUEST = 256


@dataclass(frozen=True)
class Price:
    """USD per million tokens. Without a price for cached input, cached input costs what input costs. ``date`` is when it was so."""

    input: float
    output: float
    cached: float | None = None
    date: str = ""
    source: str = ""


@cache
def known_prices() -> dict[str, Price]:
    """``openai:NAME`` -> price, as of the date in the table. Names are exact: snapshots of a model may differ in price."""
    with _TABLE.open(newline="", encoding="utf-8") as file:
        return {
            row["model"]: Price(float(row["input"]), float(row["output"]), float(row["cached"]), row["date"], row["source"])
            for row in csv.DictReader(file)
        }


def parse_price(text: str, where: str = "--price") -> Price:
    """``"0.15,0.60"`` or ``"0.15,0.60,0.075"``: USD per million tokens of input, output and cached input. Raises ConfigError."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(0 <= number < math.inf for number in numbers):
        raise ConfigError(f"{where} {text!r}: give USD per million tokens of input and output, for example {where} 0.15,0.60")
    return Price(numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else None, source=where)


def cost(usage: Usage | None, price: Price | None) -> float | None:
    """USD for ``usage``; None if either is unknown."""
    if usage is None or price is None:
        return None
    cached = min(usage.cached_tokens or 0, usage.input_tokens)
    rate = price.input if price.cached is None else price.cached
    return ((usage.input_tokens - cached) * price.input + cached * rate + usage.output_tokens * price.output) / _MILLION


def upper_bound(request: ChatRequest, price: Price | None = None) -> Bound:
    """The most that one HTTP request for ``request`` can take, to be reserved before it is made.

    A tokenizer that works on bytes makes at most one token of each; roles, separators and the server's own template get an allowance.
    """
    size = sum(len(message.content.encode(errors="surrogatepass")) + _TOKENS_PER_MESSAGE for message in request.messages)
    given, made = size + _TOKENS_PER_REQUEST, request.max_output_tokens
    dearest = None if price is None else Price(max(price.input, price.cached or 0.0), price.output)
    return Bound(given, made, None if made is None else cost(Usage(given, made), dearest))
