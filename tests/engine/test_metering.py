"""What the tried workflow asks of models itself is in the log, and never more than the budget."""

import asyncio
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from agentopt.core.budget import Ledger
from agentopt.core.calls import Bound
from agentopt.core.chat import Usage
from agentopt.core.errors import BudgetSpent, ConfigError
from agentopt.core.evaluation import Measured, Rollout
from agentopt.core.events import Event, canonical
from agentopt.core.fold import fold
from agentopt.core.metering import METER, PRICES, ROLLOUT
from agentopt.engine.metering import Metering
from agentopt.engine.plan import Plan
from agentopt.testing import FakeLLM, Step
from agentopt.trace.clients import capture_clients
from tests.engine.asking import Asker, Oracle, journal_of
from tests.engine.world import Kill, ListStore, World, make_task, parabola

WIDE = Plan(deterministic=False)
SMALL, TAKEN = Bound(10, 5, None), Usage(6, 3)


def cents(model, usage):
    return None if "unpriced" in model else (usage.input_tokens + 4 * usage.output_tokens) / 1000


class Asking:
    """Scores by a function of (values, case, repeat) that may ask models: in a thread each, or awaited here."""

    sandbox = "asking"

    def __init__(self, function, meter, capacity=1):
        self.function, self.meter, self.capacity = function, meter, capacity
        self.rollouts = []

    async def open(self, candidate):
        self.candidate = candidate
        return _Session(self, candidate)

    async def close(self): ...


class _Session:
    def __init__(self, executor, candidate):
        self.executor, self.candidate = executor, candidate

    async def rollout(self, case, repeat, rng_seed):
        executor = self.executor
        METER.set(executor.meter)
        ROLLOUT.set({"candidate": self.candidate.id, "case": case, "repeat": repeat})
        PRICES.set(executor.meter.price)
        function = executor.function
        direct = asyncio.iscoroutinefunction(function) or getattr(function, "on_loop", False)
        score = (
            function(self.candidate.values, case, repeat) if direct else asyncio.to_thread(function, self.candidate.values, case, repeat)
        )
        score = await score if asyncio.iscoroutine(score) else score
        executor.rollouts.append((self.candidate.id, case, repeat))
        split = next(split for split, cases in executor.schedule.cases.items() if case in cases)
        return Rollout(case, split, repeat, rng_seed, scores={"score": score}, measured=Measured(wall=0.001))

    async def close(self): ...


def world(function, budget, capacity=1, cap=20, **settings):
    meter = Metering(cents, cap)
    settings.setdefault("plan", WIDE if capacity > 1 else Plan())
    return World(budget=budget, meter=meter, executor=Asking(function, meter, capacity), **settings)


def asks(times=1, usage=TAKEN):
    def judge(values, case, repeat):
        for _ in range(times):
            METER.get().begin("openai:m", SMALL, {"endpoint": "chat"}).end(usage)
        return parabola(values, case, repeat)

    return judge


def rows(run, kind="llm_request"):
    return [event.data for event in run.store.events if event.kind == kind]


async def somebody_waits(run):
    while not run.run_.purse._landed._waiters:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_calls_of_rollouts_are_in_the_log_with_what_they_took():
    run = world(asks(2), {"evals": 4})
    state = await run.run()
    assert state.status == "budget"
    requests, replies = rows(run), rows(run, "llm_reply")
    assert len(requests) == len(replies) == 2 * len(run.executor.rollouts)
    assert [(r["candidate"], r["case"], r["repeat"]) for r in requests[::2]] == run.executor.rollouts
    assert [r["index"] for r in requests] == [0, 1] * len(run.executor.rollouts)
    assert {(r["purpose"], r["model"], r["tokens"], r["usd"]) for r in requests} == {("pipeline", "openai:m", 15, 0.03)}
    assert {(tuple(r["usage"]), r["tokens"], r["usd"]) for r in replies} == {((6, 3, None, None), 9, 0.018)}
    n = len(requests)
    assert state.spent | {"seconds": 0} == state.spent | {"seconds": 0, "calls": n, "tokens": 9 * n, "usd": round(0.018 * n, 9)}
    assert state.summary()["calls"] == {"replies": n, "failed": {}}
    assert state.arms.to_json()["climber"]["calls"] == 0, "an optimizer does not pay for what evaluations ask"
    assert fold(run.store.events).spent["tokens"] == 9 * n
    assert not [kind for kind, _ in run.log if kind.startswith("llm")]


