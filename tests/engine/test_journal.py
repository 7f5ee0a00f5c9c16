"""What models are asked is in the log before it is used, paid once, and never more than the budget."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from agentopt import Proposal
from agentopt.core.calls import Bound
from agentopt.core.chat import ChatReply, ChatRequest, Message, ModelError, ModelErrorKind, Usage
from agentopt.core.errors import BudgetSpent, ConfigError, RunFailed
from agentopt.core.events import canonical
from agentopt.core.protocols import Chat, Wait
from agentopt.engine.plan import Plan
from agentopt.engine.rewind import Rewind
from agentopt.llm.choosers import BanditChooser
from agentopt.llm.prices import Price
from agentopt.llm.retry import CallPolicy
from tests.engine.asking import Asker, Frugal, Oracle, SecondThoughts, journal_of
from tests.engine.world import Kill, ListStore, World

WIDE = Plan(deterministic=False, look_ahead=2)


def world(model: Any, optimizer: type[Asker] = Asker, **settings: Any) -> World:
    chat = settings.pop("chat", None) or journal_of(*(model if isinstance(model, tuple) else (model,)))
    return World(optimizer=optimizer(chat), chat=chat, **settings)


async def test_asks_of_a_model_that_bring_nothing_new_end_the_search_soon():
    class Repeating(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            await self.ask("1", rng)
            return [Proposal({"x": 1.0})]

    state = await world(Oracle(), Repeating, budget={"evals": 50}).run()
    assert (state.status, state.duplicates, state.calls.requests) == ("exhausted", 30, 31)


async def test_each_call_is_in_the_log_and_closed_with_the_run():
    model = Oracle()
    run = world(model)
    assert isinstance(run.parts.chat, Chat)
    state = await run.run()
    assert state.status == "budget"
    asks = state.evals - 1 + state.duplicates
    assert (state.calls.requests, state.calls.replies, state.calls.tokens) == (asks, asks, 15 * asks)
    assert state.spent["calls"] == asks >= 11
    assert "usd" not in state.spent, "nobody knows the price"
    assert state.summary()["calls"] == {"replies": asks, "failed": {}}
    assert model.closed == 1
    events = [event for event in run.store.events if event.kind in ("asked", "llm_request", "llm_reply", "proposed")][1:]
    for asked, request, reply, proposed in zip(*(events[k::4] for k in range(4)), strict=True):
        assert (asked.kind, request.kind, reply.kind, proposed.kind) == ("asked", "llm_request", "llm_reply", "proposed")
        assert request.data["ask"] == reply.data["ask"] == asked.data["index"] == proposed.data["index"]
        assert proposed.data["calls"] == [request.data["key"]] == [reply.data["key"]]
        sent = ChatRequest.from_json(json.loads(run.store.get(request.data["request"])))
        assert sent.digest == request.data["key"]
        assert (request.data["purpose"], reply.data["served_by"]) == ("test", "oracle-served")
        assert run.store.get(reply.data["text"]).decode()
    assert {name for kind, data in run.log if kind == "llm_reply" for name in data} >= {"key", "text", "usage"}
    assert all("latency" not in data for kind, data in run.log if kind == "llm_reply")


@pytest.mark.thorough
@pytest.mark.parametrize("optimizer", [Asker, SecondThoughts])
async def test_killed_at_any_event_nothing_that_was_answered_is_asked_again(optimizer):
    whole = world(Oracle(), optimizer)
    await whole.run()
    for die_after in range(1, len(whole.store.events)):
        model, store = Oracle(), ListStore(die_after=die_after)
        with pytest.raises(Kill):
            await world(model, optimizer, store=store).run()
        answered = {event.data["key"] for event in store.events if event.kind == "llm_reply"}
        in_flight = len([event for event in store.events if event.kind == "llm_request"]) - len(answered)
        again = world(model, optimizer, store=ListStore(store.events))
        again.store.blobs = store.blobs
        await again.run()
        assert again.log == whole.log, die_after
        twice = [key for key, times in Counter(model.asked).items() if times > 1]
        assert not set(twice) & answered
        assert len(twice) <= in_flight <= 1
        unknown = [event.data for event in again.store.events if event.kind == "llm_reply" and "unknown" in event.data]
        assert len(unknown) == in_flight
        assert again.run_.state.calls.requests == whole.run_.state.calls.requests + in_flight


@pytest.mark.parametrize("seed", range(12))
async def test_several_asks_at_once_are_taken_up_where_they_stood(seed):
    """Results come in between, so an ask that was begun anew would read otherwise, and be paid again."""
    rng = Random(seed)
    model = Oracle(delay=0.001)
    settings: dict[str, Any] = {"plan": WIDE, "capacity": 2, "delay": lambda values, case: 0.0005 * (abs(hash(str(values))) % 5)}
    store, blobs = ListStore(), {}
    for _ in range(4):
        store.die_after = len(store.events) + rng.randrange(2, 25)
        run = world(model, SecondThoughts, store=store, **settings)
        with pytest.raises(Kill):
            await run.run()
        blobs |= store.blobs
        store = ListStore(store.events)
        store.blobs = blobs
    last = world(model, SecondThoughts, store=store, **settings)
    state = await last.run()
    assert state.evals == 12
    answered = Counter(event.data["key"] for event in last.store.events if event.kind == "llm_reply" and "text" in event.data)
    assert set(answered.values()) == {1}, "no request has two replies"
    unknown = [event for event in last.store.events if event.kind == "llm_reply" and "unknown" in event.data]
    assert len(model.asked) <= len(answered) + len(unknown)
    asked = [event.data["index"] for event in last.store.events if event.kind == "proposed"]
    assert sorted(asked) == sorted(set(asked))


async def test_asks_that_wait_for_the_same_reply_are_taken_up_too():
    class Alike(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            if not self.seen[1:]:
                await self.chat.complete(ChatRequest((Message("user", "1 first"),)), rng)
            return await super().propose(view, n, rng)

    store = ListStore()
    run = world(Oracle(delay=0.01), Alike, plan=WIDE, capacity=2, store=store)
    run.on_event = lambda event, state: setattr(store, "die_after", event.seq if event.kind == "llm_reply" else None)
    with pytest.raises(Kill):
        await run.run()
    assert [event.kind for event in store.events].count("asked") > 1
    again = world(Oracle(), Alike, plan=WIDE, capacity=2, store=ListStore(store.events))
    again.store.blobs = store.blobs
    async with asyncio.timeout(10):
        assert (await again.run()).evals == 12


async def test_a_request_that_is_repeated_gets_the_reply_that_was_paid_for():
    class Same(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            request = ChatRequest((Message("user", "7 always"),))
            replies = await asyncio.gather(*(self.chat.complete(request, rng) for _ in range(3)))
            assert len({reply.text for reply in replies}) == 1
            return await super().propose(view, n, rng)

    model = Oracle()
    state = await world(model, Same).run()
    assert state.calls.requests == 12
    assert len(set(model.asked)) == 12


# --- budgets


@pytest.mark.parametrize(
    ("budget", "spent"),
    [({"calls": 4}, {"calls": 4}), ({"tokens": 1200}, {"tokens": 900}), ({"usd": 0.001}, {"usd": 0.00098})],
)
async def test_a_budget_of_calls_tokens_or_usd_ends_the_run(budget, spent):
    model = Oracle()
    chat = journal_of(model, price=Price(1.0, 8.0))
    run = world(model, chat=chat, budget=budget)
    state = await run.run()
    assert (state.status, state.why) == ("budget", "the budget is spent")
    for unit, limit in budget.items():
        assert 0 < state.spent[unit] <= limit
        assert state.spent[unit] <= spent[unit] + 1e-12
    capped = [event for event in run.store.events if event.kind == "llm_request"]
    requests = [json.loads(run.store.get(event.data["request"])) for event in capped]
    assert all(("max_output_tokens" in request) == ("calls" not in budget) for request in requests)


async def test_a_reservation_waits_for_calls_in_flight_before_it_gives_up():
    """Two bounds do not fit at once, though many calls do."""
    model = Oracle(delay=0.0005, usage=Usage(5, 1))
    state = await world(model, plan=WIDE, capacity=2, budget={"tokens": 600}).run()
    assert state.status == "budget"
    assert state.calls.replies > 20
    assert state.spent["tokens"] <= 600


async def test_a_budget_below_one_call_is_bad_input():
    with pytest.raises(
        ConfigError, match=r"^budget: 20tokens cannot fit one call of a model: one request can take 3\d\d tokens, and 20 are left"
    ):
        await world(Oracle(), budget={"tokens": 20}).run()


async def test_an_optimizer_may_go_on_without_the_model():
    state = await world(Oracle(), Frugal, budget={"calls": 3, "evals": 10}).run()
    assert (state.evals, state.spent["calls"]) == (10, 3)


async def test_more_budget_on_resume():
    first = world(Oracle(), budget={"calls": 3})
    await first.run()
    store = ListStore(first.store.events)
    store.blobs = first.store.blobs
    state = await world(Oracle(), budget={"calls": 6}, store=store).run()
    assert (state.status, state.spent["calls"]) == ("budget", 6)


class Shameless(Oracle):
    """Takes more than it may."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request.digest)
        reply = self.reply(request)
        return ChatReply(reply.text, reply.model, "stop", Usage(10, 5000), latency=0.1)


