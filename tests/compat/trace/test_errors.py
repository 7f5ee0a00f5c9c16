"""Conformance group 4: a failure is a node with its parents and the right line, and still the exception that the program knows."""

from __future__ import annotations

import asyncio

import pytest

from agentopt.compat.trace import ExceptionNode, ExecutionError, bundle, model, node, to_data
from agentopt.core.running import CodeFailed


def failing(call, *args):
    with pytest.raises(ExecutionError) as caught:
        call(*args)
    return caught.value


def test_an_error_of_an_operation() -> None:
    x, y = node(1, name="x"), node(0, name="y")
    error = failing(lambda: x / y)
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error.exception_node, ExceptionNode)
    assert error.exception_node.parents == [x, y]
    assert error.exception_node.data == "(ZeroDivisionError) division by zero"
    assert str(error) == "division by zero"
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.__cause__ is error.original


def fails():
    x = None
    x.append(1)


@pytest.mark.parametrize("function", [bundle()(fails), bundle("[other] name")(fails)])
def test_an_error_of_a_function_points_at_its_line(function) -> None:
    error = failing(function)
    assert isinstance(error, AttributeError)
    assert error.name == "append"
    comment = error.exception_node.info["error_comment"]
    assert "    x.append(1) <--- (AttributeError) 'NoneType' object has no attribute 'append'" in comment
    assert error.exception_node.create_feedback("full") == comment
    assert error.exception_node.name.startswith(("exception_fails", "exception_other"))


def test_an_error_further_inside_points_at_both_lines() -> None:
    @bundle()
    def top(x):
        x += 1
        fails()
        return x

    comment = failing(top, 1).exception_node.info["error_comment"]
    assert "fails() <--- the error came from here" in comment
    assert "x.append(1) <--- (AttributeError)" in comment


def test_an_error_inside_of_another_bundle_keeps_its_class_and_both_nodes() -> None:
    p = node(0, name="p", trainable=True)

    @bundle()
    def inner(x):
        return 1 / x

    @bundle()
    def outer(x):
        return inner(p) + x

    error = failing(outer, 1)
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error.original, ZeroDivisionError)
    assert not isinstance(error.original, ExecutionError)
    error.exception_node.backward("do not divide by zero")
    assert [said.text for said in p.param.feedback] == ["do not divide by zero"]


