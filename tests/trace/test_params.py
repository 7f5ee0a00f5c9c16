"""Parameters behave as their current value wherever that can be told, and fail loudly where it cannot."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import operator
import os
import pickle
import re
from collections.abc import Iterable

import pytest

from agentopt.core.errors import TaskError
from agentopt.trace.params import Param, applied, param
from agentopt.trace.recorder import record

SEED, TRIED = "the seed's text", " A {x} tried, tried text\n"

CALLS = {
    "capitalize": (),
    "casefold": (),
    "center": (40,),
    "count": ("t",),
    "encode": (),
    "endswith": ("\n",),
    "expandtabs": (),
    "find": ("tried",),
    "format": (),
    "format_map": ({"x": 1},),
    "index": ("t",),
    "isalnum": (),
    "isalpha": (),
    "isascii": (),
    "isdecimal": (),
    "isdigit": (),
    "isidentifier": (),
    "islower": (),
    "isnumeric": (),
    "isprintable": (),
    "isspace": (),
    "istitle": (),
    "isupper": (),
    "join": (["a", "b"],),
    "ljust": (40,),
    "lower": (),
    "lstrip": (),
    "maketrans": ("a", "b"),
    "partition": (",",),
    "removeprefix": (" A",),
    "removesuffix": ("\n",),
    "replace": ("tried", "new"),
    "rfind": ("tried",),
    "rindex": ("t",),
    "rjust": (40,),
    "rpartition": (",",),
    "rsplit": (),
    "rstrip": (),
    "split": (),
    "splitlines": (),
    "startswith": (" A",),
    "strip": (),
    "swapcase": (),
    "title": (),
    "translate": ({97: "o"},),
    "upper": (),
    "zfill": (40,),
}


@pytest.fixture
def prompt():
    return Param(SEED, "prompt")


@pytest.mark.parametrize("name", [name for name in dir(str) if not name.startswith("_")])
def test_every_method_of_text_reads_the_candidate(prompt, name):
    arguments = CALLS[name]
    named = {"x": 1} if name == "format" else {}
    if name == "maketrans":  # needs no text at all
        assert prompt.maketrans is not None
        return
    with applied({"prompt": TRIED}), record() as trace:
        assert getattr(prompt, name)(*arguments, **named) == getattr(TRIED, name)(*arguments, **named)
    graph = trace.graph()
    assert [(node.kind, node.name) for node in graph] == [("param", "prompt"), ("op", name)]
    assert graph[1].inputs[0][:2] == (0, "self")
    assert getattr(prompt, name)(*arguments, **named) == getattr(SEED, name)(*arguments, **named)


def test_all_ways_to_read_see_the_candidate(prompt):
    with applied({"prompt": TRIED}):
        assert str(prompt) == f"{prompt}" == "%s" % prompt == "{}".format(prompt) == prompt.value == TRIED  # noqa: UP031, UP032
        assert f"{prompt:>40}" == f"{TRIED:>40}"
        assert prompt + "!" == TRIED + "!"
        assert "!" + prompt == "!" + TRIED
        assert prompt * 2 == 2 * prompt == TRIED * 2
        assert prompt == TRIED
        assert prompt != SEED
        assert prompt < "z"
        assert "tried" in prompt
        assert len(prompt) == len(TRIED)
        assert prompt[3:8] == TRIED[3:8]
        assert bool(prompt)
        assert "".join([prompt.value, "x"]) == TRIED + "x"
        assert re.search("tr(ie)d", prompt.value)[1] == "ie"
        assert json.loads(json.dumps({"p": prompt.value})) == {"p": TRIED}
    assert prompt.value == SEED
    assert repr(prompt) == "Param('prompt')"


@pytest.mark.parametrize(
    "use",
    [
        lambda p: "".join([p]),
        lambda p: re.search("t", p),
        lambda p: re.sub("t", p, "text"),
        lambda p: json.dumps({"p": p}),
        lambda p: os.path.join("a", p),
        lambda p: os.stat(p),
        lambda p: "text".replace("t", p),
        lambda p: p in "text",
        lambda p: {p: 1},
        lambda p: list(p),
        lambda p: [1, 2][p],
        lambda p: pickle.dumps(p),
        lambda p: bytes(p),
        lambda p: f"{1!r:>4}" + p.__class__(1),
    ],
)
def test_what_needs_a_real_value_fails_loudly(prompt, use):
    with applied({"prompt": TRIED}), pytest.raises(TypeError) as caught:
        use(prompt)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (hash, "is equal to its current value, which changes, so it has no hash; use its .name or .value"),
        (os.fspath, "is no path; use its .value"),
        (operator.index, "holds a str, not a whole number; use its .value"),
        (pickle.dumps, "cannot be pickled; pickle its .value"),
    ],
)
def test_the_sentence_names_the_way_out(prompt, use, says):
    with pytest.raises(TypeError) as caught:
        use(prompt)
    assert str(caught.value).startswith("parameter 'prompt'")
    assert says in str(caught.value)


def test_it_is_not_taken_for_a_list_of_letters(prompt):
    assert not isinstance(prompt, Iterable)


BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    divmod,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]


@pytest.mark.parametrize("call", BINARY)
def test_arithmetic_on_either_side(call):
    number, other = Param(2.0, "number"), Param(5, "other")
    with applied({"number": 3.5}):
        assert call(number, 2) == call(3.5, 2)
        assert call(2, number) == call(2, 3.5)
        assert call(number, other) == call(3.5, 5)


@pytest.mark.parametrize("call", [operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor])
def test_arithmetic_of_whole_numbers(call):
    number = Param(2, "number")
    with applied({"number": 6}):
        assert call(number, 3) == call(6, 3)
        assert call(3, number) == call(3, 6)


@pytest.mark.parametrize(
    "call", [operator.neg, operator.pos, abs, round, math.floor, math.ceil, math.trunc, int, float, complex, math.sqrt, bool, str]
)
def test_functions_of_one_number(call):
    number = Param(2.0, "number")
    with applied({"number": 3.7}):
        assert call(number) == call(3.7)


def test_whole_numbers_are_indices():
    number = Param(1, "number")
    assert ["a", "b", "c"][number] == "b"
    assert list(range(number)) == [0]
    assert ~number == -2
    assert round(Param(2.345, "fraction"), 1) == 2.3


def test_what_an_operator_makes_came_from_the_parameter():
    number, other = Param(1, "number"), Param(2, "other")
    with record() as trace:
        assert number + other == 3
    graph = trace.graph()
    assert [(node.kind, node.name) for node in graph] == [("param", "number"), ("param", "other"), ("op", "add")]
    assert [edge[:2] for edge in graph[2].inputs] == [(0, "self"), (1, "arg1")]
    assert graph.subgraph([2]) == [0, 1, 2]


def test_configs():
    config = Param({"depth": 3, "names": ["a"]}, "config", bounds={"depth": (1, 5)})
    with applied({"config": {"depth": 4, "names": ["b"]}}):
        assert config["depth"] == 4
        assert config.get("depth") == 4
        assert "depth" in config
        assert dict(**config) == {"depth": 4, "names": ["b"]}
        config.value["names"].append("changed")
        assert config["names"] == ["b"]
    assert config.parameter().space == {"depth": (1, 5)}


def test_attributes_that_the_value_has_not(prompt):
    with pytest.raises(AttributeError, match="parameter 'prompt' holds a str, which has no method 'uper'"):
        prompt.uper  # noqa: B018
    with pytest.raises(AttributeError, match="take it from its \\.value"):
        prompt.__wrapped__  # noqa: B018
    assert not hasattr(prompt, "model_dump")


def test_numpy_leaves_operators_to_the_parameter():
    numpy = pytest.importorskip("numpy")
    number = Param(2.0, "number")
    with applied({"number": 3.0}):
        assert (numpy.array([1.0, 2.0]) * number).tolist() == [3.0, 6.0]
        assert (number * numpy.array([1.0, 2.0])).tolist() == [3.0, 6.0]
    with pytest.raises(TypeError, match=r"is no array; use its \.value"):
        numpy.asarray(number)


def test_copies_of_an_agent_share_its_parameters(prompt):
    agent = {"prompt": prompt}
    assert copy.deepcopy(agent)["prompt"] is prompt
    assert copy.copy(prompt) is prompt


def test_candidates_do_not_see_each_other(prompt):
    async def read(value):
        with applied({"prompt": value}):
            await asyncio.sleep(0)
            return prompt.value

    async def all_of_them():
        return await asyncio.gather(*(read(f"value {i}") for i in range(50)))

    assert asyncio.run(all_of_them()) == [f"value {i}" for i in range(50)]


def test_candidates_inside_of_each_other(prompt):
    other = Param("other", "other")
    with applied({"prompt": "a", "other": "b"}):
        with applied({"prompt": "c"}):
            assert (prompt.value, other.value) == ("c", "b")
        assert prompt.value == "a"
    prompt.set("d")
    assert prompt.value == "d"


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("x", "two words"), {}, "is not a Python identifier"),
        ((None, "p"), {}, "a parameter's value is text, a number, a truth value or a mapping, not NoneType"),
        ((1.0, "p", "prompt"), {}, "a prompt parameter needs text, not float"),
        ((1.0, "p"), {"bounds": (2.0, 1.0)}, "give two finite numbers, the lower one first"),
        ((1.0, "p"), {"bounds": (0.0, math.inf)}, "give two finite numbers"),
        ((1.0, "p"), {"bounds": (0.0, 0.5, 1.0)}, "give two finite numbers"),
        ((3.0, "p"), {"bounds": (0.0, 1.0)}, "the value 3.0 is not between 0.0 and 1.0"),
        (("a", "p"), {"bounds": (0.0, 1.0)}, "the value 'a' is not between"),
        ((3, "p"), {"bounds": []}, "give a pair (low, high) or a list of choices"),
        ((3, "p"), {"bounds": [1, 2]}, "the value 3 is none of the choices [1, 2]"),
        (("a", "p", "prompt"), {"bounds": ["a"]}, "a prompt has no bounds"),
        (({"a": 1}, "p"), {"bounds": (0, 1)}, "the bounds of a config are by field"),
        (({"a": 1}, "p"), {"bounds": {"b": (0, 1)}}, "bounds has the field 'b', which the value has not; name one of a"),
        (({"a": 1}, "p"), {"bounds": {"a": (2, 3)}}, "field 'a': the value 1 is not between 2 and 3"),
        ((1.0, "p"), {"projection": 3}, "projection is 3; give a function"),
    ],
)
def test_what_cannot_be_a_parameter_is_said(arguments, options, says):
    with pytest.raises(TaskError) as caught:
        param(*arguments, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_options_are_said():
    with pytest.raises(TypeError, match="param\\(\\) does not know 'bound'; it takes description, constraint"):
        param(1.0, "p", bound=(0, 1))


def test_choices():
    mode = param("fast", "mode", bounds=["fast", "slow"])
    assert mode.kind == "value"
    assert mode.parameter().space == {"": ["fast", "slow"]}
