"""What a trace keeps of values that change later."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict, deque

import pytest

from agentopt.trace.recorder import record
from agentopt.trace.traced import traced
from agentopt.trace.values import ITEMS, More, Outline, Snapshot, changed, keeper, same

kept = keeper("ref")


@traced
def take(value):
    return value


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: [1, [2]], lambda value: value[1].append(3)),
        (lambda: {"a": {"b": 1}}, lambda value: value["a"].clear()),
        (lambda: {1, 2}, lambda value: value.add(3)),
        (lambda: bytearray(b"abc"), lambda value: value.reverse()),
        (lambda: deque([1, 2]), lambda value: value.pop()),
        (lambda: OrderedDict(a=1), lambda value: value.update(b=2)),
        (lambda: defaultdict(list, a=[1]), lambda value: value["b"]),
        (lambda: Counter("aab"), lambda value: value.update("c")),
        (lambda: ([1], "x"), lambda value: value[0].append(2)),
    ],
)
def test_a_later_change_rewrites_nothing_and_is_said(make, change):
    value = make()
    with record() as trace:
        take(value)
        before = trace.graph()
        change(value)
    graph = trace.graph()
    assert before[0].value == graph[0].value == make()
    assert "mutated" not in before[0].meta
    assert graph[0].meta["mutated"] == ["value", "return"]
    assert dict(graph[0].literals)["value"] == make()


def test_a_call_that_changes_its_argument_is_seen_with_what_it_was_given():
    @traced
    def drain(items):
        while items:
            items.pop()

    with record() as trace:
        drain([1, 2])
    node = trace.graph()[0]
    assert dict(node.literals)["items"] == [1, 2]
    assert node.meta["mutated"] == ["items"]


def test_what_nobody_changed_is_not_said_to_be():
    numpy = pytest.importorskip("numpy")
    values = [[1, float("nan"), object(), [{}]], {"a": numpy.zeros(3)}, {1}, (1, 2), numpy.zeros((2, 3)), "text", None, deque([1])]
    with record() as trace:
        for value in values:
            take(value)
    assert all("mutated" not in node.meta for node in trace.graph())


def test_arrays():
    numpy = pytest.importorskip("numpy")
    small, large, objects = numpy.arange(3.0), numpy.zeros(100_000), numpy.array([None, {}], dtype=object)
    with record() as trace:
        take(small), take(large), take(objects), take(numpy.float64(1.5))
    small[0] = large[0] = 7.0
    graph = trace.graph()
    assert graph[0].value.tolist() == [0.0, 1.0, 2.0]
    assert isinstance(graph[1].value, Outline)
    assert repr(graph[1].value).startswith("<ndarray float64 (100000,): [0.0, 0.0")
    assert graph[3].value == 1.5
    assert [bool(node.meta) for node in graph] == [True, True, False, False]


def test_large_containers_are_cut():
    count = ITEMS + 500
    for value in (list(range(count)), dict.fromkeys(range(count)), set(range(count)), deque(range(count)), tuple(map(str, range(count)))):
        copy = getattr(kept(value), "copy", None)
        assert len(copy) == ITEMS + 1
        assert More(500) in copy
    nested = kept([[0] * 100 for _ in range(100)]).copy
    assert sum(len(row) for row in nested if isinstance(row, list)) <= ITEMS + 1
    assert kept(bytearray(100_000)).copy == Outline("bytearray", "<bytearray of 100000 bytes>")
    assert repr(More(3)) == "<3 more>"
    assert len({More(3), More(3), Outline("a", "b"), Outline("a", "b")}) == 2


def test_containers_that_hold_themselves():
    inner: list[object] = []
    inner.append(inner)
    assert not changed(kept(inner))


def test_a_container_that_another_thread_changes_meanwhile():
    shared = {i: [i] for i in range(100)}
    stop = threading.Event()

    def churn():
        i = 0
        while not stop.is_set():
            i += 1
            shared[i % 300] = [i]
            shared.pop((i + 150) % 300, None)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(500):
            assert type(kept(shared)) is Snapshot
    finally:
        stop.set()
        thread.join()


class Thing:
    def __init__(self):
        self.size = 1

    def __repr__(self):
        return f"Thing({self.size})"


class Mute:
    def __repr__(self):
        raise RuntimeError


def test_policies():
    thing = Thing()
    with record(values="repr") as by_text:
        take(thing), take([thing] * 400), take(3), take(Mute()), take("short")
    with record(values="deepcopy") as by_copy:
        take(thing), take(threading.Lock()), take(3)
    with record() as by_reference:
        take(thing)
        traced(take.__wrapped__, values="repr")(thing)
    thing.size = 2
    graph = by_text.graph()
    assert graph[0].value == Outline("Thing", "Thing(1)")
    assert graph[0].meta == {"mutated": ["value", "return"]}
    assert graph[1].value.text.endswith(" characters)")
    assert graph[2].value == 3
    assert graph[3].value.text == "<Mute whose repr raised RuntimeError>"
    assert graph[4].value.text == "'short'"
    graph = by_copy.graph()
    assert graph[0].value.size == 1
    assert type(graph[1].value) is Outline
    assert graph[0].meta == {}
    graph = by_reference.graph()
    assert graph[0].value is thing
    assert repr(graph[1].value) == "Thing(1)"


def test_objects_of_unknown_classes_are_the_same_only_if_they_are_one():
    class Odd:
        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    odd = Odd()
    assert same([odd], [odd])
    assert not same([odd], [Odd()])
    assert not same([1], [1.0])
    assert not same({"a": 1}, {"b": 1})
    assert same(frozenset({1}), frozenset({1}))