@pytest.mark.parametrize(
    "original",
    [
        ValueError("no"),
        ValueError(),
        KeyError("k"),
        OSError(2, "none", "file"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        StopIteration(3),
        RuntimeError("a", 2),
        type("Own", (Exception,), {"__init__": lambda self, *, code: setattr(self, "code", code)})(code=7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_programs_own_except_goes_on_to_work(original) -> None:
    @bundle()
    def fun(x):
        raise original

    with pytest.raises(type(original)) as caught:
        fun(1)
    error = caught.value
    assert isinstance(error, ExecutionError)
    assert error.args == original.args
    assert str(error) == str(original)
    for name in ("errno", "filename", "object", "reason", "value", "code"):
        assert getattr(error, name, None) == getattr(original, name, None)


def test_a_bundle_that_lets_exceptions_pass() -> None:
    @bundle(catch_execution_error=False, overwrite_python_recursion=True)
    def fun(x):
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is") as caught:
        fun(1)
    assert not isinstance(caught.value, ExecutionError)


def test_code_with_a_syntax_error() -> None:
    @bundle(trainable=True)
    def fun(x):
        return x + 10

    fun.parameter._data = "def fun(x):\n    x . 10\n    return x\n"
    error = failing(fun, 1)
    assert "SyntaxError" in error.exception_node.data or "syntax" in error.exception_node.data
    assert fun.parameter in error.exception_node.parents
    fun.parameter._data = "def other(x):\n    return x\n"
    assert "'fun'" in failing(fun, 1).exception_node.data


@pytest.mark.parametrize("trust", [False, True])
def test_learnt_code_that_fails_points_at_its_line(trust) -> None:
    @bundle(trainable=True, trust=trust)
    def fun(x):
        return x

    fun.parameter._data = "def fun(x):\n    y = x\n    return [y / k for k in (1, 0)]\n"
    error = failing(fun, 1)
    assert fun.parameter in error.exception_node.parents
    assert isinstance(error, ZeroDivisionError if trust else CodeFailed)
    assert "division by zero" in error.exception_node.create_feedback("full")
    lines = error.exception_node.create_feedback("full").splitlines()
    assert any("[y / k for k in (1, 0)]" in line and ("<---" in line or line.startswith(">")) for line in lines)
    if trust:
        fun.parameter._data = "def fun(x):\n    return (\n"
        assert "return ( <--- (SyntaxError)" in failing(fun, 1).exception_node.create_feedback("full")
        fun.parameter._data = "def gone(x):\n    return x\n"
        assert "'fun'" in failing(fun, 1).exception_node.data


def test_own_code_that_fails() -> None:
    @bundle(trainable=True)
    def fun(x):
        y = x + 10
        return y / 0

    error = failing(fun, node(1))
    assert fun.parameter in error.exception_node.parents
    assert "return y / 0 <--- (ZeroDivisionError)" in error.exception_node.info["error_comment"]


def test_names_in_comprehensions_and_captured_ones() -> None:
    @bundle(trainable=True)
    def unbound(x):
        if x is None:
            u = [1]
        return [u[i] for i in range(3)]

    assert isinstance(failing(unbound, 1), NameError)

    @bundle()
    def call(function, given):
        return function(given)

    error = failing(call, lambda x: x + 1, "1")
    assert isinstance(error, TypeError)
    assert "call" in error.exception_node.info["error_comment"]


def test_unpacking_nothing() -> None:
    made = bundle()(lambda x: None)(1)

    def unpack():
        a, b = made
        return a, b

    error = failing(unpack)
    assert isinstance(error, TypeError)
    assert error.exception_node.parents == [made]


def test_an_error_comment_does_not_stay() -> None:
    @bundle()
    def fun(x):
        return 1 / x

    failing(fun, 0)
    assert fun(1).info["error_comment"] is None
    assert fun.info["error_comment"] is None


def test_a_line_without_a_source_has_no_comment() -> None:
    names: dict = {}
    exec("def typed(x):\n    return 1 / x\n", names)
    error = failing(bundle()(names["typed"]), 0)
    assert error.exception_node.info["error_comment"] == "(ZeroDivisionError) division by zero"


def test_an_early_error_of_an_agent_reaches_the_code_that_raised() -> None:
    @model
    class Agent:
        @bundle(trainable=True)
        def first(self):
            return 1

        @bundle(trainable=True)
        def second(self, x):
            raise Exception(f"no {x}")

        def act(self):
            return self.second(self.first())

    agent = Agent()
    error = failing(agent.act)
    error.exception_node.backward(error.exception_node.create_feedback())
    assert all([said.text for said in parameter.param.feedback] == ["(Exception) no 1"] for parameter in agent.parameters())


def test_errors_in_coroutines_and_late_in_generators() -> None:
    @bundle()
    async def wait(x):
        await asyncio.sleep(0)
        raise LookupError(x)

    @bundle()
    def count(n):
        yield n
        raise ValueError("late")

    async def use():
        return await wait(1)

    with pytest.raises(LookupError) as caught:
        asyncio.run(use())
    assert isinstance(caught.value, ExecutionError)
    items = iter(count(1))
    assert next(items) == 1
    with pytest.raises(ValueError, match="late"):
        next(items)


def test_an_execution_error_can_be_copied_away_as_the_original() -> None:
    import pickle

    error = failing(lambda: node(1) / 0)
    assert type(pickle.loads(pickle.dumps(error))) is ZeroDivisionError
    assert to_data([error.exception_node]) == ["(ZeroDivisionError) division by zero"]
