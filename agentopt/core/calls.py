"""The calls of models, as a fold of the log counts them: at their upper bound while nobody knows how they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentopt.core.chat import Usage

__all__ = ["Bound", "Calls"]


@dataclass(frozen=True)
class Bound:
    """The most that one HTTP request can take.

    ``input_tokens`` bounds the prompt, by its bytes. ``output_tokens`` is None without a cap, ``usd`` without a cap or a price.
    """

    input_tokens: int
    output_tokens: int | None
    usd: float | None

    @property
    def tokens(self) -> int | None:
        """Of both kinds together; None without a cap."""
        return None if self.output_tokens is None else self.input_tokens + self.output_tokens

    def exceeded_by(self, usage: Usage) -> bool:
        """Whether a server counted more than it was allowed: it does not honour the cap, or puts a long prompt of its own before ours."""
        return usage.input_tokens > self.input_tokens or (self.output_tokens is not None and usage.output_tokens > self.output_tokens)


@dataclass
class Calls:
    """One request is one ``llm_request``, an HTTP request or its like, and ends with one ``llm_reply``."""

    requests: int = 0
    replies: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    """Requests without a reply, by kind of error; ``unknown`` for those that a process left open."""
    tokens: float = 0
    usd: float = 0.0
    untold: int = 0
    """Requests whose tokens nobody told and nothing bounds."""
    unpriced: int = 0
    """Requests whose cost is unknown."""
    bounded: int = 0
    """Requests that count at their bound, since nobody told what they took."""
    open: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict[tuple[str, str], Mapping[str, Any]])
    """(model, key) -> the data of a request that has no end yet."""

    def begin(self, data: Mapping[str, Any]) -> None:
        """``llm_request``."""
        self.requests += 1
        self._count(data, 1)
        self.open[data["model"], data["key"]] = data

    def end(self, data: Mapping[str, Any]) -> None:
        """``llm_reply``: what was taken, in the place of what could be."""
        self._count(self.open.pop((data["model"], data["key"])), -1)
        self._count(data, 1)
        self.bounded += "usage" not in data and bool(data.get("tokens"))
        if "error" in data or "unknown" in data:
            self.errors[data["error"]["kind"] if "error" in data else "unknown"] += 1
        else:
            self.replies += 1

    def _count(self, data: Mapping[str, Any], times: int) -> None:
        tokens, usd = data.get("tokens"), data.get("usd")
        self.tokens += times * (tokens or 0)
        self.usd += times * (usd or 0.0)
        self.untold += times * (tokens is None)
        self.unpriced += times * (usd is None)

    @property
    def spent(self) -> dict[str, float]:
        """In the units of budgets. Without ``usd`` while nothing was asked, and if the cost of any request is unknown."""
        known = {"calls": float(self.requests), "tokens": float(self.tokens)}
        return known if self.unpriced or not self.requests else known | {"usd": round(max(0.0, self.usd), 9)}
