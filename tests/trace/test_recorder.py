"""What the recorder records, and that it changes nothing of what it records."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from agentopt.core.errors import TaskError
from agentopt.trace.params import Param, applied
from agentopt.trace.recorder import CURRENT, SPAN, record
from agentopt.trace.traced import traced


@traced
def shout(text):
    return text.upper() + "!"


def names(graph):
    return [node.name for node in graph]


def edges(graph, number, how="arg"):
    return [(edge.source, edge.role) for edge in graph[number].inputs if edge.how == how]


# --- calls


def test_a_call_is_a_node_with_its_arguments_and_result():
    with record() as trace:
        assert shout("hello there") == "HELLO THERE!"
    (node,) = trace.graph()
    assert (node.kind, node.name, node.value) == ("call", "shout", "HELLO THERE!")
    assert node.literals == (("text", "hello there"),)
    assert node.seconds > 0
    assert node.started > 0


def test_outside_of_record_nothing_is_recorded_and_the_function_is_the_same():
    assert shout("a") == "A!"
    with record(on=False) as trace:
        shout("a")
    assert len(trace.graph()) == 0
    assert shout.__name__ == "shout"
    assert shout.__wrapped__("b") == "B!"


def test_calls_inside_are_inside():
    @traced
    def outer(text):
        return shout(shout(text))

    with record() as trace:
        outer("hello there")
    graph = trace.graph()
    assert names(graph) == ["outer", "shout", "shout"]
    assert [node.span for node in graph] == [-1, 0, 0]
    assert edges(graph, 0, "contains") == [(1, ""), (2, "")]
    assert edges(graph, 2) == [(1, "text")]


class Agent:
    def __init__(self):
        self.said = []

    @traced
    def say(self, text):
        return f"I say {text}"

    @traced
    @staticmethod
    def above(text):
        return f"above {text}"

    @staticmethod
    @traced
    def below(text):
        return f"below {text}"

    @traced
    @classmethod
    def class_above(cls, text):
        return f"{cls.__name__} {text}"

    @classmethod
    @traced
    def class_below(cls, text):
        return f"{cls.__name__} {text}"

    @traced
    def __call__(self, text):
        return self.say(text)


def test_methods_of_every_sort():
    agent = Agent()
    with record() as trace:
        values = [agent.say("x"), Agent.above("x"), agent.below("x"), Agent.class_above("x"), agent.class_below("x"), agent("x")]
    assert values == ["I say x", "above x", "below x", "Agent x", "Agent x", "I say x"]
    graph = trace.graph()
    assert names(graph) == ["say", "above", "below", "class_above", "class_below", "__call__", "say"]
    assert dict(graph[0].literals) == {"self": agent, "text": "x"}


def test_lambdas_builtins_partials_and_objects_need_no_source():
    from functools import partial

    scope = {}
    exec("def made(x): return x * 2.5", scope)
    with record() as trace:
        assert traced(lambda x: x + 0.5)(1) == 1.5
        assert traced(len)([1, 2]) == 2
        assert traced(partial(pow, 2.0))(3) == 8.0
        assert traced(scope["made"])(2) == 5.0
        assert traced(Agent())("x") == "I say x"
    graph = trace.graph()
    assert names(graph) == ["<lambda>", "len", "pow", "made", "Agent", "__call__", "say"]
    assert graph.functions["made"].source == ""
    assert graph.functions["len"].doc


def test_stacked_decorators_in_either_order():
    import functools

    def twice(function):
        @functools.wraps(function)
        def call(*args):
            return function(*args) * 2

        return call

    with record() as trace:
        assert traced(twice(shout.__wrapped__))("a") == "A!A!"
        assert twice(traced(shout.__wrapped__))("a") == "A!A!"
    assert [node.value for node in trace.graph()] == ["A!A!", "A!"]


def test_a_name_and_a_kind_may_be_given():
    @traced(name="search", kind="tool")
    def look_up(query, *more, limit=3):
        return f"{query} {more} {limit}"

    with record() as trace:
        look_up("query", 1, 2, limit=4)
    (node,) = trace.graph()
    assert (node.kind, node.name) == ("tool", "search")
    assert node.literals == (("query", "query"), ("arg1", 1), ("arg2", 2), ("limit", 4))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: traced(Agent), "decorate the methods of a class"),
        (lambda: traced(3), "traced() takes functions, not 3"),
        (lambda: traced(shout, kind="node"), "kind='node' is none of"),
        (lambda: traced(shout, values="all"), "values='all' is none of"),
    ],
)
def test_what_cannot_be_traced_is_said(call, says):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert says in str(caught.value)


def test_two_functions_of_one_name_keep_their_sources():
    def make(text):
        @traced
        def step(x):
            return x + text

        return step

    @traced
    def step(x):
        return x * 2.5

    with record() as trace:
        make("a")("x"), make("b")("x"), step(1)
    graph = trace.graph()
    assert names(graph) == ["step", "step", "step_2"]
    assert "x + text" in graph.functions["step"].source
    assert "x * 2.5" in graph.functions["step_2"].source


# --- exceptions


@traced
def broken(x):
    del x
    raise ValueError()


@traced
def around(x):
    return broken(x)


def test_an_exception_passes_unchanged_and_is_a_node():
    caught = None
    try:
        with record() as trace:
            around(1)
    except ValueError as error:
        caught = error
    assert caught is trace.failure
    assert caught.args == ()
    graph = trace.graph()
    assert [node.kind for node in graph] == ["exception", "exception"]
    assert graph.output == 0
    assert graph[1].value is caught
    assert graph[1].meta["error"] == "ValueError"
    assert "    raise ValueError()    <--- failed here" in graph[1].meta["where"]
    assert "return broken(x)    <--- failed here" in graph[0].meta["where"]
    assert graph[1].meta["where"] in graph[0].meta["where"]
    trace.backward(trace.failure, "why")
    assert trace.graph().feedback[0].target == 0


def test_a_caught_exception_is_a_node_and_no_failure():
    @traced
    def careful(x):
        try:
            return broken(x)
        except ValueError:
            return f"no {x}"

    with record() as trace:
        careful(1)
        shout("fine after all")
    graph = trace.graph()
    assert [node.kind for node in graph] == ["call", "exception", "call"]
    assert trace.failure is None
    assert "error" not in graph[2].meta


def test_an_exception_from_outside_of_any_call_is_the_whole_workflows():
    def workflow():
        shout("x")
        raise KeyError("gone")

    with pytest.raises(KeyError), record() as trace:
        workflow()
    graph = trace.graph()
    assert graph.output == 1
    assert graph[1].kind == "exception"
    assert graph[1].meta["message"] == "'gone'"
    assert edges(graph, 1, "contains") == [(0, "")]


def test_an_exception_whose_text_fails_is_described():
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError

    @traced
    def odd():
        raise OddError

    with pytest.raises(OddError), record() as trace:
        odd()
    assert trace.graph()[0].meta["message"] == "<its text raised RuntimeError>"


def test_nothing_is_left_behind_after_an_exception():
    before = sys.gettrace()
    with pytest.raises(ValueError, match=r"^$"), record():
        around(1)
    assert CURRENT.get() is None
    assert SPAN.get() == -1
    assert sys.gettrace() is before


# --- asynchronous functions and generators


@traced
async def think(text):
    await asyncio.sleep(0)
    return f"thought of {text}"


async def test_coroutines():
    @traced
    async def outer(text):
        a, b = await asyncio.gather(think(text + "1"), think(text + "2"))
        return await think(a + b)

    assert asyncio.iscoroutinefunction(outer)
    with record() as trace:
        await outer("it")
    graph = trace.graph()
    assert names(graph) == ["outer", "think", "think", "think"]
    assert [node.span for node in graph] == [-1, 0, 0, 0]
    assert await think("x") == "thought of x"


async def test_an_exception_in_a_coroutine_passes_unchanged():
    @traced
    async def fails():
        await asyncio.sleep(0)
        raise LookupError("here")

    with pytest.raises(LookupError) as caught, record() as trace:
        await fails()
    assert trace.failure is caught.value
    assert "<--- failed here" in trace.graph()[0].meta["where"]


@traced
def count(n):
    for i in range(n):
        shout(f"item {i}")
        yield f"item number {i}"
    return "done with it"


def test_a_generator_is_a_node_and_its_body_runs_inside_it():
    @traced
    def use(item):
        return item + "?"

    with record() as trace:
        for item in count(2):
            use(item)
    graph = trace.graph()
    assert names(graph) == ["count", "shout", "use", "shout", "use"]
    assert [node.span for node in graph] == [-1, 0, -1, 0, -1]
    assert graph[0].value == ["item number 0", "item number 1"]
    assert graph[0].meta == {"returned": "done with it"}
    assert edges(graph, 2) == [(0, "item")]
    assert SPAN.get() == -1
    assert list(count(1)) == ["item number 0"]


def test_a_generator_that_is_closed_early_ends_there():
    closed = []

    @traced
    def endless():
        try:
            while True:
                yield shout("go")
        finally:
            closed.append(SPAN.get())

    with record() as trace:
        running = endless()
        assert next(running) == "GO!"
        running.close()
    graph = trace.graph()
    assert graph[0].meta == {"closed": True}
    assert closed == [trace.rows[-1][0]]


def test_a_generator_takes_what_is_sent_and_thrown():
    @traced
    def echo():
        got = yield "ready"
        try:
            yield got
        except KeyError:
            yield "caught it"
        raise ValueError("the end of it")

    with record() as trace:
        running = echo()
        assert next(running) == "ready"
        assert running.send("something sent") == "something sent"
        assert running.throw(KeyError()) == "caught it"
        with pytest.raises(ValueError, match="the end of it"):
            next(running)
    (node,) = trace.graph()
    assert node.kind == "exception"
    assert node.meta["items"] == ["ready", "something sent", "caught it"]


def test_a_generator_that_will_not_close_says_so():
    @traced
    def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    with record() as trace:
        running = stubborn()
        next(running)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            running.close()
    assert trace.graph()[0].kind == "exception"


async def test_asynchronous_generators():
    @traced
    async def stream(n):
        for i in range(n):
            yield await think(f"token {i}")

    with record() as trace:
        assert [item async for item in stream(2)] == ["thought of token 0", "thought of token 1"]
        running = stream(5)
        await anext(running)
        await running.aclose()
    graph = trace.graph()
    assert names(graph) == ["stream", "think", "think", "stream", "think"]
    assert [node.span for node in graph] == [-1, 0, 0, -1, 3]
    assert graph[3].meta == {"closed": True}
    assert [item async for item in stream(1)] == ["thought of token 0"]


async def test_an_asynchronous_generator_takes_what_is_thrown():
    @traced
    async def echo():
        try:
            yield "one"
        except KeyError:
            yield "caught"
        raise ValueError("end of it")

    with record() as trace:
        running = echo()
        assert await anext(running) == "one"
        assert await running.athrow(KeyError()) == "caught"
        with pytest.raises(ValueError, match="end of it"):
            await anext(running)
    assert trace.graph()[0].kind == "exception"


# --- threads and tasks


def test_threads_do_not_mix():
    def work(me):
        with record() as trace:
            for i in range(200):
                assert shout(f"{me} says {i}") == f"{me} says {i}!".upper()
        return trace

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            traces = list(pool.map(work, [f"thread{i}" for i in range(8)]))
    finally:
        sys.setswitchinterval(switch)
    for me, trace in enumerate(traces):
        graph = trace.graph()
        assert [node.value for node in graph] == [f"THREAD{me} SAYS {i}!" for i in range(200)]
        assert [dict(node.literals) for node in graph] == [{"text": f"thread{me} says {i}"} for i in range(200)]


async def test_tasks_do_not_mix():
    async def work(me):
        with record() as trace, applied({"greeting": f"hello {me}"}):
            for i in range(5):
                await think(f"{greeting.value} {i}")
        return trace

    greeting = Param("hello", "greeting")
    traces = await asyncio.gather(*map(work, range(50)))
    for me, trace in enumerate(traces):
        calls = [node.value for node in trace.graph() if node.kind == "call"]
        assert calls == [f"thought of hello {me} {i}" for i in range(5)]


def test_threads_of_one_trace_share_it():
    with record(threads=True) as trace:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(shout, [f"text number {i}" for i in range(40)]))
        thread = threading.Thread(target=shout, args=("from a thread",))
        thread.start()
        thread.join()
    graph = trace.graph()
    assert sorted(node.value for node in graph) == sorted([*results, "FROM A THREAD!"])
    assert [node.id for node in graph] == list(range(41))


def test_threads_that_start_inside_are_on_their_own_unless_asked():
    with record() as trace:
        thread = threading.Thread(target=shout, args=("from a thread",))
        thread.start()
        thread.join()
    assert len(trace.graph()) == 0


# --- options


def test_sampling():
    taken = []
    for seed in range(400):
        with record(sample=0.25, rng_seed=seed) as trace:
            shout("x")
        taken.append(len(trace.graph()))
    assert 60 < sum(taken) < 140
    with record(sample=0.0) as trace:
        shout("x")
    assert len(trace.graph()) == 0


def test_bad_options_are_said():
    with pytest.raises(ValueError, match="sample=2 is not between 0 and 1"), record(sample=2):
        pass
    with pytest.raises(TypeError, match="record\\(\\) does not know 'samples'; it takes sample, rng_seed"), record(samples=1):
        pass
    with pytest.raises(ValueError, match="values='none' is none of"), record(values="none"):
        pass


def test_off_inside_of_a_trace_is_off():
    with record() as trace:
        with record(on=False):
            shout("x")
        shout("y")
    assert [node.value for node in trace.graph()] == ["Y!"]


# --- nodes that others add


def test_a_later_call_changes_nothing_of_an_earlier_one():
    @traced
    def fragile(x, *rest):
        if rest:
            raise ValueError("too many")
        return x

    with record() as trace:
        first = fragile("the first")
        with pytest.raises(ValueError, match="too many"):
            fragile("the second", 2)
        fragile("the third")
    graph = trace.graph()
    assert [dict(node.literals)["x"] for node in graph] == ["the first", "the second", "the third"]
    assert [node.kind for node in graph] == ["call", "exception", "call"]
    assert not graph[2].meta
    assert first == graph[0].value


def test_others_add_nodes():
    with record() as trace:
        question = trace.input("question", "what is it that you want?")
        with trace.span("tool", "search", {"query": "what is it"}) as span:
            inner = shout("inside the span")
            span.output = inner
            span.meta["hits"] = 3
        number = trace.add("llm", "model", {"prompt": inner}, "a reply", meta={"tokens": 5}, began=trace.began, ended=trace.began + 2.0)
        opened = trace.begin("llm", "other", {"prompt": "x"})
        trace.begin("tool", "nested", parent=opened).end("result")
        opened.end("reply", meta={"tokens": 1})
    graph = trace.graph()
    assert question < number
    assert names(graph) == ["question", "search", "shout", "model", "other", "nested"]
    assert [node.span for node in graph] == [-1, -1, 1, -1, -1, 4]
    assert graph[1].meta == {"hits": 3}
    assert edges(graph, 3) == [(1, "prompt")]
    assert graph[3].seconds == pytest.approx(2.0)
    assert graph[3].meta == {"tokens": 5}


async def test_a_span_goes_across_awaits():
    with record() as trace:
        async with asyncio.timeout(5):
            with trace.span("llm", "model") as span:
                span.output = await think("the matter")
    assert [node.span for node in trace.graph()] == [-1, 0]


def test_an_exception_ends_a_span():
    with record() as trace:
        with pytest.raises(ValueError, match="no"), trace.span("tool", "search"):
            raise ValueError("no")
        trace.add("llm", "model", error=TimeoutError("late"))
    graph = trace.graph()
    assert [node.kind for node in graph] == ["exception", "exception"]
    assert [node.meta["message"] for node in graph] == ["no", "late"]


# --- feedback


def test_feedback_reaches_the_parameters_that_the_target_depends_on():
    used, unused, fixed = Param("the used text", "used"), Param("the unused text", "unused"), Param("fixed text", "fixed", trainable=False)
    with record() as trace:
        shout(unused.value)
        fixed.value.upper()
        result = shout(used.value)
    trace.backward(result, "too loud", 0.25)
    trace.backward(result, score={"accuracy": 1, "tokens": 20})
    assert unused.feedback == fixed.feedback == []
    assert [(said.text, said.scores) for said in used.feedback] == [
        ("too loud", {"score": 0.25}),
        ("", {"accuracy": 1, "tokens": 20}),
    ]
    assert used.feedback[0].trace is trace
    assert used.feedback[0].graph()[used.feedback[0].target].value == "THE USED TEXT!"


def test_two_runs_give_one_parameter_different_feedback():
    shared = Param("the shared text", "shared")
    for text in ("first remark", "second remark"):
        with record() as trace:
            result = shout(shared.value)
        trace.backward(result, text)
    assert [said.text for said in shared.feedback] == ["first remark", "second remark"]


def test_what_nothing_made_is_the_whole_workflows():
    prompt = Param("be brief", "prompt")
    with record() as trace:
        result = [prompt.value, shout("x")]
        trace.output(result)
    trace.backward(result, "as a list")
    graph = trace.graph()
    assert graph[graph.output].name == "workflow"
    assert graph[graph.output].value == ["be brief", "X!"]
    assert graph.feedback[0].target == graph.output
    assert [said.text for said in prompt.feedback] == ["as a list"]
    trace.backward(graph[0], "of the read")
    trace.backward(prompt, "of the parameter")
    assert [said.target for said in trace.graph().feedback] == [2, 0, 0]


def test_feedback_on_a_trace_that_recorded_nothing():
    with record(on=False) as trace:
        result = shout("x")
    trace.backward(result, "fine")
    assert trace.graph().feedback[0].target == -1


def test_scores_are_finite():
    with record() as trace:
        result = shout("x")
    with pytest.raises(ValueError, match="the score 'score' is nan"):
        trace.backward(result, score=float("nan"))


# --- what is kept alive


class Thing:
    pass


def test_a_dropped_trace_keeps_nothing_alive():
    @traced
    def make():
        return Thing()

    prompt = Param("text of it", "prompt")
    gc.collect()
    gc.disable()
    try:
        with record() as trace:
            thing = make()
            prompt.value.upper()
        trace.backward(thing, "fine")
        prompt.feedback.clear()
        seen = weakref.ref(thing)
        del thing, trace
        assert seen() is None
    finally:
        gc.enable()


def test_a_trace_with_an_exception_is_not_kept_alive_by_it():
    @traced
    def fails(thing):
        raise ValueError("no")

    thing = Thing()
    seen = weakref.ref(thing)

    def run(thing):
        with record() as trace, suppress(ValueError):
            fails(thing)
        return len(trace.graph())

    assert run(thing) == 1
    del thing
    gc.collect()
    assert seen() is None


def test_parameters_with_bad_options_are_refused():
    with pytest.raises(TaskError, match="not a Python identifier"):
        Param("x", "no name")
