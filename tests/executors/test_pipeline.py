"""Candidates in the caller's process: a workflow that is there already, called with other values for its parameters."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
import pytest

from agentopt.core.calls import Bound
from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.chat import Usage
from agentopt.core.errors import BudgetSpent, ConsentError, InfrastructureError, Reject, RunFailed, TaskError
from agentopt.core.evaluation import Failure
from agentopt.core.metering import METER
from agentopt.core.protocols import Executor, ExecutorContext, Session, Wish
from agentopt.core.running import CodeFailed
from agentopt.core.task import Case, Limits, Objective, Parameter, Score, Task
from agentopt.executors.pipeline import Pipeline
from agentopt.trace import calling
from agentopt.trace.params import Param
from agentopt.trace.traced import traced
from agentopt.trace.workflow import Fields

PREFIX = Param("Hello", "prefix")


def greet(name):
    return f"{PREFIX.value}, {name}"


def make_task(pipeline=greet, score=None, cases=None, **changes) -> Task:
    settings = {
        "name": "greeting",
        "parameters": {"prefix": Parameter("prefix", "prompt", "Hello")},
        "objectives": [Objective("right")],
        "cases": {"train": cases or [Case("ann", Fields(name="Ann"), "Hi, Ann"), Case("bob", Fields(name="Bob"), "Hi, Bob")]},
        "limits": Limits(seconds=5.0, score_seconds=5.0),
    } | changes
    task = Task(**settings)
    task.functions["pipeline"] = pipeline
    task.score(score or (lambda case, output, measured: output == case.expected))
    return task


def candidate(task, **values):
    return Candidate.of(Proposal({**task.seed_values, **values}), task.resolved)


@asynccontextmanager
async def opened(task, capacity=2, meter=None, wish=Wish()):  # noqa: B008
    executor = Pipeline(ExecutorContext(task, task.make_cases(), capacity, wish=wish, meter=meter))
    try:
        yield executor
    finally:
        await executor.close()


async def once(task, case="ann", capacity=2, meter=None, **values):
    async with opened(task, capacity, meter) as executor:
        session = await executor.open(candidate(task, **values))
        return await session.rollout(case, 0, 7)


async def test_a_candidates_values_take_the_place_of_the_parameters():
    task = make_task()
    async with opened(task) as executor:
        assert isinstance(executor, Executor)
        assert (executor.capacity, executor.sandbox) == (2, "pipeline")
        session = await executor.open(candidate(task, prefix="Hi"))
        assert isinstance(session, Session)
        rollout = await session.rollout("ann", 1, 7)
        assert (rollout.case, rollout.split, rollout.repeat, rollout.rng_seed) == ("ann", "train", 1, 7)
        assert (rollout.scores, rollout.failure) == ({"right": 1.0}, None)
        assert rollout.measured.wall > 0
        assert rollout.output
        assert (await (await executor.open(candidate(task))).rollout("ann", 0, 7)).scores == {"right": 0.0}
        await session.close()
        await session.close()
    assert PREFIX.value == "Hello"


async def later(name):
    await asyncio.sleep(0)
    return greet(name)


def streamed(name):
    yield from (PREFIX.value, ", ", name)


async def streamed_later(name):
    for part in streamed(name):
        await asyncio.sleep(0)
        yield part


class Agent:
    async def __call__(self, name):
        return await later(name)


WAYS = [greet, traced(greet), later, traced(later), lambda name: later(name), partial(later), Agent(), Agent().__call__]


@pytest.mark.parametrize("pipeline", WAYS)
async def test_sync_and_async_of_every_kind(pipeline):
    assert (await once(make_task(pipeline), prefix="Hi")).scores == {"right": 1.0}


STREAMS = [streamed, streamed_later, partial(streamed), traced(streamed), traced(streamed_later)]


@pytest.mark.parametrize("pipeline", STREAMS)
async def test_a_stream_is_read_to_its_end_under_the_candidates_values(pipeline):
    task = make_task(pipeline, lambda case, output, measured: "".join(output) == case.expected)
    assert (await once(task, prefix="Hi")).scores == {"right": 1.0}


async def test_any_other_input_is_the_one_argument():
    seen = []
    task = make_task(lambda row: seen.append(row) or "x", cases=[Case("ann", {"name": "Ann"}), Case("bob", (1, 2))])
    async with opened(task) as executor:
        session = await executor.open(candidate(task))
        for case in ("ann", "bob"):
            await session.rollout(case, 0, 7)
    assert seen == [{"name": "Ann"}, (1, 2)]


async def test_a_workflow_spoils_no_row_for_the_next():
    task = make_task(lambda words, lock: words.pop(), cases=[Case("ann", Fields(words=["a", "b"], lock=threading.Lock()), "b")])
    async with opened(task) as executor:
        session = await executor.open(candidate(task))
        assert [(await session.rollout("ann", 0, 7)).scores["right"] for _ in range(3)] == [1.0, 1.0, 1.0]


async def test_what_cannot_be_copied_is_given_as_it_is():
    lock = threading.Lock()
    task = make_task(lambda held: held[0] is lock, cases=[Case("ann", Fields(held=[lock]), True)])
    assert (await once(task)).scores == {"right": 1.0}


@pytest.mark.parametrize("pipeline", [greet, later])
async def test_rows_are_tried_at_once_as_many_as_there_are_workers(pipeline):
    most = now = 0

    async def slow(name):
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return await pipeline(name) if pipeline is later else pipeline(name)

    cases = [Case(f"c{k}", Fields(name=f"N{k}"), f"Hello, N{k}") for k in range(12)]
    task = make_task(slow, cases=cases)
    async with opened(task, capacity=4) as executor:
        session = await executor.open(candidate(task))
        jobs, landed = [(case.id, 0, 7) for case in cases], []
        while len(landed) < len(jobs):
            landed += await session.rollouts(jobs[len(landed) :])
    assert [rollout.case for rollout in landed] == [case.id for case in cases]
    assert all(rollout.scores == {"right": 1.0} for rollout in landed)
    assert most == 4


async def test_a_session_that_is_closed_ends_what_it_tried_ahead():
    cancelled = []

    async def first_or_never(name):
        if name == "Ann":
            return "Hi, Ann"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    task = make_task(first_or_never)
    async with opened(task) as executor:
        session = await executor.open(candidate(task))
        (rollout,) = await session.rollouts([("ann", 0, 7), ("bob", 0, 7)])
        assert rollout.scores == {"right": 1.0}
    assert cancelled == ["Bob"]


# --- failures


def nested(name):
    return {"a": 1}[name]


async def nested_later(name):
    return nested(name)


@pytest.mark.parametrize("pipeline", [nested, nested_later, lambda name: nested_later(name)])
async def test_an_exception_is_a_crash_that_names_the_place(pipeline):
    rollout = await once(make_task(pipeline))
    assert rollout.failure is not None
    assert (rollout.failure.kind, rollout.scores, rollout.output) == ("crash", {}, "")
    assert 'return {"a": 1}[name]' in rollout.failure.message
    assert "KeyError: 'Ann'" in rollout.failure.message
    assert "agentopt/trace" not in rollout.failure.message


@pytest.mark.parametrize("leaving", [SystemExit(3), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError()])
async def test_a_thread_that_wants_to_end_everything_is_a_crash_too(leaving):
    def leave(name):
        raise leaving

    failure = (await once(make_task(leave))).failure
    assert failure is not None
    assert failure.kind == "crash"
    assert type(leaving).__name__ in failure.message


@pytest.mark.parametrize("leaving", [SystemExit(3), asyncio.CancelledError()])
async def test_a_coroutine_that_does_so_is_one_as_well(leaving):
    async def leave(name):
        raise leaving

    failure = (await once(make_task(leave))).failure
    assert failure is not None
    assert failure.kind == "crash"


async def test_the_cause_of_an_exception_is_told():
    def wrapped(name):
        try:
            nested(name)
        except KeyError as error:
            raise ValueError("no such name") from error

    failure = (await once(make_task(wrapped))).failure
    assert failure is not None
    assert failure.message.index("KeyError: 'Ann'") < failure.message.index("ValueError: no such name")


async def test_code_that_failed_in_its_box_keeps_its_kind():
    def asks_code(name):
        raise CodeFailed("memory", "line 3 of f.py")

    failure = (await once(make_task(asks_code))).failure
    assert failure is not None
    assert failure.kind == "memory"
    assert "line 3 of f.py" in failure.message


async def test_a_box_that_was_lost_is_nobodys_fault():
    def loses(name):
        raise InfrastructureError("the box is gone")

    with pytest.raises(InfrastructureError, match="gone"):
        await once(make_task(loses))


async def test_a_coroutine_past_its_deadline_is_cancelled():
    ended = []

    async def endless(name):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    failure = (await once(make_task(endless, limits=Limits(seconds=0.05)))).failure
    assert failure == Failure("timeout", "no output within limits.seconds: 0.05 s")
    assert ended == ["Ann"]


async def test_so_is_what_a_sync_function_left_to_be_awaited():
    async def endless(name):
        await asyncio.Event().wait()

    task = make_task(lambda name: endless(name), limits=Limits(seconds=0.05))
    failure = (await once(task)).failure
    assert failure == Failure("timeout", "no output within limits.seconds: 0.05 s")


async def test_a_thread_past_its_deadline_is_left_and_the_run_goes_on():
    go = threading.Event()

    def waits(name):
        return go.wait() if name == "Ann" else "Hi, Bob"

    task = make_task(waits, limits=Limits(seconds=0.05))
    try:
        async with opened(task) as executor:
            session = await executor.open(candidate(task))
            failure = (await session.rollout("ann", 0, 7)).failure
            assert failure == Failure("timeout", "no output within limits.seconds: 0.05 s, and its thread cannot be ended")
            assert (await session.rollout("bob", 0, 7)).scores == {"right": 1.0}
            (note,) = executor.take_notes()
            assert "was left to itself" in note
            assert executor.take_notes() == []
    finally:
        go.set()


async def test_too_many_such_threads_end_the_run(monkeypatch):
    monkeypatch.setattr(calling, "_MOST_LEFT", 3)
    go = threading.Event()

    def waits(name):
        go.wait()

    task = make_task(waits, limits=Limits(seconds=0.02))
    try:
        async with opened(task, capacity=1) as executor:
            session = await executor.open(candidate(task))
            kinds = [(await session.rollout("ann", repeat, 7)).failure.kind for repeat in range(2)]
            with pytest.raises(RunFailed, match=r"3 calls of waits did not end within 0.02 s and still run"):
                await session.rollout("ann", 2, 7)
            assert kinds == ["timeout", "timeout"]
    finally:
        go.set()


async def test_threads_that_end_late_do_not_count_for_ever(monkeypatch):
    monkeypatch.setattr(calling, "_MOST_LEFT", 2)
    begun, go = queue.Queue(), threading.Event()

    def slow(name):
        begun.put(threading.current_thread())
        go.wait()

    task = make_task(slow, limits=Limits(seconds=0.02))
    async with opened(task, capacity=1) as executor:
        session = await executor.open(candidate(task))
        for repeat in range(3):
            go.clear()
            assert (await session.rollout("ann", repeat, 7)).failure.kind == "timeout"
            thread = await asyncio.to_thread(begun.get)
            go.set()
            await asyncio.to_thread(thread.join)


# --- scores


async def by_score(score, **changes):
    return await once(make_task(score=score, **changes), prefix="Hi")


async def said_later(case, output, measured):
    await asyncio.sleep(0)
    return Score(right=0.5, feedback=f"{output}!")


@pytest.mark.parametrize("score", [said_later, lambda *given: said_later(*given)])
async def test_score_may_be_async(score):
    rollout = await by_score(score)
    assert (rollout.scores, rollout.feedback) == ({"right": 0.5}, "Hi, Ann!")


@pytest.mark.parametrize(
    ("result", "kind", "words", "ours"),
    [
        (float("nan"), "nonfinite", "'right' is nan", False),
        (float("inf"), "nonfinite", "'right' is inf", False),
        (None, "wrong", "score: the result is a NoneType, not a number", True),
        ("good", "wrong", "score: the result is a str, not a number", True),
        ({"left": 1.0}, "wrong", "the objective 'left' is not declared", True),
        (-0.5, "cheat", "below the floor of 0", False),
    ],
)
async def test_a_score_of_the_wrong_form_has_the_houses_words(result, kind, words, ours):
    failure = (await by_score(lambda case, output, measured: result, objectives=[Objective("right", floor=0.0)])).failure
    assert failure is not None
    assert (failure.kind, failure.scorer_error) == (kind, ours)
    assert words in failure.message


async def test_errors_of_score_are_the_scorers_and_a_reject_is_not():
    def broken(case, output, measured):
        return output["missing"]

    def strict(case, output, measured):
        raise Reject("no greetings, please")

    failure = (await by_score(broken)).failure
    assert failure is not None
    assert (failure.kind, failure.scorer_error) == ("wrong", True)
    assert 'return output["missing"]' in failure.message
    assert (await by_score(strict)).failure == Failure("wrong", "no greetings, please")


async def test_score_has_a_deadline_too():
    async def endless(case, output, measured):
        await asyncio.Event().wait()

    failure = (await by_score(endless, limits=Limits(score_seconds=0.05))).failure
    assert failure == Failure("wrong", "score took longer than 0.05 s (limits.score_seconds)", scorer_error=True)


async def test_score_sees_the_parameters_as_they_are():
    assert (await by_score(lambda case, output, measured: PREFIX.value == "Hello")).scores == {"right": 1.0}


async def test_an_output_that_is_no_data_is_scored_all_the_same():
    task = make_task(lambda name: object(), lambda case, output, measured: type(output) is object)
    rollout = await once(task)
    assert (rollout.scores, rollout.output) == ({"right": 1.0}, "")


# --- random numbers


async def test_alone_the_random_numbers_of_the_process_follow_from_the_seed():
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    seen = []
    task = make_task(lambda name: seen.append((random.random(), float(np.random.rand()))))
    async with opened(task, capacity=1) as executor:
        session = await executor.open(candidate(task))
        for seed in (5, 5, 6):
            await session.rollout("ann", 0, seed)
    assert seen[0] == seen[1] != seen[2]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


async def test_an_argument_ctx_brings_random_numbers_that_are_right_with_any_number_of_workers():
    seen = []
    task = make_task(lambda name, ctx: seen.append((ctx.rng_seed, ctx.rng.random())))
    async with opened(task, capacity=8) as executor:
        session = await executor.open(candidate(task))
        for seed in (5, 5, 6):
            await session.rollout("ann", 0, seed)
    assert seen == [(5, random.Random(5).random())] * 2 + [(6, random.Random(6).random())]


# --- models


class Purse:
    """A meter with so many calls in it."""

    def __init__(self, calls):
        self.calls, self.ended = calls, []

    def begin(self, model, bound, request):
        if not self.calls:
            raise BudgetSpent("no call is left")
        self.calls -= 1
        return self

    async def abegin(self, model, bound, request):
        return self.begin(model, bound, request)

    def end(self, usage):
        self.ended.append(usage)


def ask():
    ticket = METER.get().begin("fake:one", Bound(10, 10, None), {})
    ticket.end(Usage(3, 4))


async def ask_later():
    ticket = await METER.get().abegin("fake:one", Bound(10, 10, None), {})
    ticket.end(Usage(3, 4))


async def test_models_that_the_workflow_or_score_ask_are_metered():
    purse = Purse(3)

    async def asks(name):
        await ask_later()
        ask()
        return "Hi, Ann"

    def judges(case, output, measured):
        ask()
        return output == case.expected

    assert (await once(make_task(asks, judges), meter=purse)).scores == {"right": 1.0}
    assert (purse.calls, len(purse.ended)) == (0, 3)


async def careless():
    try:
        await ask_later()
    except Exception:
        return "whatever"


@pytest.mark.parametrize("pipeline", [lambda name: ask(), lambda name: careless()])
async def test_a_budget_that_is_spent_is_no_failure_of_the_candidate(pipeline):
    with pytest.raises(BudgetSpent, match="no call is left"):
        await once(make_task(pipeline), meter=Purse(0))


async def test_who_passed_the_deadline_asks_no_model_any_more():
    go, told = threading.Event(), []

    def late(name):
        go.wait()
        try:
            ask()
        except TimeoutError as error:
            told.append(str(error))
        go.clear()

    purse = Purse(5)
    assert (await once(make_task(late, limits=Limits(seconds=0.05)), meter=purse)).failure.kind == "timeout"
    go.set()
    for _ in range(500):
        if not go.is_set():
            break
        await asyncio.sleep(0.01)
    assert told == ["the deadline of this call of the workflow has passed, so it asks no model any more"]
    assert purse.calls == 5


# --- tasks that do not fit


@pytest.mark.parametrize("missing", ["pipeline", "score"])
async def test_a_task_needs_both_functions(missing):
    task = make_task()
    del task.functions[missing]
    with pytest.raises(TaskError, match=f"has no {missing}; the executor pipeline needs"):
        Pipeline(ExecutorContext(task, task.make_cases()))


async def test_needs_and_code_from_elsewhere_are_refused():
    task = make_task(needs=("no_network",))
    with pytest.raises(TaskError, match="needs no_network, which the executor pipeline does not give"):
        Pipeline(ExecutorContext(task, task.make_cases()))
    code = make_task(parameters={"prefix": Parameter("prefix", "code", "def prefix(): pass")})
    with pytest.raises(ConsentError, match="code from elsewhere"):
        Pipeline(ExecutorContext(code, code.make_cases(), wish=Wish(strangers=True)))