async def test_a_journal_and_the_workflow_share_one_budget():
    chat = journal_of(Oracle())
    run = world(asks(), {"evals": 100, "calls": 40}, chat=chat, optimizer=Asker(chat))
    state = await run.run()
    assert (state.status, state.calls.requests <= 40) == ("budget", True)
    kinds = Counter("ask" in data for data in rows(run))
    assert kinds[True] > 2
    assert kinds[False] == len(run.executor.rollouts)
    assert state.test.keys() == {state.seed_id, state.best_id}, "what the test split takes was kept back"


@pytest.mark.parametrize(("unit", "limit"), [("calls", 31), ("tokens", 400), ("usd", 0.9)])
async def test_eight_workers_never_take_more_than_there_is(unit, limit):
    import openai

    def ask(values, case, repeat):
        reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"{values['x']} {case}"}])
        assert reply.choices[0].message.content
        return parabola(values, case, repeat)

    step = Step("one two three four five six seven", delay=0.002)
    with FakeLLM([step]) as server, capture_clients(), openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
        run = world(ask, {"evals": 500, unit: limit}, capacity=8, cap=3)
        state = await run.run()
        assert len(server.requests) == state.calls.requests == len(rows(run))
        capped = unit != "calls"
        assert all((request.body.get("max_tokens") == 3) is capped for request in server.requests)
    assert state.status in ("budget", "failed")
    assert 0 < state.counted[unit] <= limit
    assert not state.calls.open
    assert state.calls.untold == 0 or unit == "calls"
    assert run.run_.ledger.spent[unit] == pytest.approx(state.counted[unit])


async def test_a_candidate_that_the_budget_cuts_off_stays_pending_and_is_continued():
    run = world(asks(3), {"evals": 100, "calls": 50})
    state = await run.run()
    assert state.status == "budget"
    assert state.failures == Counter()
    (left,) = state.open
    again = world(asks(3), {"evals": 100, "calls": 100}, store=ListStore(run.store.events))
    again.store.blobs = run.store.blobs
    after = await again.run()
    assert left not in after.open
    assert len(set(again.executor.rollouts) & set(run.executor.rollouts)) == 0
    assert after.calls.requests <= 100


async def test_an_open_call_of_a_dead_process_counts_as_all_it_can_take():
    run = world(asks(), {"evals": 6, "tokens": 2000})
    run.on_event = lambda event, state: setattr(run.store, "die_after", event.seq if state.calls.requests == 7 else None)
    with pytest.raises(Kill):
        await run.run()
    assert len(rows(run)) - len(rows(run, "llm_reply")) == 1
    again = world(asks(), {"evals": 6, "tokens": 2000}, store=ListStore(run.store.events))
    again.store.blobs = run.store.blobs
    state = await again.run()
    unknown = [data for data in rows(again, "llm_reply") if "unknown" in data]
    assert [data["tokens"] for data in unknown] == [15]
    assert state.calls.errors == {"unknown": 1}
    whole = world(asks(), {"evals": 6, "tokens": 2000})
    await whole.run()
    assert canonical(again.store.events) == canonical(whole.store.events)


async def test_errors_and_unknown_usage_are_settled_by_what_may_be_billed():
    def judge(values, case, repeat):
        meter = METER.get()
        meter.begin("openai:m", SMALL, {}).fail("rate_limit", billed=False)
        meter.begin("openai:m", SMALL, {}).fail("timeout", billed=True)
        ticket = meter.begin("openai:m", SMALL, {})
        ticket.end(None)
        ticket.end(Usage(1, 1))
        ticket.fail("timeout", billed=True)
        return parabola(values, case, repeat)

    run = world(judge, {"evals": 2})
    state = await run.run()
    tried = len(run.executor.rollouts)
    assert state.calls.errors == {"rate_limit": tried, "timeout": tried}
    assert (state.calls.tokens, state.calls.replies, state.calls.bounded) == (30 * tried, tried, 2 * tried)


