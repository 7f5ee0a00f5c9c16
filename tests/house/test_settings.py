"""An option that nothing reads, or that no test sets, is a promise nobody keeps."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Any

import pytest

from agentopt import settings
from tests.house.source import ROOT, modules, tree


def option_names(model: Any, prefix: str = "") -> list[str]:
    """Dotted names of all fields, those of nested models included."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        nested = field.annotation if hasattr(field.annotation, "model_fields") else None
        names += option_names(nested, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return names


OPTIONS = option_names(settings.RunConfig)


@cache
def options_read() -> set[str]:
    """Every ``option`` and ``option.part`` that is read from something called ``config``."""
    owner = re.compile(r"(?:^|[._])config\.(\w+(?:\.\w+)?)$")
    chains = {
        ast.unparse(node)
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    return {match[1] for chain in chains if (match := owner.search(chain))}


@cache
def text_of_tests() -> str:
    own = {path.resolve() for path in (ROOT / "tests" / "house").glob("*.py")}
    return "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.resolve() not in own)


def test_there_are_options_and_not_too_many() -> None:
    assert 0 < len(settings.RunConfig.model_fields) <= 20


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_read_by_code(option: str) -> None:
    assert option in options_read(), f"{option} is never read"


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_set_by_a_test(option: str) -> None:
    name, _, part = option.partition(".")
    if part in ("", "name"):
        setting = rf"\b{name}\s*=(?!=)|[\"']{name}[\"']\s*:|--{name.replace('_', '-')}\b"
    else:
        setting = rf"\b{name}\.{part}\b|[\"']{part}[\"']\s*:|--{part.replace('_', '-')}\b"
    assert re.search(setting, text_of_tests()), f"no test sets {option}"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="wrokers"):
        settings.RunConfig.model_validate({"wrokers": 2})
