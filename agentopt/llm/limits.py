"""How fast and how often a model is asked: token buckets, concurrency, the circuit breaker; all of them by an injected clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

__all__ = ["Breaker", "Clock", "Limits", "Slot", "TokenBucket"]

_MINUTE = 60.0
_BURST = 0.1
"""The share of a minute's amount that may go at once."""


@dataclass(frozen=True)
class Clock:
    """Time, to be replaced in tests: ``now`` is monotonic, ``unix`` counts from 1970, both in seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    unix: Callable[[], float] = time.time


class TokenBucket:
    """``per_minute`` flow in, a tenth of that (at least 1) is the bucket. Taking more than there is makes a debt that has to be waited for.

    So those who take are served in their order, and no minute sees more than 1.1 times ``per_minute`` and the amount of one taker.
    """

    def __init__(self, per_minute: float, now: Callable[[], float]) -> None:
        self._rate = per_minute / _MINUTE
        self._size = max(1.0, _BURST * per_minute)
        self._level = self._size
        self._now = now
        self._filled = now()

    def take(self, amount: float) -> float:
        """Take ``amount``; the seconds to wait before using it."""
        moment = self._now()
        self._level = min(self._size, self._level + (moment - self._filled) * self._rate)
        self._filled = moment
        self._level -= amount
        return max(0.0, -self._level / self._rate)

    def give_back(self, amount: float) -> None:
        """What was taken and not used; a negative amount was used on top."""
        self._level += amount


class Slot:
    """The right to make one request. ``tokens`` is what was taken for it."""

    def __init__(self, tokens: float, bucket: TokenBucket | None) -> None:
        self._tokens = tokens
        self._bucket = bucket

    def settle(self, tokens: float) -> None:
        """Correct the amount taken to the amount used."""
        if self._bucket:
            self._bucket.give_back(self._tokens - tokens)
            self._tokens = tokens


class Limits:
    """At most ``concurrency`` requests in flight, and so many requests and tokens per minute; None means no limit."""

    def __init__(
        self, clock: Clock, concurrency: int, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        self._clock = clock
        self._free = asyncio.Semaphore(concurrency)
        self._requests = None if requests_per_minute is None else TokenBucket(requests_per_minute, clock.now)
        self._tokens = None if tokens_per_minute is None else TokenBucket(tokens_per_minute, clock.now)

    @asynccontextmanager
    async def slot(self, tokens: float) -> AsyncGenerator[Slot]:
        """Waits for its turn. Cancelled while it waits, it gives back what it took."""
        async with self._free:
            taken = [(bucket, amount) for bucket, amount in ((self._requests, 1.0), (self._tokens, tokens)) if bucket]
            wait = max((bucket.take(amount) for bucket, amount in taken), default=0.0)
            if wait > 0:
                try:
                    await self._clock.sleep(wait)
                except asyncio.CancelledError:
                    for bucket, amount in taken:
                        bucket.give_back(amount)
                    raise
            yield Slot(tokens, self._tokens)


class Breaker:
    """Stops asking a model that keeps failing (Nygard, Release It!, 2007: circuit breaker).

    After ``failures`` failed requests in a row it is open for ``seconds``; then one request is let through as a probe, and its outcome
    closes the circuit or opens it again. A request is one logical call with its retries, so the breaker never cuts retries short.
    """

    def __init__(self, failures: int, seconds: float, now: Callable[[], float]) -> None:
        self._failures = failures
        self._seconds = seconds
        self._now = now
        self._in_a_row = 0
        self._open_until: float | None = None
        self._probing = False

    def enter(self) -> tuple[bool, float]:
        """(whether this request is the probe, seconds until the circuit may close: above 0 the request must not be made)."""
        if self._open_until is None:
            return False, 0.0
        left = self._open_until - self._now()
        if left > 0 or self._probing:
            return False, max(left, 1.0)
        self._probing = True
        return True, 0.0

    def succeeded(self) -> None:
        self._in_a_row, self._open_until, self._probing = 0, None, False

    def failed(self, probe: bool) -> None:
        self._in_a_row += 1
        if probe or self._in_a_row == self._failures:
            self._open_until = self._now() + self._seconds
        self.left(probe)

    def left(self, probe: bool) -> None:
        """A request ended without an outcome, because it was cancelled."""
        self._probing = self._probing and not probe
