"""What importing costs, and what it must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from tests.house.source import PACKAGE, clean_environment, cpu_seconds, imported, modules, name_of, run_on_import, tree

RUNS = 7
IMPORT_SECONDS = 0.045
HELP_RATIO = 1.25
HEAVY = (
    "asyncio",
    "cloudpickle",
    "cmaes",
    "dspy",
    "jinja2",
    "litellm",
    "moocore",
    "networkx",
    "numpy",
    "openai",
    "optuna",
    "pandas",
    "pydantic",
    "ray",
    "rich",
    "sqlite3",
    "torch",
    "typer",
)
LIGHT_ENOUGH = ("asyncio", "sqlite3")
AT_HOME = {"cli": ("typer", "rich"), "settings.py": ("pydantic",)}
HELP_LOADS_NONE_OF = tuple(name for name in HEAVY if name != "typer")
BARE_APP = """
import sys
import typer
app = typer.Typer()

@app.command()
def work(path: str, count: int = 3) -> None:
    "Do it."

sys.argv = ["app", "--help"]
app()
"""
OUR_HELP = "import sys; sys.argv = ['agentopt', '--help']; from agentopt.cli import main; sys.exit(main())"


def loaded_after(code: str) -> set[str]:
    """The top-level modules an interpreter holds after ``code``."""
    report = "print('\\n' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n{report}"
    done = subprocess.run([sys.executable, "-c", program], env=clean_environment(), check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import agentopt") & set(HEAVY) == set()


def test_the_measure_of_loaded_modules_sees_a_heavy_one() -> None:
    assert "sqlite3" in loaded_after("import sqlite3")


def test_importing_the_package_costs_little() -> None:
    cpu_seconds("-c", "import agentopt")
    bare = [cpu_seconds("-c", "pass") for _ in range(RUNS)]
    ours = [cpu_seconds("-c", "import agentopt") for _ in range(RUNS)]
    assert median(ours) <= median(bare) + IMPORT_SECONDS, f"import agentopt takes {1000 * (median(ours) - median(bare)):.0f} ms of CPU"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_packages_are_imported_in_the_function_that_needs_them(path: Path) -> None:
    banned = set(HEAVY) - set(LIGHT_ENOUGH) - set(AT_HOME.get(path.relative_to(PACKAGE).parts[0], ()))
    found = [(line, name) for line, name in imported(run_on_import(tree(path).body)) if name.partition(".")[0] in banned]
    assert not found, f"{name_of(path)}: {found}"


@pytest.mark.parametrize("path", [path for path in modules() if path.is_relative_to(PACKAGE / "core")], ids=name_of)
def test_core_imports_the_standard_library_and_itself(path: Path) -> None:
    allowed = sys.stdlib_module_names
    found = [
        (line, name)
        for line, name in imported(ast.walk(tree(path)))
        if name.partition(".")[0] not in allowed and not f"{name}.".startswith("agentopt.core.")
    ]
    assert not found, f"{name_of(path)}: {found}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_nobody_inside_imports_through_the_front_page(path: Path) -> None:
    parts = {part.stem for part in PACKAGE.iterdir()} | {"__version__"}
    found = [
        ast.unparse(node)
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Import) and any(alias.name == "agentopt" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "agentopt" and not {alias.name for alias in node.names} <= parts)
    ]
    assert not found, f"{name_of(path)}: {found}; import from the module where the name lives"


def test_help_loads_nothing_heavy() -> None:
    assert loaded_after(OUR_HELP) & set(HELP_LOADS_NONE_OF) == set()


def test_help_is_about_as_fast_as_an_empty_typer_app() -> None:
    cpu_seconds("-c", OUR_HELP)
    pairs = [(cpu_seconds("-c", BARE_APP), cpu_seconds("-c", OUR_HELP)) for _ in range(RUNS)]
    ratio = median(ours for _, ours in pairs) / median(bare for bare, _ in pairs)
    assert ratio <= HELP_RATIO, f"agentopt --help takes {ratio:.2f} x a bare typer app"
