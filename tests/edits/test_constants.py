from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.edits.constants import find_constants, mask_constants, replace_constants

SOURCE = """
# weights, found by hand: -7.5
A = -1.5   # keep this comment
def f(x, bins: "int" = 3, *, eps=1e-9) -> float:
    'doc 12'
    if not-1.0 < x: return-2
    y = bins[0] + 2.5*x ** -2 + 4.0 ** x + 3 .real
    for i in range(10, 20):
        y += x[1:, -1] if i == 3 else np.sum(x, axis=1) * 0.25
    return [1if y else 0.5, f"{y:3} {1.25}", True, 2j, "é", 7.0]
"""


def test_finds_literals_with_their_sign() -> None:
    found = find_constants(SOURCE)
    free = [(constant.value, type(constant.value)) for constant in found if not constant.structural]
    assert free == [
        (-1.5, float), (3, int), (1e-9, float), (-1.0, float), (-2, int), (2.5, float), (-2, int), (4.0, float), (3, int), (0.25, float),
        (1, int), (0.5, float), (7.0, float),
    ]  # fmt: skip
    assert [constant.value for constant in found if constant.structural] == [0, 10, 20, 1, -1, 3, 1]
    text = SOURCE.encode()
    assert all(float(text[c.start : c.end].decode()) == c.value for c in found)


def test_replacing_leaves_the_rest_of_the_text_alone() -> None:
    found = [constant for constant in find_constants(SOURCE) if not constant.structural]
    values = [0.5, 4.6, 2e-9, 1.0, 5, -0.125, 3, -8.0, -4, 0.75, -6, 0.0, 1]
    changed = replace_constants(SOURCE, found, values)
    assert "A = 0.5   # keep this comment" in changed
    assert "if not 1.0 < x: return 5" in changed
    assert "-0.125*x ** 3 + (-8.0) ** x + (-4) .real" in changed
    assert "[-6 if y else 0.0" in changed
    assert 'bins: "int" = 5, *, eps=2e-09' in changed
    assert [c.value for c in find_constants(changed) if not c.structural] == [
        round(v) if type(c.value) is int else v for v, c in zip(values, found, strict=True)
    ]


def test_replacing_with_the_same_values_is_the_same_program() -> None:
    found = find_constants(SOURCE)
    same = replace_constants(SOURCE, found, [constant.value for constant in found])
    assert same == SOURCE.replace("1if", "1 if").replace("1e-9", "1e-09")


@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9)), min_size=20, max_size=20))
def test_any_finite_values_can_be_put_in_and_read_back(values: list[float]) -> None:
    found = find_constants(SOURCE)
    wanted = [round(value) if isinstance(constant.value, int) else float(value) for constant, value in zip(found, values, strict=False)]
    changed = replace_constants(SOURCE, found, values[: len(found)])
    assert [constant.value for constant in find_constants(changed)] == wanted


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="literal"):
        replace_constants("x = 1.0", find_constants("x = 1.0"), [value])


def test_as_many_values_as_constants() -> None:
    with pytest.raises(ValueError, match="argument"):
        replace_constants("x = 1.0", find_constants("x = 1.0"), [])


def test_lines_end_as_python_sees_them() -> None:
    assert [c.value for c in find_constants("x = 1.5\r\ny = 2.5\rz = 'é'; w = 3.5\n\f\nv = 1e999; u = -1e999; t = x[2.0 == 2.5]\n")][
        :3
    ] == [1.5, 2.5, 3.5]


def test_mask_is_the_structure() -> None:
    assert mask_constants("x = 1.5 + a[0]") == mask_constants("x = -7.25 + a[0]")
    assert mask_constants("x = 1.5 + a[0]") != mask_constants("x = 1.5 + a[1]")
    assert mask_constants("x = 1.5") != mask_constants("x = 1")


@pytest.mark.parametrize("source", ["def f(:", "x = \0"])
def test_source_that_does_not_parse_is_an_error(source: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        find_constants(source)