async def test_a_call_waits_for_others_in_flight_and_takes_what_they_leave():
    first, order = threading.Event(), []

    def judge(values, case, repeat):
        ticket = METER.get().begin("openai:m", Bound(60, 30, None), {})
        order.append("begun")
        if not first.is_set():
            first.set()
            ended.wait(5)
        order.append("ends")
        ticket.end(Usage(1, 1))
        return 0.0

    ended = threading.Event()

    async def drive():
        running = asyncio.create_task(run.run())
        await asyncio.to_thread(first.wait, 5)
        await somebody_waits(run)
        assert order == ["begun"], "there is room for one"
        ended.set()
        return await running

    run = world(judge, {"evals": 3, "tokens": 150}, capacity=2, task=make_task(cases={"train": [*make_task().make_cases()["train"]]}))
    run.executor.capacity = 2
    run.parts.executor.capacity = 2

    both = run.executor.open

    async def open_(candidate):
        session = await both(candidate)

        async def rollouts(jobs):
            return await asyncio.gather(*(asyncio.create_task(session.rollout(*job)) for job in jobs))

        session.rollouts = rollouts
        return session

    run.executor.open = open_
    state = await drive()
    assert order[:4] == ["begun", "ends", "begun", "ends"]
    assert state.counted["tokens"] <= 150


async def test_nobody_waits_for_a_stream_that_only_the_waiting_could_end():
    def judge(values, case, repeat):
        stream = METER.get().begin("openai:m", Bound(40, 20, None), {"stream": True})
        METER.get().begin("openai:m", Bound(40, 20, None), {})
        raise AssertionError(stream)

    run = world(judge, {"evals": 3, "tokens": 100})
    state = await run.run()
    assert (state.status, state.counted["tokens"]) == ("failed", 60)
    assert "one request can take 60 tokens, and 40 are left" in state.why
    assert state.calls.errors == {"unknown": 1}, "the stream counts at its bound"


async def test_sync_calls_in_the_event_loop_itself():
    def judge(values, case, repeat):
        return asks(2)(values, case, repeat)

    judge.on_loop = True
    run = world(judge, {"evals": 100, "tokens": 300})
    state = await run.run()
    assert state.status == "budget"
    assert 0 < state.counted["tokens"] <= 300
    assert set(state.test) == {state.seed_id, state.best_id}


async def test_awaited_calls_in_this_loop_and_in_others():
    async def judge(values, case, repeat):
        ticket = await METER.get().abegin("openai:m", SMALL, {})
        ticket.end(Usage(6, 3))
        return parabola(values, case, repeat)

    def elsewhere(values, case, repeat):
        return asyncio.run(judge(values, case, repeat))

    for function in (judge, elsewhere):
        run = world(function, {"evals": 100, "calls": 30})
        state = await run.run()
        assert state.status == "budget"
        assert 20 < state.calls.requests <= 30
        assert state.calls.tokens == 9 * state.calls.requests


@pytest.mark.parametrize(
    ("budget", "model", "bound", "why"),
    [
        (
            {"usd": 1.0},
            "openai:unpriced",
            SMALL,
            "the price of openai:unpriced is unknown, so USD cannot be counted",
        ),
        ({"tokens": 100.0}, "openai:m", Bound(10, None, None), "no cap on its output"),
        (
            {"calls": 1.0, "tokens": 12.0},
            "openai:m",
            SMALL,
            "cannot fit one call of a model: one request can take 15",
        ),
    ],
)
async def test_what_cannot_be_counted_is_refused_before_it_is_asked(budget, model, bound, why):
    def judge(values, case, repeat):
        METER.get().begin(model, bound, {})

    run = world(judge, {"evals": 5} | budget)
    with pytest.raises(ConfigError, match=why.replace(".", r"\.")):
        await run.run()
    assert rows(run) == []


async def test_a_server_that_counts_more_than_was_allowed_is_named_once():
    run = world(asks(usage=Usage(6, 50)), {"evals": 4, "tokens": 10_000})
    state = await run.run()
    assert state.warnings == [
        "openai:m counted more tokens than a request can have by its bytes and its cap, so the budget may be overshot"
    ]
    assert state.calls.tokens == 56 * state.calls.requests
    calm = world(asks(usage=Usage(6, 50)), {"evals": 4})
    assert (await calm.run()).warnings == [], "without a limit nothing is overshot"


