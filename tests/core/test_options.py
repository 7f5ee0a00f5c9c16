from __future__ import annotations

from dataclasses import dataclass

import pytest

from agentopt.core.errors import ConfigError
from agentopt.core.options import read_options


@dataclass(frozen=True)
class Options:
    size: int = 8
    rate: float = 0.5
    name: str = "x"
    quick: bool = False


@dataclass(frozen=True)
class Empty:
    pass


def test_defaults_and_given() -> None:
    assert read_options(Options, {}, "mutate") == Options()
    assert read_options(Options, {"size": 3, "rate": 0.25, "name": "y", "quick": True}, "mutate") == Options(3, 0.25, "y", True)


def test_a_whole_number_is_a_number() -> None:
    rate = read_options(Options, {"rate": 1}, "mutate").rate
    assert rate == 1.0
    assert isinstance(rate, float)


def test_unknown_keys_name_the_known() -> None:
    with pytest.raises(ConfigError, match=r"^mutate.sise is unknown; the options are: name, quick, rate, size$"):
        read_options(Options, {"sise": 3}, "mutate")
    with pytest.raises(ConfigError, match="the options are: none"):
        read_options(Empty, {"size": 3}, "mutate")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("size", "3", "int"),
        ("size", 3.0, "int"),
        ("size", True, "int"),
        ("rate", "fast", "float"),
        ("rate", True, "float"),
        ("name", 3, "str"),
        ("quick", 1, "bool"),
        ("quick", "yes", "bool"),
        ("size", None, "int"),
    ],
)
def test_wrong_types(key: str, value: object, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"^mutate.{key} is .*; it must be of type {kind}$"):
        read_options(Options, {key: value}, "mutate")
