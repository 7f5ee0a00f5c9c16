"""Limits that each file of the package keeps."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, modules, name_of, tree

LONGEST = 400

each_module = pytest.mark.parametrize("path", modules(), ids=name_of)


@each_module
def test_a_file_is_short_and_says_what_lives_in_it(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= LONGEST, f"{name_of(path)} has {lines} lines; divide it"
    assert ast.get_docstring(tree(path)), f"{name_of(path)} has no docstring"


@each_module
def test_no_file_writes_to_globals_or_prints(path: Path) -> None:
    found = [
        f"line {node.lineno}: {ast.unparse(node)[:60]}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Global) or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
    ]
    assert not found, f"{name_of(path)}: {found}"


@each_module
def test_a_file_names_what_it_offers(path: Path) -> None:
    if path.name in ("__init__.py", "__main__.py"):
        return
    assigned = [target for node in tree(path).body if isinstance(node, ast.Assign) for target in node.targets]
    names = {target.id for target in assigned if isinstance(target, ast.Name)}
    assert "__all__" in names, f"{name_of(path)} has no __all__"


def test_every_folder_of_the_package_is_a_room_with_a_word_on_it() -> None:
    folders = {path.parent for path in modules()}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()
    assert PACKAGE / "core" in folders


def test_no_file_holds_both_sides_of_a_merge() -> None:
    mark = re.compile(r"^(<<<<<<<|>>>>>>>) (?!SEARCH|REPLACE)", re.MULTILINE)
    rooms = ("agentopt", "benchmarks", "docs", "evaluators", "examples", "prompts", "tasks", "tests")
    folders = [ROOT.glob("*.*"), *((ROOT / room).rglob("*.*") for room in rooms)]
    files = [path for folder in folders for path in folder if path.suffix in (".md", ".py", ".toml")]
    assert ROOT / "CHANGELOG.md" in files
    assert [str(path.relative_to(ROOT)) for path in files if mark.search(path.read_text())] == []


def test_the_linters_limits_are_the_agreed_ones() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    lint = settings["ruff"]["lint"]
    assert lint["mccabe"]["max-complexity"] == 10
    assert lint["pylint"] == {"max-args": 7, "max-statements": 40}
    assert {"C90", "PLR0913", "PLR0915"} <= set(lint["select"])
    assert not {"C901", "PLR0913", "PLR0915"} & set(lint["ignore"])
    assert lint["per-file-ignores"] == {"agentopt/cli/*": ["PLR0913"], "tests/*": ["PLR0913", "PLR0915"]}
    assert settings["pyright"]["typeCheckingMode"] == "strict"
    assert settings["pyright"]["include"] == ["agentopt"]
    assert settings["pytest"]["ini_options"]["filterwarnings"][0] == "error"


def test_no_function_is_excused_from_the_limits() -> None:
    excused = [
        f"{name_of(path)}:{number}"
        for path in modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "noqa" in line and any(code in line for code in ("C901", "PLR0913", "PLR0915"))
    ]
    assert excused == []


def test_the_share_of_comments_is_reported(record_property: pytest.RecordProperty) -> None:
    comments = code = 0
    for path in modules():
        kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)]
        comments += kinds.count(tokenize.COMMENT)
        code += kinds.count(tokenize.NEWLINE)
    record_property("comments_per_100_statements", round(100 * comments / code, 1))
    assert code > 0
