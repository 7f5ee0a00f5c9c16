"""The retry layer alone, over a transport that does what it is told, with a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from agentopt.core.chat import Attempt, ChatModel, ChatReply, ChatRequest, ModelError, Usage
from agentopt.llm.prices import Price
from agentopt.llm.retry import RetryingModel
from tests.llm.helpers import FakeClock, ask, quick

GOOD = ChatReply("fine", "m", "stop", Usage(1_000_000, 100_000))
BUSY = ModelError("rate_limit", "fake:m: busy", status=429)
DOWN = ModelError("server", "fake:m: down", status=500)
HANG = ModelError("timeout", "stands for a reply that never comes")
WRONG = ModelError("bad_request", "fake:m: wrong", status=400)


class Scripted:
    """Answers with what it is given, in turn; the last one for ever."""

    name = "fake:m"

    def __init__(self, *answers: ChatReply | ModelError | Callable[[], Any]) -> None:
        self.answers = list(answers)
        self.sent = 0
        self.hanging = asyncio.Event()
        self.closed = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        answer = self.answers[min(self.sent, len(self.answers) - 1)]
        self.sent += 1
        if answer is HANG:
            self.hanging.set()
            await asyncio.Event().wait()
        if callable(answer):
            answer = await answer()
        if isinstance(answer, ModelError):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed += 1


async def failing(model: RetryingModel) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.complete(ask())
    return caught.value


def test_it_is_a_chat_model_and_shows_its_name_only() -> None:
    model = RetryingModel(Scripted(GOOD))
    assert isinstance(model, ChatModel)
    assert repr(model) == "RetryingModel('fake:m')"


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_n_retries_are_n_plus_one_requests(retries: int) -> None:
    transport = Scripted(BUSY)
    error = await failing(RetryingModel(transport, quick(retries=retries)))
    assert transport.sent == error.attempts == retries + 1
    assert (error.kind, error.status) == ("rate_limit", 429)


async def test_a_reply_carries_attempts_and_cost_and_each_attempt_is_reported() -> None:
    clock, attempts = FakeClock(), []
    policy = quick(clock=clock.clock(), on_attempt=attempts.append)
    model = RetryingModel(Scripted(BUSY, DOWN, GOOD), policy, Price(2.0, 10.0))
    reply = await model.complete(ask())
    assert (reply.attempts, reply.cost_usd) == (3, pytest.approx(3.0))
    waits = [0.0, *clock.slept]
    assert attempts == [
        Attempt("fake:m", 1, pytest.approx(waits[0]), 0.0, "rate_limit", 429),
        Attempt("fake:m", 2, pytest.approx(waits[1]), 0.0, "server", 500),
        Attempt("fake:m", 3, pytest.approx(waits[2]), 0.0, usage=GOOD.usage),
    ]


async def test_without_a_price_the_cost_is_unknown() -> None:
    assert (await RetryingModel(Scripted(GOOD), quick()).complete(ask())).cost_usd is None


async def test_back_off_is_jittered_doubles_and_has_a_cap() -> None:
    clock = FakeClock()
    await failing(RetryingModel(Scripted(DOWN), quick(clock=clock.clock(), retries=8, base=1.0, longest_wait=10.0, rng=Random(5))))
    rng = Random(5)
    assert clock.slept == [rng.uniform(0.0, min(10.0, 2.0**k)) for k in range(8)]
    assert len(set(clock.slept)) == 8


async def test_what_the_server_asks_for_is_waited_for_up_to_a_cap() -> None:
    clock = FakeClock()
    asked = [ModelError("rate_limit", "busy", retry_after=seconds) for seconds in (20.0, 0.0, 3600.0)]
    await RetryingModel(Scripted(*asked, GOOD), quick(clock=clock.clock(), base=1.0, longest_wait=60.0)).complete(ask())
    assert clock.slept[0] == 20.0
    assert 0.0 < clock.slept[1] <= 2.0
    assert clock.slept[2] == 60.0


async def test_what_cannot_be_sent_is_not_sent() -> None:
    transport = Scripted(GOOD)
    with pytest.raises(ModelError, match="character 3 of message 1 is half a surrogate pair") as caught:
        await RetryingModel(transport, quick()).complete(ask("abc\ud800"))
    assert (caught.value.kind, caught.value.attempts, transport.sent) == ("bad_request", 0, 0)


async def test_a_fault_of_ours_is_not_retried() -> None:
    async def bug() -> None:
        raise ZeroDivisionError

    transport = Scripted(bug)
    with pytest.raises(ZeroDivisionError):
        await RetryingModel(transport, quick()).complete(ask())
    assert transport.sent == 1


async def test_closing_closes_the_transport() -> None:
    transport = Scripted(GOOD)
    await RetryingModel(transport, quick()).close()
    assert transport.closed == 1


# --- cancelling


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_can_be_cancelled_while_it_backs_off() -> None:
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    clock = FakeClock()
    clock.sleep = sleep
    transport = Scripted(DOWN)
    task = asyncio.ensure_future(RetryingModel(transport, quick(clock=clock.clock())).complete(ask()))
    await asleep.wait()
    await cancelled(task)
    assert transport.sent == 1


async def test_it_can_be_cancelled_in_the_queue_and_in_flight_and_leaves_room_behind() -> None:
    transport = Scripted(HANG, GOOD)
    model = RetryingModel(transport, quick(concurrency=1))
    flying = asyncio.ensure_future(model.complete(ask()))
    await transport.hanging.wait()
    queued = asyncio.ensure_future(model.complete(ask()))
    await asyncio.sleep(0)
    await cancelled(queued)
    await cancelled(flying)
    assert (await model.complete(ask())).text == "fine"
    assert transport.sent == 2


# --- limits and the circuit breaker


async def test_no_more_than_so_many_at_once() -> None:
    flying, most = 0, 0

    async def fly() -> ChatReply:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        flying -= 1
        return GOOD

    model = RetryingModel(Scripted(fly), quick(concurrency=3))
    await asyncio.gather(*(model.complete(ask()) for _ in range(20)))
    assert most == 3


async def test_requests_and_tokens_per_minute_are_kept_retries_included() -> None:
    clock = FakeClock()
    model = RetryingModel(Scripted(BUSY, GOOD), quick(clock=clock.clock(), base=1e-9, requests_per_minute=6))
    for _ in range(5):
        await model.complete(ask())
    assert sum(clock.slept) == pytest.approx(50.0)  # six requests: one at once, then one in ten seconds

    clock = FakeClock()
    thrifty = ChatReply("", "m", "stop", Usage(100, 200))
    bound = 256 + 16 + 5 + 1000
    model = RetryingModel(Scripted(thrifty), quick(clock=clock.clock(), tokens_per_minute=10 * bound))
    for _ in range(3):
        await model.complete(ask(max_output_tokens=1000))
    assert clock.slept == pytest.approx([300 / (10 * bound / 60)] * 2)  # what the bound took and the reply did not use is given back


async def test_the_circuit_opens_after_failures_in_a_row_and_a_probe_closes_it() -> None:
    clock = FakeClock()
    policy = quick(clock=clock.clock(), retries=1, base=1e-9, breaker_failures=3, breaker_seconds=30.0)
    transport = Scripted(DOWN)
    model = RetryingModel(transport, policy)
    for _ in range(3):
        assert (await failing(model)).attempts == 2
    refused = await failing(model)
    assert (refused.attempts, refused.retryable, transport.sent) == (0, True, 6)
    assert "left alone for another 30 s" in str(refused)

    clock.time += 31
    assert (await failing(model)).attempts == 1, "a probe is a single request"
    assert (await failing(model)).attempts == 0, "a failed probe opens it again"
    clock.time += 31
    transport.answers = [GOOD]
    assert (await model.complete(ask())).text == "fine"
    transport.answers = [DOWN]
    assert (await failing(model)).attempts == 2, "closed again, and counting from nothing"


async def test_while_a_probe_is_out_nobody_else_is_let_through() -> None:
    clock = FakeClock()
    transport = Scripted(DOWN, HANG)
    model = RetryingModel(transport, quick(clock=clock.clock(), retries=0, breaker_failures=1, breaker_seconds=30.0))
    await failing(model)
    clock.time += 31
    probe = asyncio.ensure_future(model.complete(ask()))
    await transport.hanging.wait()
    assert (await failing(model)).attempts == 0
    await cancelled(probe)
    transport.answers = [GOOD]
    assert (await model.complete(ask())).text == "fine", "a cancelled probe leaves its place to the next"


async def test_a_request_that_is_wrong_says_nothing_against_the_model() -> None:
    transport = Scripted(WRONG)
    model = RetryingModel(transport, quick(retries=0, breaker_failures=2))
    for _ in range(5):
        await failing(model)
    assert transport.sent == 5
    transport.answers = [DOWN, DOWN]
    await failing(model)
    transport.answers = [WRONG]
    await failing(model)
    transport.answers = [DOWN]
    await failing(model)
    transport.answers = [GOOD]
    assert (await model.complete(ask())).text == "fine", "failures count only in a row"
