from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.llm.limits import Breaker, Clock, Limits, TokenBucket
from tests.llm.helpers import FakeClock


@given(
    per_minute=st.integers(1, 6000),
    takes=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 500)), min_size=1, max_size=40),
)
def test_no_minute_sees_more_than_promised(per_minute: int, takes: list[tuple[float, int]]) -> None:
    now = 0.0
    bucket = TokenBucket(per_minute, lambda: now)
    used: list[tuple[float, int]] = []
    for pause, amount in takes:
        now += pause
        used.append((now + bucket.take(amount), amount))
    largest = max(amount for _, amount in takes)
    assert [when for when, _ in used] == sorted(when for when, _ in used), "first come, first served"
    for start, _ in used:
        within = sum(amount for when, amount in used if start <= when < start + 60)
        assert within <= max(1.0, 0.1 * per_minute) + per_minute + largest + 1e-6


def test_an_idle_bucket_fills_no_further_than_its_size() -> None:
    now = 0.0
    bucket = TokenBucket(60, lambda: now)
    now = 3600.0
    assert [bucket.take(1) for _ in range(8)] == pytest.approx([0, 0, 0, 0, 0, 0, 1, 2])


async def test_who_is_cancelled_while_it_waits_gives_back_what_it_took() -> None:
    async def sleep(seconds: float) -> None:
        await asyncio.Event().wait()

    limits = Limits(Clock(lambda: 0.0, sleep), 5, requests_per_minute=1, tokens_per_minute=100)

    async def enter() -> None:
        async with limits.slot(10.0):
            pass

    await enter()
    waiting = [asyncio.ensure_future(enter()) for _ in range(2)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert limits._requests
    assert limits._tokens
    assert (limits._requests._level, limits._tokens._level) == (-2.0, -20.0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (limits._requests._level, limits._tokens._level) == (0.0, 0.0)


async def test_without_limits_nothing_waits() -> None:
    clock = FakeClock()
    limits = Limits(clock.clock(), 1)
    for _ in range(100):
        async with limits.slot(1e9) as slot:
            slot.settle(5)
    assert clock.slept == []


def test_late_failures_of_requests_from_before_do_not_prolong_the_pause() -> None:
    now = 0.0
    breaker = Breaker(2, 30.0, lambda: now)
    for _ in range(2):
        breaker.failed(probe=False)
    now = 20.0
    breaker.failed(probe=False)
    assert breaker.enter() == (False, 10.0)
