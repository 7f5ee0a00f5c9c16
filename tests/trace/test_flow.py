"""Who made what a call was given: no edge that is not true, and what is only a guess is marked."""

from __future__ import annotations

import sys
from random import Random

import pytest

from agentopt.trace import flow
from agentopt.trace.params import Param
from agentopt.trace.recorder import record
from agentopt.trace.texts import Texts
from agentopt.trace.traced import traced
from agentopt.trace.values import Linked


@traced
def make(text):
    return f"made of {text}"


@traced
def use(*args, **kwargs):
    return object()


@traced
def same(x):
    return x


def inputs(graph, number):
    return [(graph.name(edge.source), edge.role, edge.how) for edge in graph[number].inputs]


def test_a_parent_that_returns_its_childs_object_stands_for_it():
    @traced
    def parent(text):
        made = make(text)
        use(made)
        return made

    with record() as trace:
        use(parent("it"))
    graph = trace.graph()
    assert inputs(graph, 2) == [("make", "arg0", "arg")]
    assert inputs(graph, 3) == [("parent", "arg0", "arg")]


def test_who_passes_on_made_nothing():
    with record() as trace:
        made = make("it")
        same(made)
        use(made)
    assert inputs(trace.graph(), 2) == [("same", "arg0", "inferred"), ("make", "arg0", "arg")]


def test_who_passes_on_what_came_from_outside_may_have_given_it():
    text = "".join(["from", " ", "outside"])
    with record() as trace:
        same(text)
        use(text)
    assert inputs(trace.graph(), 1) == [("same", "arg0", "inferred")]


def test_who_changes_what_it_passes_on_made_it():
    @traced
    def extend(items, item):
        items.append(item)
        return items

    with record() as trace:
        items = extend([], "one")
        use(extend(items, "two"))
    graph = trace.graph()
    assert inputs(graph, 2) == [("extend", "arg0", "arg")]
    assert graph[2].inputs[0].source == 1
    assert [node.value for node in graph][:2] == [["one"], ["one", "two"]]


def test_what_two_calls_give_came_from_either():
    constant = "a constant of the code"

    @traced
    def classify(text):
        return constant

    with record() as trace:
        first = classify("a")
        classify("b")
        use(first)
    assert inputs(trace.graph(), 2) == [("classify", "arg0", "inferred")] * 2


@pytest.mark.parametrize("value", [True, None, 3, -1, "", "x", "yes", (), b"", b"a", len, str, int])
def test_values_that_are_the_same_everywhere_say_nothing(value):
    if type(value) is str:
        value = sys.intern(value)

    @traced
    def give():
        return value

    with record() as trace:
        give()
        use(value)
    assert inputs(trace.graph(), 1) == []


def test_equal_is_not_the_same():
    with record() as trace:
        make("it")
        use("made of " + "it")
        use(0.5 * 3)
    graph = trace.graph()
    assert inputs(graph, 1) == []
    assert inputs(graph, 2) == []


def test_a_word_that_nobody_interned_is_known_by_its_object():
    with record() as trace:
        word = traced(lambda: "".join(["an", "swer", "42x"]))()
        use(word)
    assert inputs(trace.graph(), 1) == [("<lambda>", "arg0", "arg")]


def test_whether_a_text_is_interned_is_asked_where_the_interpreter_tells(monkeypatch):
    monkeypatch.setattr(sys, "_is_interned", lambda text: text == "known", raising=False)
    assert flow.says_nothing("known")
    assert not flow.says_nothing("other")


def test_a_result_is_known_only_after_its_call_ended():
    seen = []

    @traced
    def early(given):
        seen.append(given)
        use(given)
        return given

    with record() as trace:
        early(object())
    assert inputs(trace.graph(), 1) == []


def test_what_containers_hold_is_known():
    @traced
    def plan(text):
        return {"steps": [f"first {text}", f"then {text}"], "cost": 0.5 * len(text)}

    with record() as trace:
        planned = plan("the matter")
        use(planned["steps"][1])
        use(cost=planned["cost"])
        use([{"role": "user", "content": make("x")}], planned["steps"])
        a, b = traced(lambda: (object(), object()))()
        use(b, a)
    graph = trace.graph()
    assert inputs(graph, 1) == [("plan", "arg0", "arg")]
    assert inputs(graph, 2) == [("plan", "cost", "arg")]
    assert inputs(graph, 4) == [("make", "arg0", "arg"), ("plan", "arg1", "arg")]
    assert inputs(graph, 6) == [("<lambda>", "arg0", "arg"), ("<lambda>", "arg1", "arg")]


def test_one_argument_given_twice_is_two_edges():
    with record() as trace:
        made = make("it")
        use(made, made, again=made)
    assert inputs(trace.graph(), 1) == [("make", "arg0", "arg"), ("make", "arg1", "arg"), ("make", "again", "arg")]


