from __future__ import annotations

import pytest

from agentopt.core import errors

USER = ["TaskError", "ConfigError", "ConsentError", "SeedFailed", "StoreError", "MissingExtra"]


@pytest.mark.parametrize("name", sorted(set(errors.__all__)))
def test_bad_input_ends_with_2_and_the_rest_with_1(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.AgentoptError)
    assert issubclass(kind, errors.UserError) == (name in [*USER, "UserError"])
    assert kind.exit_code == (2 if name in [*USER, "UserError"] else 1)


def test_the_tree_in_the_docstring_is_complete() -> None:
    assert all(name in errors.__doc__ for name in errors.__all__)


def test_the_message_is_the_text() -> None:
    assert str(errors.TaskError("task 't' has no goal")) == "task 't' has no goal"