async def test_a_server_that_exceeds_the_cap_is_stopped_and_said():
    model = Shameless()
    run = world(model, budget={"tokens": 10_000})
    with pytest.raises(RunFailed, match=r"^oracle counted 5000 tokens of output where 50 were allowed, so no budget can be kept with it"):
        await run.run()
    assert len(model.asked) == 1
    state = run.run_.state
    assert state.status == "failed"
    assert state.spent["tokens"] < 500
    assert any("not asked again" in warning for warning in state.warnings)
    store = ListStore(run.store.events)
    store.blobs = run.store.blobs
    with pytest.raises(RunFailed, match="counted 5000"):
        await world(model, budget={"tokens": 10_000}, store=store).run()
    assert len(model.asked) == 1, "not on resume either"


async def test_the_other_models_go_on_when_one_is_stopped():
    bad, good = Shameless("bad"), Oracle("good")
    state = await world((bad, good), budget={"tokens": 20_000, "evals": 12}).run()
    assert state.status == "budget"
    assert (len(bad.asked), state.evals) == (1, 12)


async def test_without_a_limit_a_long_reply_is_no_offence():
    state = await world(Shameless(), budget={"evals": 4}).run()
    assert state.status == "budget"
    assert state.calls.tokens == 3 * 5010


async def test_what_is_not_told_counts_as_all_it_can_be():
    state = await world(Oracle(usage=None), budget={"tokens": 2000}).run()
    assert state.calls.untold == 0
    assert 1600 < state.spent["tokens"] <= 2000
    unlimited = await world(Oracle(usage=None), budget={"calls": 3}).run()
    assert (unlimited.calls.untold, unlimited.calls.tokens) == (3, 0)


