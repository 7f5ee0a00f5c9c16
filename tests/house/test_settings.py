"""An option that nothing reads, or that no test sets, is a promise nobody keeps."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Any

import pytest

from tests.house.source import PACKAGE, ROOT, modules, tree

settings = pytest.importorskip("agentopt.settings", reason="there are no settings yet", exc_type=ModuleNotFoundError)


def option_names(model: Any, prefix: str = "") -> list[str]:
    """Dotted names of all fields, those of nested models included."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        nested = field.annotation if hasattr(field.annotation, "model_fields") else None
        names += option_names(nested, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return names


OPTIONS = option_names(settings.RunConfig)


@cache
def attributes_read() -> set[str]:
    """Names read as ``something.name`` anywhere but in the settings themselves."""
    return {
        node.attr
        for path in modules()
        if path != PACKAGE / "settings.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@cache
def tests_text() -> str:
    own = {path.resolve() for path in (ROOT / "tests" / "house").glob("*.py")}
    return "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.resolve() not in own)


def test_there_are_options_and_not_too_many() -> None:
    assert 0 < len(settings.RunConfig.model_fields) <= 20


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_read_by_code(option: str) -> None:
    assert option.rpartition(".")[2] in attributes_read(), f"{option} is never read"


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_set_by_a_test(option: str) -> None:
    name = re.escape(option.rpartition(".")[2])
    setting = rf"\b{name}\s*=[^=]|[\"']{name}[\"']\s*:|--{name.replace('_', '-')}\b|\b{name}=|\b{name} = "
    assert re.search(setting, tests_text()), f"no test sets {option}"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="wrokers"):
        settings.RunConfig.model_validate({"wrokers": 2})
