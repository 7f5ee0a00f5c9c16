"""The look at source that needs no box."""

from __future__ import annotations

import pytest

from agentopt.core.task import Parameter
from agentopt.sandbox.check import check_source, static_failure
from agentopt.sandbox.program import pieces_of


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f(:\n    pass", "f.py, line 1: invalid syntax\n    def f(:"),
        ("x = 1\n\0", "null bytes"),
        ("x = " + "(" * 5000, "f.py"),
        ("x = " + "-" * 200_000 + "1", "f.py"),
        ("x = " + "+".join(["1"] * 50_000), ""),
        ("#" * 1_000_001, "the limit is 1000000"),
        ("x = '\\d'", ""),
        ("\ud800", "f.py"),
        ("", ""),
    ],
)
def test_sources(source, words):
    message = check_source(source, "f.py")
    assert words in message
    assert bool(message) == bool(words) or "+1" in source


def test_only_python_is_looked_at():
    parameters = {
        "f": Parameter("f", "code", "def f(): pass"),
        "kernel": Parameter("kernel", "code", "int main( {", language="c"),
        "prompt": Parameter("prompt", "prompt", "def ("),
    }
    values = {name: parameter.initial for name, parameter in parameters.items()}
    assert static_failure(pieces_of(parameters, values)) is None
    failure = static_failure(pieces_of(parameters, values | {"f": "def ("}))
    assert failure is not None
    assert failure.kind == "syntax"
