"""Conformance group 7: parameters of models, inheritance, copies, saving without pickle, and export to plain source."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

from agentopt.compat.trace import Map, Module, Seq, bundle, model, node
from agentopt.core.errors import UserError


class Base(Module):
    def __init__(self) -> None:
        self._param = node(1, trainable=True)
        self._fixed = node(2)

    @property
    def costly(self):
        raise AssertionError("looking for parameters computes nothing")

    @bundle(trainable=True)
    def method1(self, x):
        return x

    @bundle()
    def plain_method(self):
        return 1

    def forward(self, i):
        return self.method1(i)


def extra():
    return 1


class Child(Base):
    def __init__(self) -> None:
        super().__init__()
        self._extra_param = node(1, trainable=True)
        self._extra_method = bundle(trainable=True)(extra)
        self._base = Base()

    @bundle(trainable=True)
    def method1(self, x):
        return super().method1(x) + 1


@model
class Decorated:
    """Its words."""

    def __init__(self, start=1) -> None:
        self.offset = node(start, trainable=True)
        self.prompt = node("say hi", trainable=True)
        self.note = "plain"

    @bundle(trainable=True)
    def add(self, x):
        """Adds."""
        return math.floor(x) + 1

    @bundle()
    def double(self, x):
        return x * 2

    def forward(self, x):
        return self.double(self.add(x)) + self.offset


def test_parameters_of_modules() -> None:
    base, child = Base(), Child()
    assert list(base.parameters_dict()) == ["_param", "method1"]
    assert len(base.parameters()) == 2
    assert list(child.parameters_dict()) == ["_base", "_extra_method", "_extra_param", "_param", "method1"]
    assert len(child.parameters()) == 6
    assert base(3) == 3
    assert child(3) == 4
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        Module()()


def test_the_decorator_keeps_name_and_place() -> None:
    made = Decorated()
    assert (Decorated.__name__, Decorated.__module__, Decorated.__doc__) == ("Decorated", __name__, "Its words.")
    assert isinstance(made, Module)
    assert model(Decorated) is Decorated
    assert [parameter.param.name for parameter in made.parameters()] == ["add", "offset", "prompt"]
    assert made(2.5) == 7
    assert made(2.5).parameter_dependencies == {made.offset, made.add.parameter}

    class Further(Decorated):
        @bundle(trainable=True)
        def more(self):
            return 1

    assert len(Further().parameters()) == 4


def test_copies_have_parameters_of_their_own() -> None:
    one = Decorated()
    one.add(1)
    for twin in (copy.deepcopy(one), copy.deepcopy(copy.deepcopy(one))):
        assert twin.add(1).inputs["self"].data is twin
        assert {id(p) for p in twin.parameters()}.isdisjoint(id(p) for p in one.parameters())
        twin.offset._data = 100
        twin.add.parameter._data = "def add(self, x):\n    return 0\n"
        assert one(1) == 5
        assert one.offset == 1


@pytest.mark.parametrize("suffix", ["a.json", "folder/b.json"])
def test_saving_and_loading(tmp_path, suffix) -> None:
    child, other = Child(), Child()
    child._extra_param._data = 2
    child._base._param._data = {"k": [1]}
    child.method1.parameter._data = "def method1(self, x):\n    return 7\n"
    child.save(tmp_path / suffix)
    other.load(tmp_path / suffix)
    assert [p.data for p in other.parameters()] == [p.data for p in child.parameters()]
    assert other(1) == 7
    assert json.loads((tmp_path / suffix).read_text())["parameters"]["_base._param"] == {"k": [1]}


def test_a_function_alone_is_saved(tmp_path) -> None:
    @bundle(trainable=True)
    def fun(x):
        return len(x), x.count("\n")

    fun.save(tmp_path / "fun")
    fun.parameters()[0]._data = "def fun(x):\n    return 1, 2\n"
    assert fun("a\n").data == [1, 2]
    fun.load(tmp_path / "fun")
    a, b = fun("a\n")
    assert (a, b) == (2, 1)


def test_files_that_do_not_fit_change_nothing(tmp_path) -> None:
    made = Decorated()
    made.prompt._data = np.ones(2)
    with pytest.raises(UserError, match="prompt cannot be saved as JSON"):
        made.save(tmp_path / "never")
    assert not (tmp_path / "never").exists()
    Child().save(tmp_path / "child")
    with pytest.raises(UserError, match=r"lacks \['add"):
        Decorated().load(tmp_path / "child")
    for text in ("no json", "[]", '{"format": "other", "parameters": {}}'):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(UserError, match="holds no saved parameters"):
            Decorated().load(tmp_path / "bad")
    with pytest.raises(UserError, match="absent"):
        Decorated().load(tmp_path / "absent")


def test_export_is_a_plain_class(tmp_path) -> None:
    made = Decorated(start=3)
    made.prompt._data = "say hello"
    made.add.parameter._data = "def add(self, x):\n    return math.ceil(x) * 10\n"
    text = made.export(tmp_path / "plain.py")
    assert text == (tmp_path / "plain.py").read_text()
    assert "bundle" not in text
    assert "@" not in text
    names: dict = {}
    exec(compile(text, "plain.py", "exec"), names)
    plain = names["Decorated"]()
    assert plain.prompt == "say hello"
    assert (plain.offset, plain.note) == (3, "plain")
    assert plain.forward(0.5) == 23
    assert names["math"] is math


def test_export_says_what_it_cannot() -> None:
    made = Decorated()
    made.add.parameter._data = "nothing = 1\n"
    with pytest.raises(UserError, match="defines no function"):
        made.export()
    made = Decorated()
    made.offset._data = np.ones(2)
    with pytest.raises(UserError, match="no literal"):
        made.export()
    names: dict = {"Module": Module, "__name__": "nowhere"}
    exec("class Typed(Module):\n    pass\n", names)
    with pytest.raises(UserError, match="source of Typed"):
        names["Typed"]().export()


def test_containers_of_parameters() -> None:
    a = Seq([1, node(2, trainable=True), Seq(3, node(4, trainable=True), 5)])
    assert [p.data for p in a.parameters()] == [2, 4]
    assert [p.param.name for p in a.parameters()] == ["_1", "_1"]
    assert Seq([1, 2, Seq(3)]).parameters() == []
    b = Map({"a": 1, "b": node(2, trainable=True), node("c", trainable=True): 3, "d": a})
    assert sorted(str(p.data) for p in b.parameters()) == ["2", "2", "4", "c"]
    assert a[0] == 1
    assert Seq("text")[0] == "text"
    held = Base()
    held.inner = b
    assert len(held.parameters()) == 6
