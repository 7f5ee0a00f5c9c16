"""How alike programs are, and which known one is nearest."""

from __future__ import annotations

from agentopt.core.task import Parameter, Values
from agentopt.edits.likeness import Known, KnownPrograms, Sketch, likeness, sketch

CODE = Parameter("f", "code", "def f(x):\n    return x\n")
ASK = Parameter("ask", "prompt", "Be brief.")
START = Parameter("start", "config", {"x": 0.5})


def program(*lines: str) -> Sketch:
    return sketch({"f": "\n".join(["def f(x):", *(f"    {line}" for line in lines), "    return x"])}, {"f": CODE})


LINES = [f"a{k} = x * {k} + {k + 3}" for k in range(40)]


def test_what_does_not_matter_does_not_count() -> None:
    assert likeness(program("y = x + 1"), program("# a comment", "z = (x + 1)")) == 1.0


def test_likeness_falls_with_what_differs() -> None:
    changed = [likeness(program(*LINES), program(*LINES[:-k], *(f"b = x - {j}" for j in range(k)))) for k in (1, 5, 20)]
    assert 1.0 > changed[0] > changed[1] > changed[2] > 0.1
    assert likeness(program(*LINES), program("while x:", "    x -= 1")) < 0.2


def test_short_programs_are_compared_exactly() -> None:
    first, second = program("y = 1"), program("y = 2")
    assert likeness(first, second) == len({*first} & {*second}) / len({*first} | {*second})


def test_all_kinds_of_parameters_count_as_far_as_they_can_be_trained() -> None:
    parameters = {"ask": ASK, "start": START}
    values: Values = {"ask": "Be brief.", "start": {"x": 0.5}}
    for other in ({"ask": "Be long."}, {"start": {"x": 0.6}}):
        assert likeness(sketch(values, parameters), sketch({**values, **other}, parameters)) < 1.0
    frozen = {"ask": ASK, "start": Parameter("start", "config", {"x": 0.5}, trainable=False)}
    assert sketch(values, frozen) == sketch({**values, "start": {"x": 9}}, frozen)


def test_text_that_is_no_python_and_no_text_at_all() -> None:
    assert likeness(sketch({"f": "def f(:"}, {"f": CODE}), sketch({"f": "def f(:"}, {"f": CODE})) == 1.0
    assert likeness((), ()) == 1.0
    assert sketch({"ask": ""}, {"ask": ASK}) != sketch({"ask": "Be brief."}, {"ask": ASK})


def test_the_nearest_is_nearer_than_the_parent() -> None:
    parent = program(*LINES)
    sibling = program(*LINES[:-1], "b = 7")
    known = KnownPrograms(10)
    known.add(Known("parent", parent, "1"))
    known.add(Known("sibling", sibling, "2"))
    assert known.nearest(program(*LINES[:-1], "b = 8"), parent, 0.9) == known.get("sibling")
    assert known.nearest(program(*LINES[1:]), parent, 0.5) is None, "another small change of the parent is new"
    assert known.nearest(program(*LINES[:-1], "b = 8"), parent, 0.999) is None
    waiting = Known("waiting", program(*LINES[:-1], "b = 8"), "3")
    assert known.nearest(program(*LINES[:-1], "b = 8"), parent, 0.9, [waiting]) == waiting


def test_only_so_many_are_known() -> None:
    known = KnownPrograms(3)
    for k in range(5):
        known.add(Known(str(k), program(f"y = {k}"), ""))
    known.add(Known("2", program("y = 9"), "again"))
    known.add(Known("5", program("y = 5"), ""))
    assert [name for name in "012345" if known.get(name)] == ["2", "4", "5"]