async def test_a_call_that_outlives_its_run_counts_at_its_bound_and_the_next_is_refused():
    begun, go, seen = threading.Event(), threading.Event(), []

    def judge(values, case, repeat):
        meter = METER.get()
        if values["x"]:
            ticket = meter.begin("openai:m", SMALL, {})
            begun.set()
            go.wait(5)
            ticket.end(Usage(1, 1))
            for attempt in (lambda: meter.begin("openai:m", SMALL, {}), lambda: asyncio.run(meter.abegin("openai:m", SMALL, {}))):
                with pytest.raises(BudgetSpent, match="the run has ended") as caught:
                    attempt()
                seen.append(caught.value)
            done.set()
        return 0.0

    done = threading.Event()
    run = world(judge, {"evals": 5})
    running = asyncio.create_task(run.run())
    await asyncio.to_thread(begun.wait, 5)
    run.loop.interrupt()
    state = await running
    go.set()
    await asyncio.to_thread(done.wait, 5)
    assert (state.status, state.calls.tokens, len(seen)) == ("interrupted", 15, 2)
    assert run.store.events[-1].kind == "stopped"
    assert rows(run, "llm_reply")[-1]["unknown"] is True


async def test_who_waits_for_room_when_the_run_ends_is_told_so():
    waiting, told = threading.Event(), []

    def judge(values, case, repeat):
        meter = METER.get()
        meter.begin("openai:m", Bound(60, 30, None), {})
        waiting.set()
        try:
            meter.begin("openai:m", Bound(60, 30, None), {})
        except BudgetSpent as error:
            told.append(str(error))
            done.set()
            raise
        return 0.0

    done = threading.Event()
    run = world(judge, {"evals": 5, "tokens": 100})
    running = asyncio.create_task(run.run())
    await asyncio.to_thread(waiting.wait, 5)
    await somebody_waits(run)
    run.loop.interrupt()
    assert (await running).status == "interrupted"
    await asyncio.to_thread(done.wait, 5)
    assert told == ["the run has ended, so no model is asked for it any more"]


async def test_a_run_that_fails_settles_what_is_open():
    def judge(values, case, repeat):
        METER.get().begin("openai:m", SMALL, {})
        return parabola(values, case, repeat)

    class Broken:
        async def propose(self, view, n, rng):
            return 5

        def observe(self, entry, admission): ...

    run = world(judge, {"evals": 5}, optimizer=Broken())
    with pytest.raises(Exception, match="must propose"):
        await run.run()
    assert [event.kind for event in run.store.events][-2:] == ["llm_reply", "stopped"]
    assert len(rows(run)) == len(rows(run, "llm_reply")) > 0


async def test_a_test_split_that_the_budget_does_not_fit_is_said_to_be_cut_off():
    def judge(values, case, repeat):
        return asks(20 if case in ("t", "u") else 1)(values, case, repeat)

    run = world(judge, {"evals": 100, "calls": 60})
    state = await run.run()
    cut = [event.data["text"] for event in run.store.events if event.kind == "note" and event.data["kind"] == "test_cut"]
    assert cut
    assert cut[0].startswith("the budget ran out before the test split was scored: one request can take 1 calls")
    assert state.calls.requests <= 60


async def test_optimizers_see_what_is_kept_for_the_test_split():
    seen = []

    class Watching(Asker):
        def __init__(self):
            super().__init__(None)

        async def propose(self, view, n, rng):
            seen.append(dict(view.budget_left))
            return await super(Asker, self).propose(view, n, rng)

    run = world(asks(), {"evals": 5, "calls": 100}, optimizer=Watching())
    await run.run()
    # the seed's three rollouts made a call each: 97 less half as much again as the four on test will
    assert seen[0]["calls"] == 91


async def test_bounds_of_calls_under_way_are_not_what_the_test_split_is_expected_to_take():
    state, ledger = SimpleNamespace(rollouts=0), Ledger({"tokens": 9000.0})
    meter = Metering(cents, 20)
    meter.bind(SimpleNamespace(state=state, ledger=ledger, left_on_test=4))
    meter.open()

    def call(kind, case, tokens):
        data = {"model": "openai:m", "key": case, "candidate": "c", "case": case, "repeat": 0, "purpose": "pipeline", "tokens": tokens}
        meter.feed(Event(0, 0.0, kind, data))

    for case in "abc":
        call("llm_request", case, 900.0)
    call("llm_reply", "a", 9.0)
    state.rollouts = 1
    meter.feed(Event(0, 0.0, "rollout", {}))
    assert (meter.kept["calls"], meter.kept["tokens"]) == (6.0, 54.0), "half as much again as four times the one that ended took"