# --- failures


class Failing(Oracle):
    """Raises errors of one kind, for the first ``times`` requests."""

    def __init__(self, kind: ModelErrorKind, times: float = float("inf"), retryable: bool | None = None) -> None:
        super().__init__()
        self.kind, self.times, self.retryable = kind, times, retryable

    async def complete(self, request: ChatRequest) -> ChatReply:
        if len(self.asked) < self.times:
            self.asked.append(request.digest)
            raise ModelError(self.kind, f"it says {self.kind}", retryable=self.retryable)
        return await super().complete(request)


@pytest.mark.parametrize("kind", ["auth", "not_found", "connection", "bad_request"])
async def test_what_was_named_wrong_is_bad_input(kind):
    run = world(Failing(kind))
    with pytest.raises(ConfigError, match=f"it says {kind}"):
        await run.run()
    assert run.run_.state.status == "failed"


async def test_a_budget_that_is_spent_on_finding_nobody_is_bad_input():
    model = Failing("connection")
    with pytest.raises(ConfigError, match=r"^oracle gave no reply: connection 2, and one request can take 1 calls, and 0 are left; check"):
        await world(model, budget={"calls": 2}).run()


async def test_a_model_that_only_fails_ends_the_run_early():
    model = Failing("server")
    with pytest.raises(RunFailed, match=r"^the last 5 asks of oracle brought nothing usable: server 5$"):
        await world(model).run()
    assert len(model.asked) == 5 * 3, "five calls of three attempts"


async def test_after_a_success_more_patience_is_had():
    class Tiring(Failing):
        async def complete(self, request: ChatRequest) -> ChatReply:
            return await (Oracle.complete(self, request) if len(self.asked) in (3, 4) else super().complete(request))

    model = Tiring("server")
    run = world(model, chat=journal_of(model, policy=lambda: CallPolicy(retries=0, breaker_failures=1000)))
    with pytest.raises(RunFailed, match="the last 30 asks"):
        await run.run()
    assert run.run_.state.failures == {"refused": 33}
    assert run.run_.state.evals == 3


