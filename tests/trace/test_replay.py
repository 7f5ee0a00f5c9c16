"""What ``backward`` finds without a graph is what the graph says, at whatever moment and however often it is asked."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Iterator
from random import Random
from time import process_time

import pytest

from agentopt.trace.node import node
from agentopt.trace.params import Param
from agentopt.trace.reading import read_graph
from agentopt.trace.recorder import Trace, record
from agentopt.trace.replay import Replay
from agentopt.trace.traced import traced
from agentopt.trace.values import Linked


@traced
def make(*given, **named):
    return f"something of about {len(given)} that was made {id(given)}"


@traced
def weigh(*given):
    return float(len(given)) + 0.5


@traced
def same(x, *others):
    return x


@traced
def gather(*given):
    return [*given, {"first": given[:1]}]


@traced
def constant(*given):
    return CONSTANT


CONSTANT = object()


@traced
def change(x, *others):
    if isinstance(x, list):
        x.append(object())
    return x


@traced
def wrap(x, *others):
    return node(x) if others else node(x) + 1.5 if isinstance(x, float) else node([x])


@traced
def give_each(*given) -> Iterator[object]:
    for each in given:
        yield each
        yield object()


class Failed(Exception):
    pass


@traced
def fail(*given):
    raise Failed(given)


PLAIN = (make, weigh, same, gather, constant, change, wrap)


class Agent:
    """Does something at random, and then something else."""

    trace: Trace

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        shared = Param("You {do} what is said in these words", "twice")
        fixed = Param(5000.5, "fixed", trainable=False)
        later = Param("another of the same name", self.random.choice(["twice", "fixed"]))
        self.params = [Param(float(1 + index), f"p{index}") for index in range(4)] + [shared, fixed, later]
        earlier = Param(0.25, self.random.choice(["old", "p1"]), trainable=self.random.random() < 0.5)
        self.old = node(earlier) * 3.0  # before anything is recorded
        self.pool: list[object] = ["a text from outside that is long", 7, "x", object(), self.old]

    def some(self, most: int = 3) -> list[object]:
        return self.random.choices(self.pool, k=self.random.randint(0, most))

    def step(self, depth: int = 0) -> None:
        random = self.random
        what = random.randrange(12)
        if what < 3:
            self.pool.append(random.choice(self.params).value)
        elif what < 7:
            given = self.some()
            self.pool.append(random.choice(PLAIN)(*(given or [random.random()])))
        elif what == 7:
            self.pool += list(give_each(*self.some()))[: random.randint(0, 4)]
        elif what == 8:
            self.pool.append(self.proxy())
        elif what == 9:
            with pytest.raises(Failed) as raised:
                fail(*self.some())
            self.pool.append(raised.value)
        elif what == 10:
            self.added()
        elif depth < 3:
            self.pool.append(self.around(depth, random.randint(1, 4))(*self.some(2)))

    def around(self, depth: int, steps: int):
        @traced
        def outer(*given):
            for _ in range(steps):
                self.step(depth + 1)
            if self.random.random() < 0.2:
                self.judge()
            return self.random.choice(self.pool)

        return outer

    def proxy(self) -> object:
        param = self.random.choice(self.params)
        other = self.random.choice(self.pool)
        return node([param, other, node(other)])[0] if self.random.random() < 0.5 else node([other, self.old])

    def added(self) -> None:
        rows = self.trace.rows
        linked = Linked(self.random.choice(rows)[0], 2.5) if rows else 2.5
        made = object()
        self.trace.add("tool", "added", {"linked": linked, "x": self.random.choice(self.pool)}, made)
        self.pool.append(made)

    def judge(self) -> None:
        """Feedback on anything; who hears of it is who the graph says."""
        random, trace = self.random, self.trace
        target = random.choice([*self.pool, *self.params, *trace.graph(), "nobody made this"])
        if random.random() < 0.2:
            trace.output(random.choice([*self.pool, object(), None]))
        if random.random() < 0.05:
            trace.feedback.clear()
        before = {id(param): len(param.feedback) for param in self.params}
        trace.backward(target, "so so")
        number, names = expected(trace)
        read = {id(row[2]) for row in trace.rows if row[1] == "param"}
        for param in self.params:
            heard = param.feedback[before[id(param)] :]
            assert len(heard) == (id(param) in read and param.trainable and param.name in names)
            assert all(said.target == number for said in heard)


def expected(trace: Trace) -> tuple[int, set[str]]:
    """The node of the last feedback, and the names of the parameters that it depends on, by a graph that is read anew."""
    replay = Replay()
    replay.read(trace.rows)
    graph = read_graph(replay, trace.began, trace.outcome, trace.feedback)
    target = graph.feedback[-1].target
    return target, {graph.name(each) for each in graph.subgraph([target]) if graph.kind(each) == "param"}


@pytest.mark.parametrize("seed", range(60))
def test_feedback_reaches_whom_the_graph_says(seed):
    agent = Agent(seed)
    with record() as agent.trace:
        for _ in range(agent.random.randint(5, 40)):
            agent.step()
            if agent.random.random() < 0.3:
                agent.judge()
    agent.judge()
    trace = agent.trace
    kept, anew = trace.graph(), Replay()
    anew.read(trace.rows)
    assert list(map(repr, kept)) == list(map(repr, read_graph(anew, trace.began, trace.outcome, trace.feedback)))


def test_who_asks_again_pays_for_what_is_new():
    step, start = traced(lambda x: x + 1.0), Param(0.5, "start")

    def feedback(rounds: int) -> float:
        begin = process_time()
        for _ in range(rounds):
            value = start.value
            for _ in range(20):
                value = step(value)
            trace.backward(value, "one row of many")
        return process_time() - begin

    with record() as trace:
        feedback(10)
        first = min(feedback(50) for _ in range(3))
        feedback(1000)
        last = min(feedback(50) for _ in range(3))
    assert len(start.feedback) == 1310
    assert {said.target for said in start.feedback} == set(range(20, 1310 * 21, 21))
    assert last <= 4 * first + 0.02


def test_what_was_looked_at_is_not_taken_for_something_made_later():
    class Bag(dict):
        pass

    class Thing:
        pass

    prompt = Param("a text", "prompt")
    with record() as trace:
        bag = Bag(thing=Thing())
        seen = weakref.ref(bag["thing"])
        trace.backward(weigh(prompt.value, bag), "first")
        bag.clear()
        gc.collect()
        assert seen() is not None  # else its id may be that of what another call makes
        trace.backward(weigh(bag), "second")
    assert [said.text for said in prompt.feedback] == ["first"]


def test_threads_that_give_feedback_on_one_trace():
    prompts = [Param(index + 0.5, f"p{index}") for index in range(4)]
    made = []
    with record() as trace:
        for prompt in prompts:
            made.append(weigh(prompt.value))
    barrier = threading.Barrier(4)

    def judge(index: int) -> None:
        barrier.wait()
        for number in range(100):
            trace.backward(made[index], str(number))

    threads = [threading.Thread(target=judge, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for prompt in prompts:
        assert [said.text for said in prompt.feedback] == list(map(str, range(100)))


def test_a_copy_of_a_replay_begins_anew():
    replay = Replay()
    with record() as trace:
        weigh(1.5)
    replay.read(trace.rows)
    assert not copy.copy(replay).flow.rows
    replay.read([])
    assert not replay.flow.rows
