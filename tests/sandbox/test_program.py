"""A candidate as run sees it."""

from __future__ import annotations

import sys

import pytest

from agentopt.core.task import Parameter
from agentopt.sandbox.program import BuildError, Stage, pieces_from_json, pieces_of, pieces_to_json


def stage(tmp_path, **parameters):
    values = {name: parameter.initial for name, parameter in parameters.items()}
    return Stage(pieces_of(parameters, values), lambda: tmp_path)


def load(tmp_path, **parameters):
    made = stage(tmp_path, **parameters)
    with made.on():
        return made.load()


def test_code_gives_the_object_that_entry_names(tmp_path):
    program = load(
        tmp_path,
        f=Parameter("f", "code", "def f(x):\n    return x + 1\n"),
        named=Parameter("named", "code", "def other():\n    return __name__\n", entry="other"),
        whole=Parameter("whole", "code", "A = 3\n", entry=None),
    )
    assert program.f(1) == 2
    assert program.named() == "named"
    assert program.whole.A == 3
    assert program.module("f").f is program.f


def test_an_entry_that_is_not_there(tmp_path):
    with pytest.raises(BuildError, match=r"f\.py defines no 'f'"):
        load(tmp_path, f=Parameter("f", "code", "def g(): pass\n"))


def test_prompts_values_and_configs(tmp_path):
    program = load(
        tmp_path,
        prompt=Parameter("prompt", "prompt", "Say {x}"),
        value=Parameter("value", "value", 3),
        config=Parameter("config", "config", {"a": {"b": [1]}}),
    )
    assert (program.prompt, program.value, program.config["a"]["b"]) == ("Say {x}", 3, [1])
    with pytest.raises(TypeError):
        program.config["a"]["b2"] = 1
    with pytest.raises(AttributeError, match="no parameter 'promt'; it has: prompt, value, config"):
        _ = program.promt


def test_files_with_paths_import_each_other(tmp_path):
    program = load(
        tmp_path,
        a=Parameter("a", "code", "from pkg.b import two\nfrom pkg import ONE\ndef a():\n    return two() + ONE\n", path="pkg/a.py"),
        b=Parameter("b", "code", "def two():\n    return 2\n", path="pkg/b.py", entry="two"),
        package=Parameter("package", "code", "ONE = 1\n", path="pkg/__init__.py", entry=None),
    )
    assert program.a() == 3
    assert program.b() == 2
    assert program.package.ONE == 1
    assert program.path("a") == tmp_path / "pkg/a.py"


@pytest.mark.parametrize("path", ["../out.py", "/etc/out.py"])
def test_a_path_stays_in_the_folder(tmp_path, path):
    with pytest.raises(BuildError, match="leaves the box's folder"):
        load(tmp_path / "in", f=Parameter("f", "code", "", path=path))


def test_other_languages_are_text_and_a_file(tmp_path):
    program = load(
        tmp_path, kernel=Parameter("kernel", "code", "int main() {}", language="c"), odd=Parameter("odd", "code", "x", language="apl")
    )
    assert program.kernel == "int main() {}"
    assert program.path("kernel").read_text() == "int main() {}"
    assert (program.path("kernel").name, program.path("odd").name) == ("kernel.c", "odd.txt")


def test_only_code_has_a_module_and_a_path(tmp_path):
    program = load(tmp_path, prompt=Parameter("prompt", "prompt", "x"))
    with pytest.raises(KeyError, match="no code parameter 'prompt'"):
        program.path("prompt")


def test_errors_of_the_code_come_through(tmp_path):
    with pytest.raises(ZeroDivisionError):
        load(tmp_path, f=Parameter("f", "code", "1 / 0"))
    with pytest.raises(SyntaxError):
        load(tmp_path, f=Parameter("f", "code", "def"))
    with pytest.raises(SyntaxError):
        load(tmp_path, f=Parameter("f", "code", "def", path="g.py"))


DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
import {name} as me

@dataclass
class Point:
    x: int

def {name}():
    import {name} as later
    return Point(1).x, later is me
"""


def test_nobody_elses_module_is_displaced(tmp_path):
    import colorsys

    before, path = dict(sys.modules), list(sys.path)
    parameters = {
        "colorsys": Parameter("colorsys", "code", DATACLASS.format(name="colorsys")),
        "placed": Parameter("placed", "code", "import colorsys\nvalue = 1\n", path="deep/placed.py", entry="value"),
    }
    made = stage(tmp_path, **parameters)
    with made.on():
        program = made.load()
    assert sys.modules["colorsys"] is colorsys
    assert (sys.modules, sys.path) == (before, path)
    with made.on():
        assert program.colorsys() == (1, True)
    assert sys.modules["colorsys"] is colorsys
    assert (sys.modules, sys.path) == (before, path)


def test_pieces_go_through_json():
    pieces = pieces_of({"f": Parameter("f", "code", "x", path="a.py")}, {"f": "y"})
    assert pieces_from_json(pieces_to_json(pieces)) == pieces
    assert pieces[0].value == "y"