async def test_every_attempt_is_counted_and_what_may_be_billed_is_settled_at_its_bound():
    class Mixed(Oracle):
        kinds = ("rate_limit", "cut")

        async def complete(self, request: ChatRequest) -> ChatReply:
            if len(self.asked) % 3 < 2:
                self.asked.append(request.digest)
                raise ModelError(self.kinds[(len(self.asked) - 1) % 3], "no")
            return await super().complete(request)

    run = world(Mixed(), budget={"calls": 9, "tokens": 100_000})
    state = await run.run()
    assert (state.calls.requests, state.calls.replies) == (9, 3)
    assert state.calls.errors == {"rate_limit": 3, "cut": 3}
    bounds = [event.data["tokens"] for event in run.store.events if event.kind == "llm_request"]
    assert state.calls.tokens == 3 * 15 + sum(bounds[1::3])
    assert [kind for kind, _ in canonical(run.store.events)].count("llm_reply") == 3


async def test_an_interrupt_leaves_a_call_open_at_its_bound():
    model = Oracle(delay=100.0)
    run = world(model, budget={"tokens": 5000}, on_event=lambda event, state: stop(event))

    def stop(event: Any) -> None:
        if event.kind == "llm_request":
            run.loop.interrupt()

    state = await run.run()
    assert state.status == "interrupted"
    assert len(state.calls.open) == 1
    assert state.spent["tokens"] > 300


