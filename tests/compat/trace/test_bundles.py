"""Conformance group 3: bundled functions of all kinds, their decorators, and what a node knows of its call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math

import pytest

from agentopt.compat.trace import FunModule, Node, TraceMissingInputsError, bundle, model, node
from agentopt.core.errors import TaskError

anywhere = node("global")
everything = [1]


def test_a_call_is_a_node_with_the_arguments_as_parents() -> None:
    @bundle("[choose] Selects.")
    def choose(condition, x, y):
        return x if condition else y

    condition, x, y = node(True), node(1, name="x"), node(2, name="y")
    z = choose(condition, x, y=y)
    assert z == 1
    assert z.name == f"choose:{z.id}"
    assert z.description == "[choose] Selects."
    assert z.parents == [condition, x, y]
    assert [z.inputs[name] for name in ("condition", "x", "y")] == [condition, x, y]
    assert z in x.children
    assert choose.name == "choose"
    assert choose.fun is choose.__wrapped__


def test_arguments_of_every_sort() -> None:
    @bundle()
    def fun(a, args, kwargs=0, *more, only=4, **rest):
        return [a, args, kwargs, more, only, rest]

    b = node("b")
    z = fun(node(1), 2, "k", "m0", node("m1"), b=b, c="c")
    assert z.data == [1, 2, "k", ("m0", "m1"), 4, {"b": "b", "c": "c"}]
    assert z.inputs.keys() == ("a", "args", "kwargs", "more_0", "more_1", "only", "b", "c")
    assert z.inputs["b"] is b
    assert fun(1, 2).inputs.keys() == ("a", "args", "kwargs", "only")
    with pytest.raises(TypeError, match="missing"):
        fun(1)


def test_nodes_inside_of_arguments_come_in_plain_and_count_as_inputs() -> None:
    @bundle()
    def total(numbers, by):
        assert not any(isinstance(number, Node) for number in numbers)
        return sum(numbers) + by["k"]

    p = node(3, name="p", trainable=True)
    z = total([1, p], {"k": node(4)})
    assert z == 8
    assert z.parameter_dependencies == {p}


def test_what_gives_several_values_is_one_node_whose_items_are_nodes() -> None:
    @bundle()
    def both(a, b):
        return a + b, a - b

    z = both(node(1), node(2))
    total, difference = z
    assert (len(z), total, difference) == (2, 3, -1)
    assert z in total.parents


@pytest.mark.parametrize("decorate", [lambda f: bundle()(f), lambda f: functools.wraps(f)(bundle()(f))])
def test_lambdas_builtins_and_functions_without_a_source(decorate) -> None:
    names: dict = {}
    exec("def typed(x):\n    return x + 1", names)
    for function, given, expected in (
        (lambda x: x + 1, 1, 2),
        (len, "abc", 3),
        (names["typed"], 1, 2),
        (math.sqrt, 4, 2.0),
        (dict.get, {}, None),
    ):
        made = decorate(function)(*((given, "k") if function is dict.get else (given,)))
        assert made.data == expected
        assert isinstance(made.info["source"], str)
    assert bundle()(max)(1, node(3)).data == 3
    with pytest.raises(TypeError, match="function, not int"):
        bundle()(3)
    with pytest.raises(TypeError, match="trainabel"):
        bundle(trainabel=True)
    for function in (len, lambda x: x):
        with pytest.raises(TaskError, match="source"):
            bundle(trainable=True)(function)


class Plain:
    made = 0

    def __init__(self) -> None:
        self.x = 1

    @bundle("[Plain.add] Adds.")
    def add(self, x, y=2):
        return x + y + self.x

    @bundle()
    def change(self):
        self.x = 5

    @staticmethod
    @bundle()
    def still(x):
        return x * 2

    @bundle()
    @staticmethod
    def still_inside(x):
        return x * 2

    @classmethod
    @bundle()
    def of_class(cls, x):
        return cls.made + x

    @bundle()
    @classmethod
    def of_class_inside(cls, x):
        return cls.made + x


def test_methods_of_all_kinds() -> None:
    plain = Plain()
    z = plain.add(node(1))
    assert z == 4
    assert z.inputs["self"].data is plain
    assert z.name.startswith("Plain.add:")
    assert plain.add is plain.add
    plain.change()
    assert plain.x == 5
    for made in (plain.still(3), Plain.still(3), plain.still_inside(3), Plain.still_inside(3)):
        assert made == 6
    for made in (plain.of_class(3), Plain.of_class(3), Plain.of_class_inside(3), plain.of_class_inside(3)):
        assert made == 3
    assert Plain.add(plain, 1).data == 8
    assert isinstance(Plain.add, FunModule)

    class Slotted:
        __slots__ = ()

        @bundle()
        def get(self):
            return 7

    assert Slotted().get() == 7


def test_objects_do_not_share_the_code_of_their_methods() -> None:
    @model
    class Learner:
        @bundle(trainable=True)
        def step(self, x):
            return x + 1

    one, other = Learner(), Learner()
    (first,), (second,) = one.parameters(), other.parameters()
    assert first is one.step.parameter
    assert first is not second
    y = one.step(1)
    assert len(y.parents) == 3
    y.backward("good")
    assert (len(first.feedback), len(second.feedback), len(Learner.step.parameter.feedback)) == (1, 0, 0)


def plain_decorator(fun):
    return fun


@plain_decorator
@bundle(
    "[odd] (An) odd @bundle( description).",
    catch_execution_error=True,
)
@plain_decorator
def odd():  # with a word on @bundle() here
    """Some def"""  # bundle
    return "odd"


def test_the_source_begins_below_the_decorator() -> None:
    source = '@plain_decorator\ndef odd():  # with a word on @bundle() here\n    """Some def"""  # bundle\n    return "odd"'
    assert odd.info["source"] == odd().info["source"] == source
    assert odd.info["line_number"] == inspect.getsourcelines(odd.fun)[1] + 5
    inline = bundle()(plain_decorator)
    assert inline.info["source"] == "def plain_decorator(fun):\n    return fun"


def test_what_a_call_knew_stays_as_it_was() -> None:
    @bundle()
    def fun(x, y=1):
        """Doc."""
        if x == 0:
            raise ValueError("zero")
        return x + y

    with pytest.raises(ValueError, match="zero"):
        fun(0)
    first = fun(1)
    second = fun(2, y=5)
    assert first.info["inputs"] == {"args": (1,), "kwargs": {}}
    assert second.info["inputs"] == {"args": (2,), "kwargs": {"y": 5}}
    assert (first.info["output"], second.info["output"]) == (2, 7)
    assert first.info["error_comment"] is second.info["error_comment"] is None
    assert (first.info["doc"], str(first.info["signature"])) == ("Doc.", "(x, y=1)")


def test_reading_a_node_that_is_no_argument() -> None:
    hidden = node(3, name="hidden", trainable=True)

    @bundle()
    def closed(a):
        return a + hidden.data

    @bundle(allow_external_dependencies=True)
    def open_(a):
        return a + hidden.data + len(anywhere.data)

    @bundle()
    def writes(a):
        return f"{a} {anywhere} {hidden}"

    with pytest.raises(TraceMissingInputsError, match="hidden"):
        closed(1)
    z = open_(node(1))
    assert z == 10
    assert z.parents == [z.inputs["a"]]
    assert z.info["external_dependencies"] == [hidden, anywhere]
    z.backward("reaches it all the same")
    assert len(hidden.feedback) == 1
    assert writes(1) == "1 global 3"
    assert writes(1).hidden_dependencies == {hidden}

    @bundle()
    def own(a):
        inner = node(4)
        return inner.data + a

    assert own(1) == 5


def test_a_function_that_takes_nodes() -> None:
    @bundle(traceable_code=True)
    def outer(a, b):
        return a + b + 10

    x, y = node(1), node(2)
    z = outer(x, y)
    assert z == 13
    assert z.parents == [x, y]
    inner = z.info["output"]
    assert inner.name.startswith("add")
    assert x not in inner.parents
    assert inner.data == 13

    @bundle(_process_inputs=False)
    def given(a):
        assert a is x
        return a * 2

    assert given(x) == 2


def test_recursion() -> None:
    @bundle(overwrite_python_recursion=True)
    def plain_sum(n):
        rest = 0 if n == 0 else plain_sum(n - 1)
        assert not isinstance(rest, Node)
        return n + rest

    @bundle()
    def linked_sum(n):
        return 0 if n == 0 else n + linked_sum(n - 1)

    assert plain_sum(10) == 55
    assert len(plain_sum(10).parents) == 1
    assert linked_sum(10) == 55
    with pytest.raises(RecursionError):
        plain_sum(-1)
    assert plain_sum(1) == 1


def test_functions_that_call_and_change() -> None:
    @bundle()
    def inner(a):
        return a + 1

    @bundle()
    def outer(b):
        everything.append(b)
        return inner(b) + 1

    before, changed = len(everything), 0

    @bundle()
    def change():
        nonlocal changed
        changed += 1

    y = outer(3)
    change()
    assert (y.data, len(y.parents), len(everything), changed) == (5, 1, before + 1, 1)

    @bundle()
    def use(function, x):
        return function(x)

    assert use(inner, 3) == 4
    assert use(inner, 3).inputs["function"].data is inner


def test_generators_give_their_items_one_after_another() -> None:
    drawn = []

    @bundle()
    def count(n):
        for k in range(n):
            drawn.append(k)
            yield k

    made = count(node(3))
    items = iter(made)
    first = next(items)
    assert drawn == [0]
    assert made in first.parents
    assert [item.data for item in items] == [1, 2]

    @bundle()
    async def slowly(n):
        await asyncio.sleep(0)
        return n + 1

    @bundle()
    async def stream(n):
        for k in range(n):
            yield k

    async def use():
        made = await slowly(node(1))
        return made, [item async for item in stream(2)]

    made, items = asyncio.run(use())
    assert made == 2
    assert len(made.parents) == 1
    assert [item.data for item in items] == [0, 1]


def test_mutable_outputs_of_generators_and_detached_modules() -> None:
    @bundle(trainable=True)
    def step(x):
        return x

    twin = step.detach()
    assert twin.parameter is not step.parameter
    assert twin.parameter.data == step.parameter.data
    assert step.trainable
    assert step.name == "eval"
