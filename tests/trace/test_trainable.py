"""Functions whose code is a parameter: what is sent, what is refused, what is recorded. Nothing is boxed here."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import math as m
import pickle
import sys
from collections import Counter

import pytest

from agentopt.core.errors import ConfigError, TaskError
from agentopt.core.running import RUNNER, CodeCall, CodeFailed, Import, Source, execute
from agentopt.trace.node import node
from agentopt.trace.params import Param, applied
from agentopt.trace.recorder import record
from agentopt.trace.trainable import Trainable, annotated, trainable

LIMIT = 3
GROWING = [1]
SET = {1}


class Plain:
    """Calls code as a box does, without one, and notes down what it was asked."""

    sandbox = "none"

    def __init__(self):
        self.calls: list[CodeCall] = []

    def call(self, call):
        self.calls.append(call)
        names = {}
        try:
            execute(call.source, "trainable.py", call.uses, names)
            return names[call.entry](*call.args, **call.kwargs)
        except ZeroDivisionError as error:
            raise CodeFailed("crash", f'  File "trainable.py", line {error.__traceback__.tb_next.tb_lineno}, in f\n{error}') from None

    async def acall(self, call):
        return await self.call(call)


@pytest.fixture
def runner():
    plain = Plain()
    token = RUNNER.set(plain)
    yield plain
    RUNNER.reset(token)


def helper(x):
    return x * LIMIT


@trainable
def plain(x: int, *, y=1):
    """Add two numbers.

    More is not told.
    """
    return x + y


@trainable(name="rule", uses=["LIMIT", "helper", "m", "Counter", "later"], description="How to count.", constraint="It is fast.")
def rich(x, k=LIMIT):
    # as the user wrote it
    return helper(x) + k + later + m.floor(Counter("aa")["a"])


later = 100


def test_the_parameter_is_the_source_without_its_decorator():
    parameter = plain.param.parameter()
    assert parameter.initial.startswith("def plain(x: int, *, y=1):\n")
    assert parameter.initial.endswith("return x + y\n")
    assert (parameter.name, parameter.kind, parameter.entry, parameter.description) == ("plain", "code", "plain", "Add two numbers.")
    assert plain.param.constraint == "The signature stays."
    assert (rich.param.name, rich.param.parameter().entry, rich.param.description) == ("rule", "rich", "How to count.")
    assert rich.param.constraint.endswith("It is fast.")
    assert "# as the user wrote it" in rich.param.parameter().initial


def test_what_holds_for_its_values_goes_along():
    parameter = rich.param.parameter()
    assert (rich.param.trust, trainable(trust=True, uses="LIMIT")(helper).param.trust) == (False, True)
    assert (parameter.constraint, parameter.project) == (rich.param.constraint, rich.param.projection)


def test_copies_are_itself():
    assert copy.deepcopy([plain])[0] is plain
    assert copy.copy(plain) is plain
    assert pickle.loads(pickle.dumps(plain)) is plain


def test_it_looks_like_the_function():
    assert (plain.__name__, list(inspect.signature(plain).parameters)) == ("plain", ["x", "y"])
    assert isinstance(plain, Trainable)


def test_without_a_runner_the_users_own_code_is_called_as_it_is():
    assert plain(1, y=2) == 3
    assert rich(2) == 6 + 3 + 100 + 2


def test_learnt_code_without_any_runner_is_refused():
    with applied({"plain": "def plain(x, *, y=1):\n    return 0\n"}), pytest.raises(ConfigError, match="no sandbox to call it in"):
        plain(1)


def test_learnt_code_without_a_runner_goes_to_the_one_that_was_given():
    given = Plain()

    @trainable(runner=lambda: given)
    def f(x):
        return x

    assert (f(1), given.calls) == (1, [])
    f.param.set("def f(x):\n    return x + 1\n")
    assert (f(1), len(given.calls)) == (2, 1)


def test_own_exceptions_are_unchanged():
    @trainable
    def fails(x):
        raise KeyError(x)

    with pytest.raises(KeyError):
        fails("a")


def test_a_runner_gets_the_source_and_what_it_uses(runner):
    assert rich(2) == 6 + 3 + 100 + 2
    (call,) = runner.calls
    assert (call.source, call.entry, call.args) == (rich.param.value, "rich", (2,))
    assert call.uses == {
        "LIMIT": 3,
        "helper": Source("def helper(x):\n    return x * LIMIT\n", "helper"),
        "m": Import("math"),
        "Counter": Import("collections", "Counter"),
        "later": 100,
    }
    assert rich.imports == ("math", "collections")


def test_a_candidate_is_called_in_place_of_it(runner):
    with applied({"plain": "def plain(x, *, y=1):\n    return x * 10\n"}):
        assert plain(4) == 40
    assert plain(4) == 5


async def test_an_asynchronous_function_is_awaited(runner):
    @trainable
    async def later_on(x):
        return x + 1

    assert await later_on(1) == 2
    with applied({"later_on": "async def later_on(x):\n    return x - 1\n"}):
        assert await later_on(1) == 0
    assert len(runner.calls) == 2
    token = RUNNER.set(None)
    assert await later_on(1) == 2
    RUNNER.reset(token)
    assert len(runner.calls) == 2


def test_a_failure_shows_the_lines(runner):
    with applied({"plain": "def plain(x, *, y=1):\n    z = 0\n    return x / z\n"}), pytest.raises(CodeFailed) as caught:
        plain(4)
    assert caught.value.kind == "crash"
    assert ">   3 |     return x / z" in caught.value.message


def test_lines_that_are_not_there_are_not_shown():
    for message in ("no line", 'File "trainable.py", line 99', 'File "trainable.py", line 0', 'File "other.py", line 1'):
        assert annotated("a\nb\n", message) == message
    assert annotated("a\nb\n", "trainable.py, line 2: odd").endswith("    1 | a\n>   2 | b")


def test_a_wrong_call_is_the_callers_fault(runner):
    with pytest.raises(TypeError, match="missing a required argument"):
        plain()
    assert runner.calls == []


def test_each_call_is_recorded_with_the_code_that_it_read(runner):
    with record() as trace, applied({"plain": "def plain(x, *, y=1):\n    return 1 / x\n"}):
        plain(1)
        with pytest.raises(CodeFailed):
            plain(0)
    graph = trace.graph()
    assert [(node.kind, node.name, node.span) for node in graph] == [
        ("call", "plain", -1),
        ("param", "plain", 0),
        ("exception", "plain", -1),
        ("param", "plain", 2),
    ]
    assert graph.value(1) == "def plain(x, *, y=1):\n    return 1 / x\n"
    assert isinstance(graph.value(2), CodeFailed)


def test_nodes_and_parameters_are_sent_as_their_values(runner):
    word = Param(4, "word")
    with applied({"plain": "def plain(x, *, y=1):\n    return [type(x[0]).__name__, y]\n", "word": 5}):
        assert plain([node("a")], y=word) == ["str", 5]


def test_a_trainable_may_use_another(runner):
    @trainable
    def inner(x):
        return x + 1

    @trainable(uses=["inner"])
    def outer(x):
        return inner(x) * 2

    assert outer(1) == 4
    with applied({"inner": "def inner(x):\n    return 5\n"}), record() as trace:
        assert outer(1) == 10
    assert sorted(node.name for node in trace.graph() if node.kind == "param") == ["inner", "outer"]


def test_what_changes_is_sent_as_it_is_now(runner, monkeypatch):
    @trainable(uses="GROWING")
    def last():
        return GROWING[-1]

    assert last() == 1
    monkeypatch.setitem(globals(), "GROWING", [2])
    assert last() == 2


def test_a_closure_is_sent_if_it_is_named(runner):
    def make(step):
        @trainable(uses=["step"])
        def add(x):
            return x + step

        return add

    assert (make(1)(1), make(5)(1)) == (2, 6)


def _undeclared():
    @trainable(uses=["LIMIT"])
    def f(x: Unknown, y=LIMIT) -> Nothing:  # noqa: F821
        z: Odd = math.floor(x)  # noqa: F821
        return [helper(i) for i in range(z)], f, __name__, y


def _helper_undeclared():
    @trainable(uses=["helper"])
    def f(x):
        return helper(x)


def _unsendable_use():
    @trainable(uses=["SET"])
    def f(x):
        return x in SET


def _own_module():
    import tests.boxes as boxes

    @trainable(uses=["boxes"])
    def f(x):
        return boxes.DOUBLE


def _generator():
    @trainable
    def f(x):
        yield x


def _method():
    class Agent:
        @trainable
        def f(self, x):
            return x


def _lambda():
    trainable(lambda x: x)


def _builtin():
    trainable(len)


def _without_source():
    names: dict = {}
    exec("def f(x):\n    return x\n", names)
    trainable(names["f"])


def _wrapped():
    @trainable
    @functools.wraps(helper)
    def f(x):
        return x


def _made_by_a_decorator():
    def decorate(function):
        def call(x):
            return function(x)

        return call

    named = decorate(helper)
    named.__name__ = "f"
    trainable(named)


def _bad_name():
    @trainable(name="not a name")
    def f(x):
        return x


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (_undeclared, r"it takes helper, math from its surroundings; give uses=\[\"LIMIT\", \"helper\", \"math\"\]"),
        (_helper_undeclared, "helper takes LIMIT from its surroundings"),
        (_unsendable_use, "SET: a set cannot cross"),
        (_own_module, "boxes is the module tests.boxes, which is not installed"),
        (_generator, "is a generator, which cannot leave a sandbox"),
        (_method, "is a method, and its object cannot enter a sandbox"),
        (_lambda, "<lambda> has no source of its own"),
        (_builtin, "len has no source of its own"),
        (_without_source, "the source of f cannot be found"),
        (_wrapped, "is wrapped by a decorator"),
        (_made_by_a_decorator, "f was made by a decorator"),
        (_bad_name, "is not a Python identifier"),
    ],
)
def test_what_cannot_be_trained_is_refused_when_it_is_decorated(define, words):
    with pytest.raises(TaskError, match=words):
        define()


def test_a_name_that_never_appears_is_named_at_the_call(runner):
    @trainable(uses=["never_defined"])
    def f(x):
        return never_defined  # noqa: F821

    assert f.imports == ()
    with pytest.raises(TaskError, match="uses names 'never_defined', which is not defined"):
        f(1)


def test_a_function_that_becomes_a_method_is_refused_when_it_is_taken():
    class Agent:
        step = plain

    assert Agent.step is plain
    with pytest.raises(TypeError, match="is a method"):
        _ = Agent().step


def test_a_text_over_several_lines_does_not_hide_the_function(runner):
    @trainable
    def f():
        return """a