async def test_a_reply_that_comes_after_its_ask_was_given_up_is_kept_and_counted():
    class Slow(Oracle):
        async def complete(self, request: ChatRequest) -> ChatReply:
            if "fail" in request.messages[0].content:
                raise ModelError("content_filter", "no")
            await asyncio.sleep(0.01)
            return self.reply(request)

    class Both(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            if len(view.pending) or self.chat.run.state.failures["refused"]:
                await asyncio.sleep(0.02)
                return await super().propose(view, n, rng)
            await asyncio.gather(self.ask("3 slow", rng), self.ask("fail", rng))

    state = await world(Slow(), Both, budget={"evals": 4}).run()
    assert state.failures == {"refused": 1}
    assert state.calls.requests == 2 + state.calls.replies - 1
    assert not state.calls.open


async def test_an_ask_that_no_budget_is_left_for_is_not_taken_up():
    store = ListStore(die_after=30)
    with pytest.raises(Kill):
        await world(Oracle(), store=store).run()
    while store.events[-1].kind != "llm_reply":
        store.events.pop()
    evals = len([event for event in store.events if event.kind == "proposed"])
    again = world(Oracle(), store=ListStore(store.events), budget={"evals": evals})
    again.store.blobs = store.blobs
    state = await again.run()
    assert (state.evals, state.status) == (evals, "budget")


async def test_whoever_gave_up_waiting_is_passed_over():
    rewind = Rewind()
    rewind.begin()
    waiting = asyncio.create_task(rewind.until(5))
    await asyncio.sleep(0)
    waiting.cancel()
    rewind.reach(5)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await rewind.until(5)


@pytest.mark.thorough
async def test_a_model_that_is_left_alone_is_waited_for():
    """A short outage: the circuit opens, and asks wait until it may close."""
    model = Failing("server", times=9)
    policy = CallPolicy(retries=0, breaker_failures=3, breaker_seconds=0.05)
    plan = Plan(deterministic=False, look_ahead=3)
    seeded = world(Oracle(), budget={"evals": 3})
    await seeded.run()
    store = ListStore(seeded.store.events)
    store.blobs = seeded.store.blobs
    again = world(model, chat=journal_of(model, policy=lambda: policy), plan=plan, budget={"evals": 12}, store=store)
    state = await again.run()
    assert (state.status, state.evals) == ("budget", 12)
    assert state.failures["refused"] <= 9


async def test_who_waits_for_an_ask_that_is_refused_is_asked_again():
    class Waiting(Asker):
        asking = 0

        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            if self.asking:
                return Wait()
            self.asking += 1
            try:
                return await super().propose(view, n, rng)
            finally:
                self.asking -= 1

    class Sometimes(Oracle):
        async def complete(self, request: ChatRequest) -> ChatReply:
            await asyncio.sleep(0.001)
            if len(self.asked) % 3 == 1:
                self.asked.append(request.digest)
                raise ModelError("content_filter", "no")
            return await super().complete(request)

    state = await world(Sometimes(), Waiting, plan=WIDE, capacity=2, budget={"evals": 10}).run()
    assert (state.status, state.evals) == ("budget", 10)
    assert state.failures["refused"] > 2


async def test_an_optimizer_that_waits_for_ever_is_a_failure():
    class Idle(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            await asyncio.sleep(0)
            return Wait()

    with pytest.raises(RunFailed, match="waits although nothing is pending"):
        await world(Oracle(), Idle, plan=WIDE, capacity=2).run()


class Together(Asker):
    """Two chains of two questions at once."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        parent = view.sample(1, rng)[0]
        start = f"{parent.candidate.values['x']} after {len(self.seen)} results"

        async def chain(name: str) -> float:
            first = await self.ask(f"{start} {name}", rng)
            return float(await self.ask(f"{first} {name} after {len(self.seen)} results", rng))

        found = await asyncio.gather(chain("a"), chain("b"))
        return [Proposal({"x": sum(found) / 2}, (parent.id,), "asker", "both")]


class OneReflection(Asker):
    """Asks share something that one of them makes."""

    def __init__(self, chat: Any) -> None:
        super().__init__(chat)
        self.turn = asyncio.Lock()

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        async with self.turn:
            await self.chat.complete(ChatRequest((Message("user", f"1 shared {len(self.seen) // 4}"),)), Random(0))
        return await super().propose(view, n, rng)


@pytest.mark.parametrize("optimizer", [Together, OneReflection])
@pytest.mark.parametrize("seed", range(6))
async def test_asks_within_asks_are_taken_up_too(seed, optimizer):
    rng = Random(seed)
    settings: dict[str, Any] = {"plan": WIDE, "capacity": 2, "delay": lambda values, case: 0.0005}
    store = ListStore(die_after=rng.randrange(20, 90))
    model = Oracle(delay=0.001)
    with pytest.raises(Kill):
        await world(model, optimizer, store=store, **settings).run()
    again = world(model, optimizer, store=ListStore(store.events), **settings)
    again.store.blobs = store.blobs
    async with asyncio.timeout(20):
        state = await again.run()
    assert state.evals == 12
    answered = Counter(event.data["key"] for event in again.store.events if event.kind == "llm_reply" and "text" in event.data)
    assert set(answered.values()) == {1}
    used = {key for event in again.store.events if event.kind == "proposed" for key in event.data.get("calls", ())}
    lost = {event.data["key"] for event in store.events if event.kind == "llm_reply"} - used
    assert not lost, "what was paid for came to use"


async def test_what_an_ask_does_beside_asking_a_model_holds_up_a_replay_only_once():
    class Dawdling(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            first = await self.ask("1", rng)
            await asyncio.sleep(1.0)
            return [Proposal({"x": float(first) + rng.random()}, (), "asker", "dawdle")]

    store = ListStore()
    run = world(Oracle(), Dawdling, store=store, budget={"evals": 2})
    run.on_event = lambda event, state: setattr(store, "die_after", event.seq) if event.kind == "llm_reply" else None
    with pytest.raises(Kill):
        await run.run()
    for _ in range(3):  # results that came in meanwhile
        store.die_after = None
        store.append("note", {"kind": "remark", "text": "nothing"})
    again = world(Oracle(), Dawdling, store=ListStore(store.events), budget={"evals": 2})
    again.store.blobs = store.blobs
    assert (await again.run()).evals == 2


async def test_a_request_without_a_bound_is_capped_when_the_budget_has_come_to_need_it():
    store = ListStore()
    run = world(Oracle(), store=store, budget={"calls": 50})
    run.on_event = lambda event, state: setattr(store, "die_after", event.seq) if event.kind == "llm_request" else None
    with pytest.raises(Kill):
        await run.run()
    model = Shameless()
    again = world(model, store=ListStore(store.events), budget={"tokens": 5000})
    again.store.blobs = store.blobs
    with pytest.raises(RunFailed, match="counted 5000 tokens of output where 50 were allowed"):
        await again.run()
    assert again.run_.state.spent["tokens"] <= 5000


async def test_a_cap_that_a_budget_needs_cannot_be_missing():
    run = world(Oracle(), budget={"tokens": 1000})
    await run.run()
    with pytest.raises(RunFailed, match="a request without a bound"):
        await run.parts.chat.begin("oracle", ChatRequest((Message("user", "1"),)), Bound(10, None, None))


async def test_what_is_left_of_the_budget_is_known_while_a_log_is_replayed():
    class Planning(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            int(view.budget_left["evals"])
            return await super().propose(view, n, rng)

    store = ListStore()
    run = world(Oracle(), Planning, store=store)
    run.on_event = lambda event, state: setattr(store, "die_after", event.seq) if event.kind == "llm_reply" else None
    with pytest.raises(Kill):
        await run.run()
    again = world(Oracle(), Planning, store=ListStore(store.events))
    again.store.blobs = store.blobs
    assert (await again.run()).evals == 12


async def test_dollars_are_not_forgotten_where_a_price_was_unknown_for_a_while():
    store = ListStore()
    first = world(Oracle(usage=None), chat=journal_of(Oracle(usage=None), price=Price(1.0, 1.0)), store=store, budget={"calls": 2})
    state = await first.run()
    assert state.calls.unpriced == 2
    paid = world(Oracle(), chat=journal_of(Oracle(), price=Price(1.0, 1.0)), store=ListStore(store.events), budget={"usd": 0.003})
    paid.store.blobs = store.blobs
    state = await paid.run()
    again = world(Oracle(), chat=journal_of(Oracle(), price=Price(1.0, 1.0)), store=ListStore(paid.store.events), budget={"usd": 0.003})
    again.store.blobs = paid.store.blobs
    assert (await again.run()).calls.usd == state.calls.usd > 0


# --- several models


async def test_a_bandit_learns_from_what_its_calls_brought_also_after_a_kill():
    def settings() -> dict[str, Any]:
        a, b = Oracle("a"), Oracle("b")
        return {"model": (a, b), "chat": journal_of(a, b, chooser=BanditChooser(["a", "b"])), "budget": {"evals": 20}}

    whole = world(**settings())
    await whole.run()
    used = Counter(data["model"] for kind, data in whole.log if kind == "llm_reply")
    assert set(used) == {"a", "b"}
    for die_after in range(20, len(whole.store.events), 13):
        store = ListStore(die_after=die_after)
        with pytest.raises(Kill):
            await world(**settings(), store=store).run()
        again = world(**settings(), store=ListStore(store.events))
        again.store.blobs = store.blobs
        await again.run()
        assert again.log == whole.log


async def test_models_without_a_price_are_never_free():
    run = world(Oracle(), chat=journal_of(Oracle(), price=Price(1.0, 2.0)))
    state = await run.run()
    assert state.spent["usd"] == pytest.approx(state.calls.requests * 20e-6)


async def test_budget_spent_is_an_error_of_its_own():
    chat = journal_of(Oracle())
    run = world(Oracle(), chat=chat, budget={"calls": 1})
    await run.run()
    with pytest.raises(BudgetSpent, match="one request can take 1 calls, and 0 are left"):
        await chat.complete(ChatRequest((Message("user", "1"),)), Random(0))


async def test_one_model_alone():
    class Choosy(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            self.chat = self.journal.only("second")
            return await super().propose(view, n, rng)

        def __init__(self, chat: Any) -> None:
            super().__init__(chat)
            self.journal = chat

    first, second = Oracle("first"), Oracle("second")
    chat = journal_of(first, second)
    run = world(first, Choosy, chat=chat)
    await run.run()
    assert second.asked
    assert not first.asked
    alone = chat.only("second")
    assert alone.models == ["second"]
    assert alone.only("second") is alone
    for other in (chat, alone):
        with pytest.raises(ConfigError, match="there is no model 'third'"):
            other.only("third")


async def test_one_model_alone_that_counts_beyond_its_cap_fails_and_the_others_go_on():
    class Choosy(Asker):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            self.chat = self.journal.only(("greedy", "modest")[rng.randrange(2)])
            return await super().propose(view, n, rng)

        def __init__(self, chat: Any) -> None:
            super().__init__(chat)
            self.journal = chat

    greedy, modest = Oracle("greedy", usage=Usage(10, 5000)), Oracle("modest")
    run = world(greedy, Choosy, chat=journal_of(greedy, modest), budget={"evals": 12, "tokens": 100_000})
    state = await run.run()
    assert len(greedy.asked) == 1
    assert "greedy counted 5000" in " ".join(state.warnings)
    assert state.failures["refused"]
    assert len(modest.asked) == 10
