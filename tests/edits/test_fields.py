from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentopt.core.errors import TaskError
from agentopt.core.task import Parameter
from agentopt.edits.fields import find_fields, perturb_field, replace_fields
from agentopt.edits.tunable import Tunable

CONFIG: dict[str, Any] = {
    "lr": 0.01,
    "depth": 4,
    "kind": "tree",
    "nested": {"drop": 0.5, "on": True},
    "sizes": [8, 16],
    "none": None,
    "bad": math.inf,
}


def config(space: Any = None) -> Parameter:
    return Parameter("p", "config", CONFIG, space=space)


def test_without_a_space_every_number_and_truth_value_is_free() -> None:
    fields = find_fields(config(), CONFIG)
    assert [field.path for field in fields] == [("lr",), ("depth",), ("nested", "drop"), ("nested", "on"), ("sizes", 0), ("sizes", 1)]
    assert [field.is_number for field in fields] == [True, True, True, False, True, True]
    assert [field.whole for field in fields if field.is_number] == [False, True, False, True, True]


def test_a_space_names_what_is_free() -> None:
    space = {
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
        "depth": (1, 9),
        "kind": ["tree", "line"],
        "nested.drop": {"low": 0.0},
        "sizes.1": (4, 64),
    }
    lr, depth, kind, drop, size = find_fields(config(space), CONFIG)
    assert (lr.low, lr.high, lr.log, lr.whole) == (1e-4, 1.0, True, False)
    assert lr.to_unit() == pytest.approx(0.5)
    assert lr.from_unit(0.25) == pytest.approx(1e-3)
    assert (depth.low, depth.high, depth.whole, depth.from_unit(0.51)) == (1.0, 9.0, True, 5)
    assert kind.choices == ("tree", "line")
    assert not drop.is_bounded
    assert size.path == ("sizes", 1)


def test_a_value_is_its_own_field() -> None:
    (field,) = find_fields(Parameter("v", "value", 3.0, space={"": (0, 10)}), 3.0)
    assert (field.path, field.low, field.whole) == ((), 0.0, False)
    assert replace_fields(3.0, [field], [4.5]) == 4.5


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"missing": (0, 1)}, "'missing', which the value does not have"),
        ({"lr": (1, 0)}, "low < high"),
        ({"lr": ("a", 1)}, "numbers"),
        ({"kind": (0, 1)}, "numbers"),
        ({"lr": []}, "list of choices"),
        ({"lr": {"lo": 1}}, "low, high, log, int"),
        ({"lr": 3}, "list of choices"),
        ({"lr": {"low": 0.0, "high": 1.0, "log": True}}, "log needs low > 0"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space: Any, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        find_fields(config(space), CONFIG)


def test_replacing_copies() -> None:
    fields = find_fields(config(), CONFIG)
    changed = replace_fields(CONFIG, fields, [0.02, 5, 0.1, False, 9, 17])
    assert changed == {**CONFIG, "lr": 0.02, "depth": 5, "nested": {"drop": 0.1, "on": False}, "sizes": [9, 17]}
    assert CONFIG["sizes"] == [8, 16]


SPACES = {
    "lr": {"low": 1e-4, "high": 1.0, "log": True},
    "depth": (1, 9),
    "kind": ["tree", "line"],
    "nested.drop": (0.0, 1.0),
    "sizes.0": {"low": 2},
}


@given(st.integers(0, 10**9))
def test_perturbing_stays_inside_and_moves(seed: int) -> None:
    rng = Random(seed)
    for field in find_fields(config(SPACES), CONFIG):
        new = perturb_field(field, rng)
        if field.choices:
            assert new in field.choices
        else:
            assert field.low <= new <= field.high
            assert isinstance(new, int) == field.whole
        if field.is_bounded or field.choices:
            assert new != field.value
    for field in find_fields(config(), CONFIG):
        assert type(perturb_field(field, rng)) is type(field.value)


def test_a_single_choice_stays() -> None:
    (field,) = find_fields(config({"kind": ["tree"]}), CONFIG)
    assert perturb_field(field, Random(0)) == "tree"


def test_zero_moves() -> None:
    (field,) = find_fields(Parameter("v", "value", 0.0), 0.0)
    assert perturb_field(field, Random(0)) != 0.0


CODE = "def f(x):\n    return 2.0 * x + 0.0 - x ** 2\n"
PARAMETERS = {
    "f": Parameter("f", "code", CODE),
    "p": config({"lr": (0.0, 1.0), "kind": ["tree", "line"]}),
    "fixed": Parameter("fixed", "value", 3.0, trainable=False),
    "text": Parameter("text", "prompt", "1.0"),
}
VALUES = {"f": CODE, "p": CONFIG, "fixed": 3.0, "text": "1.0"}


def test_all_numbers_of_a_candidate_are_one_vector() -> None:
    tunable = Tunable(VALUES, PARAMETERS)
    assert tunable.dimension == 3
    same = tunable.decode([0.0, 0.0, 0.0])
    assert (same["f"], same["fixed"], same["text"]) == (CODE, 3.0, "1.0")
    assert same["p"] == {**CONFIG, "lr": pytest.approx(0.01)}
    moved = tunable.decode([0.5, 0.5, 0.5])
    assert moved["f"] == "def f(x):\n    return 3.042190611 * x + 2.129279455 - x ** 2\n"
    assert moved["p"]["lr"] == pytest.approx(0.51)


@given(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3))
def test_any_step_decodes(steps: list[float]) -> None:
    values = Tunable(VALUES, PARAMETERS).decode([max(min(step, 1e12), -1e12) for step in steps])
    assert 0.0 <= values["p"]["lr"] <= 1.0
    compile(values["f"], "<test>", "exec")


def test_zero_scale_is_the_size_of_a_zero() -> None:
    wide, narrow = (Tunable(VALUES, PARAMETERS, scale).decode([0.0, 0.1, 0.0])["f"] for scale in (10.0, 0.1))
    assert "+ 3.045202934 -" in wide
    assert "+ 0.03045202934 -" in narrow


def test_structure_is_what_tuning_does_not_change() -> None:
    tunable = Tunable(VALUES, PARAMETERS)
    assert Tunable(tunable.decode([0.3, -0.2, 0.1]), PARAMETERS).structure == tunable.structure
    assert Tunable({**VALUES, "f": CODE.replace("** 2", "** 3")}, PARAMETERS).structure != tunable.structure
    assert Tunable({**VALUES, "p": {**CONFIG, "kind": "line"}}, PARAMETERS).structure != tunable.structure


def test_code_that_does_not_parse_has_no_numbers() -> None:
    assert Tunable({**VALUES, "f": "def f(:"}, PARAMETERS).dimension == 1


def test_unbounded_whole_fields_stay_whole() -> None:
    parameters = {"v": Parameter("v", "value", 10, space={"": {"low": 1}})}
    assert [Tunable({"v": 10}, parameters).decode([step])["v"] for step in (-9.0, -0.26, 0.2)] == [1, 7, 12]
