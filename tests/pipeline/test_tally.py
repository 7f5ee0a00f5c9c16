"""Calls of models before there is a run: what they reserve, whom they wait for, and what they leave."""

from __future__ import annotations

import asyncio
import threading

import pytest

from agentopt.core.calls import Bound
from agentopt.core.chat import Usage
from agentopt.core.errors import BudgetSpent
from agentopt.pipeline.tally import Tally

CALL = Bound(10, 50, None)
"""60 tokens."""


def tally(**limits):
    return Tally(limits, lambda model, usage: None, 50)


def test_a_thread_waits_until_a_call_in_flight_leaves_room():
    meter, passed = tally(tokens=100.0), threading.Event()
    first = meter.begin("openai:m", CALL, {})

    def second():
        meter.begin("openai:m", CALL, {}).end(Usage(1, 1))
        passed.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not passed.wait(0.05)
    first.end(Usage(10, 10))
    thread.join(5)
    assert passed.is_set()
    assert [taken.usage for taken in meter.taken] == [Usage(10, 10), Usage(1, 1)]


async def test_a_task_waits_and_whoever_is_cancelled_meanwhile_hinders_nobody():
    meter = tally(tokens=100.0)
    first = await meter.abegin("openai:m", CALL, {})
    given_up, patient = (asyncio.create_task(meter.abegin("openai:m", CALL, {})) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert not patient.done()
    first.fail("rate_limit", billed=False)
    (await patient).end(None)
    assert meter.calls == 2


async def test_where_nobody_can_make_room_the_budget_is_spent():
    meter = tally(tokens=100.0)
    with pytest.raises(
        BudgetSpent, match=r"one request can take 120 tokens, and 100 are left; a cap.*max_output_tokens': N} for all \(50\)"
    ):
        await meter.abegin("openai:m", Bound(20, 100, None), {})
    meter.begin("openai:m", CALL, {"stream": True})
    with pytest.raises(BudgetSpent, match="60 tokens, and 40 are left"):
        await meter.abegin("openai:m", CALL, {})
    calls = tally(calls=1.0)
    calls.begin("openai:m", CALL, {})
    with pytest.raises(BudgetSpent, match=r"can take 1 calls, and 0 are left$"):
        calls.begin("openai:m", CALL, {})


def test_who_waited_in_a_loop_that_is_over_is_forgotten():
    meter = tally(tokens=100.0)
    first = meter.begin("openai:m", CALL, {})
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(meter.abegin("openai:m", CALL, {}))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    first.end(Usage(1, 1))
    assert not waiting.done()
    waiting._log_destroy_pending = False
