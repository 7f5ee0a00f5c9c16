"""Values as they may be tried: what a projection makes of them, and what a space refuses."""

from __future__ import annotations

from typing import Any

import pytest

from agentopt.core.conform import conform, conform_all
from agentopt.core.errors import TaskError
from agentopt.core.task import Parameter


def number(space: Any) -> Parameter:
    return Parameter("rate", "value", 0.5, space={"": space})


@pytest.mark.parametrize(
    ("space", "value", "why"),
    [
        ((0.0, 1.0), 1.5, "The value of 'rate' is 1.5; it must be between 0 and 1."),
        ([1, 2, 4], 3, "The value of 'rate' is 3; it must be one of 1, 2, 4."),
        ({"low": 1.0}, 0.5, "The value of 'rate' is 0.5; it must be at least 1."),
        ({"high": 10}, 11, "The value of 'rate' is 11; it must be at most 10."),
        ({"low": 1, "high": 9, "int": True}, 2.5, "The value of 'rate' is 2.5; it must be a whole number."),
        ((0.0, 1.0), "much", "The value of 'rate' is 'much'; it must be a number."),
    ],
)
def test_a_value_outside_of_its_space_is_refused_with_the_reason(space: Any, value: Any, why: str) -> None:
    with pytest.raises(ValueError, match="must be") as refused:
        conform(number(space), value)
    assert str(refused.value) == why


@pytest.mark.parametrize(
    ("space", "value"),
    [((0.0, 1.0), 1.0), ([1, 2, 4], 4), ({"low": 1.0}, 1e9), ({"high": 10}, -3), ({"low": 1, "high": 9, "int": True}, 2.0), ("any", 7)],
)
def test_a_value_within_stays_as_it_is(space: Any, value: Any) -> None:
    assert conform(number(space), value) == value


def test_fields_of_a_config_are_looked_at_as_far_as_they_are_there() -> None:
    config = Parameter("c", "config", {"a": {"b": 1.0}}, space={"a.b": (0.0, 2.0), "gone": (0.0, 1.0)})
    assert conform(config, {"a": {"b": 2.0}}) == {"a": {"b": 2.0}}
    assert conform(config, {"a": 3}) == {"a": 3}
    with pytest.raises(ValueError, match=r"field 'a\.b' of 'c' is 3\.0"):
        conform(config, {"a": {"b": 3.0}})


def test_what_a_projection_returns_is_tried_in_its_place() -> None:
    rounded = Parameter("rate", "value", 0.5, space={"": (0.0, 1.0)}, project=lambda value: round(value, 1))
    assert conform(rounded, 0.449) == 0.4
    assert conform(rounded, 1.04) == 1.0
    with pytest.raises(ValueError, match="between 0 and 1"):
        conform(rounded, 1.06)


def test_a_projection_refuses_with_a_value_error_and_fails_with_any_other() -> None:
    def refuse(value: Any) -> Any:
        raise ValueError("no question mark at its end")

    asking = Parameter("ask", "prompt", "Why?", project=refuse)
    with pytest.raises(ValueError, match="'ask' is refused: no question mark"):
        conform(asking, "Why")
    with pytest.raises(TaskError, match="'ask': its projection failed with TypeError"):
        conform(Parameter("ask", "prompt", "Why?", project=lambda text: text + 1), "Why")
    with pytest.raises(TaskError, match="'ask': its projection gave a int for a prompt"):
        conform(Parameter("ask", "prompt", "Why?", project=len), "Why")


def test_what_a_task_began_with_is_not_looked_at_again() -> None:
    parameters = {"a": Parameter("a", "value", 7, space={"": (0, 5)}), "b": Parameter("b", "prompt", " x ", project=str.strip)}
    assert conform_all({"a": 7, "b": " x "}, parameters) == {"a": 7, "b": " x "}
    assert conform_all({"a": 5, "b": " y "}, parameters) == {"a": 5, "b": "y"}
    with pytest.raises(ValueError, match="'a' is 6"):
        conform_all({"a": 6, "b": " x "}, parameters)


def test_the_projection_is_no_part_of_what_makes_parameters_equal() -> None:
    parameter = Parameter("b", "prompt", "x", constraint="one word", project=str.strip)
    assert parameter == Parameter("b", "prompt", "x", constraint="one word")
    assert "project" not in repr(parameter)
    assert [parameter.holds(value) for value in ("y", 1, {})] == [True, False, False]