b"""

    assert f() == "a\nb"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def plain(x, *, y", "cannot be parsed"),
        ("def other(x): pass", "defines no function plain"),
        ("async def plain(x, *, y=1): pass", "has to be no async function"),
        ("def plain(x, y=1): pass", r"has to stay plain\(x: int, \*, y=1\), not plain\(x, y=1\)"),
        ("def plain(x, *, y): pass", "has to stay"),
        ("def plain(x, *, y=1, **more): pass", "has to stay"),
    ],
)
def test_a_proposal_with_another_signature_is_refused(code, words):
    with pytest.raises(ValueError, match=words):
        plain.param.projection(code)


def test_a_proposal_may_have_helpers_and_other_defaults():
    code = "import math\n\ndef half(x):\n    return x / 2\n\ndef plain(x, *, y=7):\n    return half(x)\n"
    assert plain.param.projection(code) == code


class TestTrusted:
    def test_a_method_may_be_trained(self):
        class Agent:
            def __init__(self, step):
                self.step = step

            @trainable(trust=True, uses=["SET"])
            def move(self, x):
                return x + self.step if SET else x

        agents = Agent(1), Agent(10)
        assert [agent.move(1) for agent in agents] == [2, 11]
        with applied({"move": "def move(self, x):\n    return x - self.step\n"}):
            assert [agent.move(1) for agent in agents] == [0, -9]

    def test_it_is_loaded_once_and_again_when_a_use_changes(self, monkeypatch):
        @trainable(trust=True, uses=["GROWING"])
        def f(x):
            return GROWING

        with applied({"f": "count = []\ndef f(x, least=GROWING):\n    count.append(x)\n    return [*least, len(count)]\n"}):
            assert [f(0), f(0)] == [[1, 1], [1, 2]]
            monkeypatch.setitem(globals(), "GROWING", [7])
            assert f(0) == [7, 1]

    def test_only_so_many_texts_are_kept(self):
        @trainable(trust=True)
        def f():
            return 0

        for number in range(40):
            with applied({"f": f"def f():\n    return {number}\n"}):
                assert f() == number
        assert len(f._loaded) <= 16

    @pytest.mark.parametrize(
        ("code", "kind", "words"),
        [
            ("def f(x):\n    return 1 / 0\n", "crash", ">   2 |     return 1 / 0"),
            ("def f(x):\n    raise SystemExit(3)\n", "crash", "SystemExit: 3"),
            ("def f(x:\n", "syntax", "trainable.py, line 1"),
            ("1 / 0\ndef f(x): pass\n", "build", ">   1 | 1 / 0"),
            ("def g(x): pass\n", "build", "trainable.py defines no 'f'"),
        ],
    )
    def test_it_fails_as_in_a_box(self, code, kind, words):
        @trainable(trust=True)
        def f(x):
            return x

        with applied({"f": code}), pytest.raises(CodeFailed) as caught:
            f(1)
        assert caught.value.kind == kind
        assert words in caught.value.message

    def test_a_failure_from_further_inside_stays_as_it_is(self, runner):
        @trainable(trust=True, uses=["plain"])
        def f(x):
            return plain(x)

        values = {"plain": "def plain(x, *, y=1):\n    return 1 / 0\n", "f": "def f(x):\n\n\n    return plain(x)\n"}
        with applied(values), pytest.raises(CodeFailed) as caught:
            f(1)
        assert ">   2 |     return 1 / 0" in caught.value.message
        assert "4 |" not in caught.value.message

    def test_ctrl_c_is_the_users(self):
        @trainable(trust=True)
        def f():
            return 0

        with applied({"f": "def f():\n    raise KeyboardInterrupt\n"}), pytest.raises(KeyboardInterrupt):
            f()

    async def test_an_asynchronous_one_fails_the_same_way(self):
        @trainable(trust=True)
        async def f():
            return 0

        assert await f() == 0
        with applied({"f": "async def f():\n    return 1 / 0\n"}), pytest.raises(CodeFailed, match="crash"):
            await f()


def test_asynchronous_trainables_are_known_as_such():
    @trainable
    async def f():
        return 0

    assert inspect.iscoroutinefunction(f) or sys.version_info < (3, 12)
