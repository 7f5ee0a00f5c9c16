"""Conformance groups 10, 11 and 15: learnt code and what is around it, projections, and what Trace lists as not covered."""

from __future__ import annotations

import math
import statistics  # noqa: F401 - learnt code knows it from here

import pytest

from agentopt.compat.trace import ExecutionError, bundle, model, node
from agentopt.core.running import CodeFailed

LIMIT = 10
API_KEY = "secret"


def helper(x):
    return min(x, LIMIT)


@bundle(trainable=True)
def helped(x):
    return x + 1


@bundle(trainable=True)
def get_env(params, args, env=None):
    """A new env inside of env."""
    return {"_outer": env, **dict(zip(params, args, strict=True))}


def test_functions_over_dicts() -> None:
    env = get_env(node(["a", "b"]), node([1, 2]))
    assert env.data == {"_outer": None, "a": 1, "b": 2}

    @bundle(trainable=True, _process_inputs=False)
    def find(env, var):
        return env[var] if var in env else find(env["_outer"], var)

    inner = get_env(node(["c"]), node([3]), env)
    assert find(inner, node("b")) == 2
    assert find(inner, node("c")) == 3
    found = find(inner, node("a"))
    found.backward("seen through the recursion")
    assert [p.label for p in sorted(found.parameter_dependencies | found.hidden_dependencies, key=lambda p: p.serial)] == ["__code"] * 2
    find(inner, "a").backward()
    get_env.parameter.zero_feedback()


def test_functions_that_give_functions() -> None:
    @bundle(trainable=True)
    def get_ops():
        return {"+": lambda x, y: x + y, "sqrt": math.sqrt}

    @bundle(trainable=True, _process_inputs=False, catch_execution_error=False)
    def apply(generator, key, args):
        return generator()[key](*args)

    made = apply(get_ops, "+", node([1, 2]))
    assert made == 3
    made.backward("x")
    assert len(get_ops.parameter.feedback) == 1


@pytest.mark.parametrize("trust", [False, True])
def test_learnt_code_with_imports_and_helpers_around_it(trust) -> None:
    @bundle(trainable=True, trust=trust)
    def fun(x):
        return x

    body = "def fun(x):\n    return inner(x) + math.floor(0.5)\n"
    more = "def inner(x):\n    return helper(x) * statistics.mean([1, 3])\n"
    for text in (f"import math\n{body}{more}", f"import math\n{more}{body}"):
        fun.parameter._data = text
        assert fun(50) == 20


@pytest.mark.parametrize("trust", [False, True])
def test_learnt_code_sees_what_its_names_mean_where_it_was_written(trust) -> None:
    offset = node(5)
    values = [1, 2]

    @bundle(trainable=True, trust=trust)
    def fun(x):
        return x + offset.data * 0 + len(values) * 0

    fun.parameter._data = "def fun(x):\n    return helper(x) + LIMIT + helped(x) + statistics.median([1]) + len(values)\n"
    made = fun(1)
    assert made == 1 + 10 + 2 + 1 + 2
    assert helped.parameter in made.hidden_dependencies
    fun.parameter._data = "def fun(x):\n    return nobody_knows\n"
    with pytest.raises(ExecutionError) as caught:
        fun(1)
    assert "nobody_knows" in caught.value.exception_node.create_feedback("full")
    assert isinstance(caught.value, NameError if trust else CodeFailed)


def test_learnt_code_gets_no_text_that_the_written_code_did_not_name() -> None:
    @bundle(trainable=True)
    def fun(x):
        return x

    fun.parameter._data = "def fun(x):\n    return API_KEY\n"
    with pytest.raises(ExecutionError, match="API_KEY"):
        fun(1)


@pytest.mark.parametrize("trust", [False, True])
def test_learnt_methods(trust) -> None:
    @model
    class Clock:
        def __init__(self) -> None:
            self.hour = 7

        @bundle(trainable=True, trust=trust)
        def tell(self, suffix):
            return f"{self.hour}{suffix}"

    clock = Clock()
    assert clock.tell("h") == "7h"
    clock.tell.parameter._data = "import time\n\ndef tell(self, suffix):\n    return 'time' + suffix * (time.time() > 0)\n"
    assert clock.tell("!") == "time!"
    clock.tell.parameter._data = "def tell(self, suffix):\n    return self.hour\n"
    if trust:
        assert clock.tell("h") == 7
    else:
        with pytest.raises(CodeFailed, match="hour"):
            clock.tell("h")
    other = Clock()
    assert other.tell("h") == "7h"


async def _later(fun, x):
    return await fun(x)


@pytest.mark.parametrize("trust", [False, True])
async def test_learnt_coroutines(trust) -> None:
    @bundle(trainable=True, trust=trust)
    async def fun(x):
        return x

    assert await _later(fun, 1) == 1
    fun.parameter._data = "async def fun(x):\n    return x * 3\n"
    assert await _later(fun, 2) == 6


def test_arguments_that_cannot_be_sent_are_named() -> None:
    @bundle(trainable=True)
    def fun(x):
        return 1

    assert fun(object()) == 1
    fun.parameter._data = "def fun(x):\n    return 2\n"
    with pytest.raises(TypeError) as caught:
        fun(object())
    assert isinstance(caught.value, ExecutionError)
    assert fun.parameter in caught.value.exception_node.parents


def test_projections_reach_the_parameter() -> None:
    def no_print(code):
        if "print" in code:
            raise ValueError("no printing")
        return code

    @bundle(trainable=True, projections=[str.strip, no_print])
    def fun(x):
        return x

    project = fun.parameter.param.projection
    assert project("  def fun(x):\n    return 1\n\n") == "def fun(x):\n    return 1"
    with pytest.raises(ValueError, match="no printing"):
        project("def fun(x):\n    print(x)\n")
    with pytest.raises(ValueError, match="signature"):
        project("def fun(x, y):\n    return 1\n")
    assert "def fun(x):" in fun.parameter.constraint


def test_nested_trainable_code_is_reached() -> None:
    @bundle(trainable=True)
    def inner(a):
        return a + 1

    @bundle(trainable=True, traceable_code=True)
    def outer(b):
        return inner(b) + 1

    y = outer(node(3))
    assert y == 5
    assert y.hidden_dependencies == {inner.parameter}
    y.backward("both")
    assert len(inner.parameter.feedback) == len(outer.parameter.feedback) == 1


class Env(dict):
    pass


@pytest.mark.parametrize("make", [dict, lambda: Env(c=0)])
@pytest.mark.parametrize("wrap", [lambda given: given, node])
def test_a_function_may_change_what_it_is_given(make, wrap) -> None:
    @bundle()
    def change(given):
        given["a"] = 1

    given = make()
    wrapped = wrap(given)
    change(wrapped)
    assert given["a"] == 1
    assert "a" in wrapped


def test_names_that_mean_nothing_yet_and_objects_that_cannot_be_sent() -> None:
    class Held:
        def __call__(self):
            return 1

    held, ready = Held(), lambda: later

    @bundle(trainable=True)
    def fun(x):
        return (held, ready, later, x)[-1]

    fun.parameter._data = "def fun(x):\n    return x if x else held\n"
    assert fun(3) == 3
    with pytest.raises(CodeFailed, match="held"):
        fun(0)
    fun.parameter._data = "def fun(x):\n    return later\n"
    with pytest.raises(CodeFailed, match="later"):
        fun(0)
    later = 5
    assert fun(0) == 5
    assert fun.parameter.param.entry == "fun"
    twin = fun.detach()
    assert twin.parameter.param.entry == "fun"
    assert twin(0) == 5