def test_equal_siblings_stay_apart():
    with record() as trace:
        first, second = make("it"), make("it")
        use(first)
        use(second)
    graph = trace.graph()
    assert first == second
    assert graph[2].inputs[0].source == 0
    assert graph[3].inputs[0].source == 1


def test_a_generators_own_item_inside_of_it_is_no_edge():
    @traced
    def items():
        item = object()
        yield item
        use(item)

    with record() as trace:
        for item in items():
            use(item)
    graph = trace.graph()
    assert inputs(graph, 1) == [("items", "arg0", "arg")]
    assert inputs(graph, 2) == []


def test_a_parameter_read_twice_came_from_the_last_read():
    prompt, other = Param("a text that is long", "prompt"), Param("another text that is long", "other")
    with record() as trace:
        use(prompt.value)
        use(prompt.value)
        use(other.value)
    graph = trace.graph()
    assert [graph[place].inputs[0].source for place in (1, 3, 5)] == [0, 2, 4]


def test_text_found_in_a_longer_one_is_a_guess():
    prompt = Param("Answer the question in few words: {q}. Be polite to everybody.", "prompt")
    with record() as trace:
        answer = make("something that is long enough")
        use("Summary: " + answer + ".")
        use(messages=[{"content": prompt.value.replace("{q}", "why")}])
        use("nothing of all that")
    graph = trace.graph()
    assert inputs(graph, 1) == [("make", "arg0", "inferred")]
    assert inputs(graph, 3) == [("prompt", "messages", "inferred")]
    assert inputs(graph, 4) == []


def test_a_text_that_is_given_again_is_not_searched_again(monkeypatch):
    searched = []
    find = Texts.find
    monkeypatch.setattr(Texts, "find", lambda self, text: searched.append(text) or find(self, text))
    with record() as trace:
        text = "Summary: " + make("something that is long enough") + "."
        use(text)
        use([{"content": text}], [text])
    graph = trace.graph()
    assert [edge[0] for edge in inputs(graph, 2)] == ["make", "make"]
    assert searched.count(text) == 1


def test_texts_are_found_among_many():
    texts = Texts()
    for place in range(200):
        texts.add(place, f"{place:03d} is the number of this text")
    texts.add(200, "short")
    whole = "before " + "".join(f"{place:03d} is the number of this text; " for place in (7, 150)) + "after"
    assert texts.find(whole) == [7, 150]
    assert texts.find("short") == []
    for _ in range(20):
        texts.add(7, "007 is the number of this text")
    assert texts.find(whole) == [7, 150]


def test_who_knows_more_says_so():
    with record() as trace:
        number = trace.add("llm", "model", {}, "yes")
        trace.add("tool", "search", {"query": Linked(number, "yes"), "other": Linked(10_000, "no")})
    graph = trace.graph()
    assert inputs(graph, 1) == [("model", "query", "arg")]
    assert graph[1].literals == (("other", "no"),)


class Program:
    """A random program that knows itself which calls gave each object: its maker, and those around that one which handed it out."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.givers = {}
        self.known = []
        self.given = {}

    def value(self):
        kind = self.random.randrange(8)
        if kind < 4:
            return [object(), 1.5 * self.random.random(), f"text {self.random.random()}", [self.random.random()]][kind]
        return [True, None, "no", 7][kind - 4]

    def call(self, depth):
        arguments = tuple(self.random.choice(self.known) for _ in range(self.random.randrange(3))) if self.known else ()
        me = len(self.given)
        self.given[me] = arguments
        made = self.step(me, arguments, depth)
        self.known.append(made)
        return made

    def body(self, me, arguments, depth):
        inner = [self.call(depth - 1) for _ in range(self.random.randrange(3) if depth else 0)]
        way = self.random.randrange(4)
        if way == 0 and arguments:
            return self.random.choice(arguments)
        made = self.random.choice(inner) if way == 1 and inner else self.value()
        self.givers.setdefault(id(made), (made, set()))[1].add(me)
        return made

    def step(self, me, arguments, depth):
        return traced(self.body)(me, arguments, depth)


@pytest.mark.parametrize("seed", range(3))
def test_no_false_edge_among_thousands_of_random_calls(seed):
    program = Program(seed)
    with record() as trace:
        for _ in range(700):
            program.call(2)
    graph = trace.graph()
    me_of = {node.id: dict(node.literals)["me"] for node in graph}
    false = true = missed = 0
    for node in graph:
        arguments = program.given[me_of[node.id]]
        exact = {me_of[edge.source] for edge in node.inputs if edge.how == "arg"}
        could = [program.givers.get(id(item), (item, set()))[1] for item in arguments]
        true += len(exact & set().union(*could))
        false += len(exact - set().union(*could))
        missed += sum(not exact & makers for item, makers in zip(arguments, could, strict=True) if not flow.says_nothing(item))
    assert false == 0
    assert true > 500
    assert missed <= 0.1 * true
