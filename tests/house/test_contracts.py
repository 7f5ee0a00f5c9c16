"""Who may import whom: the contracts hold, and each of them notices when it is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, clean_environment

PLANTED = {
    "the engine imports an optimizer": ("engine", "import agentopt.optimizers.other\n", "agentopt.optimizers"),
    "an optimizer imports another": ("optimizers", "from agentopt.optimizers import other\n", "agentopt.optimizers.other"),
    "an archive imports another": ("archives", "from agentopt.archives import other\n", "agentopt.archives.other"),
    "an executor imports another": ("executors", "from agentopt.executors import other\n", "agentopt.executors.other"),
    "an executor imports the store": ("executors", "import agentopt.store\n", "agentopt.store"),
    "the sandbox imports the scorer": ("sandbox", "import agentopt.scoring\n", "agentopt.scoring"),
    "core imports numpy in a function": ("core", "def mean(numbers):\n    import numpy\n    return numpy.mean(numbers)\n", "numpy"),
    "core imports a third party": ("core", "import networkx\n", "networkx"),
    "core imports upward for its types": (
        "core",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from agentopt.store import other\n",
        "agentopt.store",
    ),
    "a model client imports the scorer": ("llm", "import agentopt.scoring\n", "agentopt.scoring"),
    "the prompts import a model client": ("prompts", "import agentopt.llm\n", "agentopt.llm"),
    "what tests use imports the commands": ("testing", "import agentopt.cli\n", "agentopt.cli"),
    "the library imports the commands": ("store", "import agentopt.cli\n", "agentopt.cli"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the package in ``folder``, with the project's contracts."""
    environment = clean_environment() | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "agentopt", ignore=shutil.ignore_patterns("__pycache__", "_bundled"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("violation", PLANTED)
def test_a_planted_violation_is_caught(copy: Path, violation: str) -> None:
    room, text, culprit = PLANTED[violation]
    for neighbour in (copy / "agentopt").glob("*/"):
        (neighbour / "other.py").write_text("")
    (copy / "agentopt" / room / "planted.py").write_text(text)
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"agentopt.{room}.planted" in done.stdout
    assert culprit in done.stdout


def test_two_files_that_import_each_other_are_caught(copy: Path) -> None:
    (copy / "agentopt" / "core" / "chicken.py").write_text("import agentopt.core.egg\n")
    (copy / "agentopt" / "core" / "egg.py").write_text("import agentopt.core.chicken\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "chicken" in done.stdout
    assert "egg" in done.stdout


def test_a_new_room_has_to_be_given_its_layer(copy: Path) -> None:
    (copy / "agentopt" / "attic.py").write_text("")
    done = lint(copy)
    assert done.returncode == 1
    assert "attic" in done.stdout
