"""The one place where a request is asked again: N retries are N+1 HTTP requests, whatever library sends them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from agentopt.core.chat import Attempt, ChatModel, ChatReply, ChatRequest, ModelError, OnAttempt
from agentopt.llm.limits import Breaker, Clock, Limits
from agentopt.llm.prices import Price, cost, upper_bound

__all__ = ["CallPolicy", "RetryingModel"]

_ABOUT_THE_REQUEST = frozenset({"bad_request", "context_length", "content_filter"})
"""Errors of a healthy model: they say nothing against it, so they do not open the circuit."""


@dataclass(frozen=True)
class CallPolicy:
    """How a model is called. Seconds and counts; None means no limit.

    The wait before retry *k* is drawn from 0 to ``base`` * 2**(k - 1) ("full jitter", Brooker, AWS Architecture Blog, 2015) and is
    at least what the server asked for; ``longest_wait`` caps both. ``breaker_failures`` failed requests in a row stop all requests
    for ``breaker_seconds``.
    """

    retries: int = 4
    base: float = 1.0
    longest_wait: float = 60.0
    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    breaker_failures: int = 5
    breaker_seconds: float = 30.0
    on_attempt: OnAttempt | None = None
    clock: Clock = field(default_factory=Clock)
    rng: Random = field(default_factory=Random)
    """Only for jitter: it changes when a request is made, never which."""


@dataclass
class _Call:
    """A request on its way: attempts so far and when the last of them ended, or the call began."""

    request: ChatRequest
    idle_since: float
    attempts: int = 0


class RetryingModel:
    """A model that makes one HTTP request per call and never asks again, with retries, limits, a circuit breaker, prices and reports."""

    def __init__(self, model: ChatModel, policy: CallPolicy | None = None, price: Price | None = None) -> None:
        self.policy = policy or CallPolicy()
        self.price = price
        self._model = model
        self._clock = self.policy.clock
        self._limits = Limits(self._clock, self.policy.concurrency, self.policy.requests_per_minute, self.policy.tokens_per_minute)
        self._breaker = Breaker(self.policy.breaker_failures, self.policy.breaker_seconds, self._clock.now)

    def __repr__(self) -> str:
        return f"RetryingModel({self.name!r})"

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises ModelError with the number of attempts made, which is 0 if the request was not sent at all."""
        self._check(request)
        probe, left = self._breaker.enter()
        if left > 0:
            raise ModelError(
                "server", f"{self.name}: it kept failing, so it is left alone for another {left:.0f} s", attempts=0, retry_after=left
            )
        call = _Call(request, self._clock.now())
        try:
            reply: ChatReply = await self._retrying(1 if probe else self.policy.retries + 1)(self._attempt, call)
        except ModelError as error:
            if error.kind in _ABOUT_THE_REQUEST:
                self._breaker.succeeded()
            else:
                self._breaker.failed(probe)
            failure = error.after(call.attempts)
        except BaseException:
            self._breaker.left(probe)
            raise
        else:
            self._breaker.succeeded()
            return replace(reply, attempts=call.attempts, cost_usd=cost(reply.usage, self.price))
        raise failure

    async def close(self) -> None:
        """Ends the transport's connections. May be called twice."""
        await self._model.close()

    def _check(self, request: ChatRequest) -> None:
        for number, message in enumerate(request.messages, 1):
            try:
                message.content.encode()
            except UnicodeEncodeError as error:
                problem = f"character {error.start} of message {number} is half a surrogate pair, which no request can carry"
                raise ModelError("bad_request", f"{self.name}: {problem}", attempts=0) from None

    async def _attempt(self, call: _Call) -> ChatReply:
        bound = upper_bound(call.request)
        async with self._limits.slot(bound.input_tokens + (bound.output_tokens or 0)) as slot:
            started = self._clock.now()
            waited = started - call.idle_since
            call.attempts += 1
            try:
                reply = await self._model.complete(call.request)
            except ModelError as error:
                call.idle_since = self._clock.now()
                self._report(Attempt(self.name, call.attempts, waited, call.idle_since - started, error.kind, error.status))
                raise
            if reply.usage:
                slot.settle(reply.usage.input_tokens + reply.usage.output_tokens)
            self._report(Attempt(self.name, call.attempts, waited, self._clock.now() - started, usage=reply.usage))
            return reply

    def _report(self, attempt: Attempt) -> None:
        if self.policy.on_attempt:
            self.policy.on_attempt(attempt)

    def _retrying(self, attempts: int) -> AsyncRetrying:
        return AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=self._wait,
            retry=retry_if_exception(lambda error: isinstance(error, ModelError) and error.retryable),
            sleep=self._clock.sleep,
            reraise=True,
        )

    def _wait(self, state: RetryCallState) -> float:
        policy = self.policy
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, ModelError) else None
        drawn = policy.rng.uniform(0.0, min(policy.longest_wait, policy.base * 2.0 ** (state.attempt_number - 1)))
        return min(policy.longest_wait, max(drawn, asked or 0.0))
