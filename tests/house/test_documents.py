"""What the documents tell people to write and to type works as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, clean_environment

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def marked(name: str, language: str) -> str:
    """The block of the README that follows the comment ``name``."""
    match = re.search(rf"<!-- {re.escape(name)} -->\n```{language}\n(.*?)```", README, re.DOTALL)
    assert match, f"README.md has no block {name}"
    return match[1]


def recipes() -> dict[str, str]:
    """path -> text of each file that CONTRIBUTING.md shows; the first line names the path."""
    blocks = BLOCK.findall(CONTRIBUTING)
    return {text.partition("\n")[0].removeprefix("# "): text.partition("\n")[2] for text in blocks}


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", ["job-command", "test-command"])
def test_a_command_of_the_readme_is_one_line_that_starts_from_nothing(name: str) -> None:
    lines = marked(name, "bash").splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("python3 -m venv .venv && .venv/bin/pip install -q ")


def test_both_documents_name_the_same_test_command() -> None:
    assert marked("test-command", "bash").strip() in CONTRIBUTING


def test_the_task_of_the_job_command_is_there() -> None:
    (task,) = re.findall(r"evolve (\S+)", marked("job-command", "bash"))
    assert (ROOT / task).is_file()


def test_the_readmes_task_and_library_use_work(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "agentopt", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "makespan.py").write_text(marked("example: makespan.py", "python"))
    (tmp_path / "library.py").write_text(marked("example: library.py", "python"))
    told = python("library.py", folder=tmp_path).stdout
    assert "def urgency" in told
    assert "30 evaluations" in told


def test_the_readmes_example_is_as_short_as_it_says() -> None:
    assert len([line for line in marked("example: makespan.py", "python").splitlines() if line.strip()]) <= 30


def test_the_readme_names_every_command() -> None:
    from agentopt.cli import app

    commands = {command.name for command in [*app.registered_commands, *app.registered_groups]}
    assert commands == set(re.findall(r"^\| `agentopt (\w+)", README, re.MULTILINE))


@pytest.mark.thorough
@pytest.mark.parametrize("test", [path for path in recipes() if path.startswith("tests/")])
def test_a_recipe_is_one_file_and_its_test(test: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "agentopt", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, text in recipes().items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    told = python("-m", "pytest", test, "-p", "no:cacheprovider", folder=tmp_path).stdout
    assert re.search(r"\b[1-9]\d* passed", told), told


def test_the_recipes_are_as_typed_and_tidy_as_the_rest(tmp_path: Path) -> None:
    for path, text in recipes().items():
        if path.startswith("agentopt/"):
            (tmp_path / Path(path).name).write_text(text)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ruff = [sys.executable, "-m", "ruff"]
    assert subprocess.run([*ruff, "check", "."], cwd=tmp_path, capture_output=True).returncode == 0
    assert subprocess.run([*ruff, "format", "--check", "."], cwd=tmp_path, capture_output=True).returncode == 0
