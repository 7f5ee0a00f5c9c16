"""One call of a model that a workflow makes: a node of the trace, and a share of the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any, cast

from agentopt.core.chat import Usage
from agentopt.core.metering import METER, PRICES, Ticket
from agentopt.trace.context import CURRENT, SPAN
from agentopt.trace.exchange import Endpoint, Reply, bound_of, cap_of, shown
from agentopt.trace.node import Node
from agentopt.trace.params import Param
from agentopt.trace.values import Proxy

__all__ = ["INSIDE", "Call", "held", "plain"]

INSIDE: ContextVar[Call | None] = ContextVar("agentopt_client_call", default=None)
"""The call under way here: what one client has another do is part of it, and no call of its own."""
_PROXIES: tuple[type[Any], ...] = (Proxy, Node)
_LINKED: tuple[type[Any], ...] = (Param, *_PROXIES)
_NEVER_BILLED = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
_KINDS: Mapping[int, str] = {400: "bad_request", 401: "auth", 403: "auth", 404: "not_found", 422: "bad_request", 429: "rate_limit"}
_SETTINGS = ("temperature", "top_p", "seed", "n", "stop", "max_tokens", "max_completion_tokens", "max_output_tokens", "reasoning_effort")


class Held:
    """A parameter or a node on its way through code that would look into it."""

    __slots__ = ("given",)

    def __init__(self, given: Any) -> None:
        self.given = given


def held(value: Any) -> Any:
    """The JSON itself, or a copy with each parameter and node in it ``Held``."""
    return _hold(value) if _has_linked(value) else value


def _has_linked(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_linked, cast("dict[Any, Any]", value).values()))
    if isinstance(value, list | tuple):
        return any(map(_has_linked, cast("list[Any]", value)))
    return isinstance(value, _LINKED)


def _hold(value: Any) -> Any:
    return Held(value) if isinstance(value, _LINKED) else _mapped(value, _hold)


def plain(value: Any) -> Any:
    """A copy of a request's JSON with the current values of parameters and nodes in their places. Texts stay the objects they were."""
    return _without_nodes(_without_params(value))


def _without_params(value: Any) -> Any:
    value = value.given if isinstance(value, Held) else value
    return value.value if isinstance(value, Param) else _mapped(value, _without_params)


def _without_nodes(value: Any) -> Any:
    return value.value if isinstance(value, _PROXIES) else _mapped(value, _without_nodes)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: change(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [change(item) for item in cast("list[Any]", value)]
    return value


class Call:
    """From the request to the last word of the reply. Exactly one of ``done``, ``failed`` and ``dropped`` has an effect: the first."""

    def __init__(self, provider: str, endpoint: Endpoint, body: Mapping[str, Any], cap_name: str) -> None:
        """``body`` may hold parameters; ``self.body`` is what has to be sent in its place."""
        self.trace, self.span = CURRENT.get(), SPAN.get()
        self.meter, self.prices = METER.get(), PRICES.get()
        self.number = self.trace.number() if self.trace else -1
        self.attempts = 1
        linked = self._read(body)
        self.body: dict[str, Any] = _without_nodes(linked)
        self._said = {role: self.trace.keep(value) for role, value in shown(linked).items()} if self.trace else {}
        self.endpoint: Endpoint = endpoint
        self.model = str(self.body.get("model") or "unknown")
        self.provider = provider
        if self.meter and self.meter.output_cap is not None and cap_of(endpoint, self.body) is None:
            self.body[cap_name] = self.meter.output_cap
        self._ticket: Ticket | None = None
        self._ended = False
        self._began = perf_counter()

    def _read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """With the values of parameters, which are read inside of this call."""
        token = SPAN.set(self.number if self.trace else self.span)
        try:
            return _without_params(body)
        finally:
            SPAN.reset(token)

    # --- before ----------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Raises BudgetSpent."""
        if self.meter:
            self._ticket = self.meter.begin(self.name, bound_of(self.endpoint, self.body), self._about)
        self._began = perf_counter()

    async def abegin(self) -> None:
        if self.meter:
            self._ticket = await self.meter.abegin(self.name, bound_of(self.endpoint, self.body), self._about)
        self._began = perf_counter()

    @property
    def watched(self) -> bool:
        """Whether anybody wants to know how it ends."""
        return self.trace is not None or self.meter is not None

    @property
    def name(self) -> str:
        return f"{self.provider}:{self.model}"

    @property
    def _about(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "stream": bool(self.body.get("stream"))}

    # --- after -----------------------------------------------------------------------------------------------------------

    def done(self, reply: Reply) -> None:
        """The reply is there, or as much of it as somebody read."""
        if self._end():
            if self._ticket:
                self._ticket.end(reply.usage)
            self._add(reply.value, self._meta(reply), failed=False)

    def broke(self, reply: Reply, error: BaseException) -> None:
        """A stream broke in the middle."""
        if self._end():
            if self._ticket:
                self._ticket.fail(_kind(error) or "cut", billed=True)
            self._add(reply.value, self._meta(reply) | {"error": _kind(error) or "cut"}, failed=False)

    def failed(self, error: BaseException) -> None:
        """No reply came."""
        if self._end():
            status = _status(error)
            if self._ticket:
                self._ticket.fail(_kind(error), billed=status not in _NEVER_BILLED)
            about = {"error": _kind(error)} | ({} if status is None else {"status": status})
            self._add(error, self._settings | about, failed=True)

    def _end(self) -> bool:
        first, self._ended = not self._ended, True
        return first

    @property
    def _settings(self) -> dict[str, Any]:
        settings = {name: self.body[name] for name in _SETTINGS if self.body.get(name) is not None}
        return {"provider": self.provider, "attempts": self.attempts, "settings": settings}

    def _meta(self, reply: Reply) -> dict[str, Any]:
        meta = self._settings | {"served_by": reply.model, "finish": reply.finish}
        if reply.usage is not None:
            meta |= {"tokens_in": reply.usage.input_tokens, "tokens_out": reply.usage.output_tokens, "cost_usd": self._cost(reply.usage)}
        return meta if reply.complete else meta | {"complete": False}

    def _cost(self, usage: Usage) -> float | None:
        return self.prices(self.name, usage) if self.prices else None

    def _add(self, value: Any, meta: dict[str, Any], failed: bool) -> None:
        if self.trace is None:
            return
        ended = perf_counter()
        kind = "exception" if failed else "tool" if self.endpoint == "embeddings" else "llm"
        meta["latency"] = round(ended - self._began, 6)
        if failed:
            meta["traceback"] = value.__traceback__
        else:
            value = self.trace.keep(value)
        done = self.trace.number()
        self.trace.rows.append((self.number, kind, self.model, self.span, (), self._said, value, self._began, ended, meta, done))


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _kind(error: BaseException) -> str:
    """As in ``core.chat``, by what the SDKs' errors have in common; ``cancelled`` and ``other`` for what is no error of a model's."""
    status, name, code = _status(error), type(error).__name__, getattr(error, "code", None)
    if code in ("context_length_exceeded", "content_filter"):
        return "content_filter" if code == "content_filter" else "context_length"
    if "Timeout" in name:
        return "timeout"
    if "Connection" in name or "Protocol" in name:
        return "connection"
    if status is not None:
        return _KINDS.get(status, "server" if status >= 500 else "bad_request")
    return "cancelled" if name == "CancelledError" else "other"
