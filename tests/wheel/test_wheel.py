"""The package as users get it: what the wheel holds, and that it works away from the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ("tasks", "evaluators", "prompts")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_package_and_its_metadata_only(names: list[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"agentopt"}
    assert len(top) == 2
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_what_comes_along_is_tasks_evaluators_and_prompts(names: list[str]) -> None:
    assert {name.split("/")[2] for name in names if name.startswith("agentopt/_bundled/")} == set(BUNDLED)
    for folder in BUNDLED:
        ours = {
            path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        }
        theirs = {name.removeprefix("agentopt/_bundled/") for name in names if name.startswith(f"agentopt/_bundled/{folder}/")}
        assert theirs == ours


def test_nothing_else_slips_in(names: list[str]) -> None:
    odd = {"tests", "docs", "benchmarks", "examples", "runs", "__pycache__", ".git", ".ci"}
    assert [name for name in names if odd & set(name.split("/"))] == []
    assert {"agentopt/py.typed", "agentopt/llm/prices.csv"} <= set(names)


def install(wheel: Path, folder: Path, *, borrow: bool) -> Path:
    """The bin folder of a new environment with the wheel in it; ``borrow`` takes the dependencies from this interpreter's environment."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    options = ["--no-deps", "--no-index"] if borrow else []
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *options, str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if borrow:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("environment"), borrow=True)


def call(commands: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the installed package, started in ``folder``."""
    environment = {"PATH": f"{commands}:/usr/bin:/bin", "HOME": str(folder)}
    command = [str(commands / "agentopt"), *arguments, "--json"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def evolve_elsewhere(commands: Path, folder: Path) -> None:
    """A short run of a bundled task by its name."""
    done = call(commands, folder, "evolve", "online_bin_packing", "--budget", "5evals")
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result["status"] == "budget"
    assert result["evaluations"] == 5
    assert result["seed"]["scores"]
    assert result["best"]["id"]
    assert set(result["best"]["scores"]) == set(result["seed"]["scores"])
    assert (folder / "runs" / Path(result["run"]).name).is_dir()
    assert result["sandbox"].startswith("L2/")


def test_a_bundled_task_runs_by_name_from_an_unrelated_folder(commands: Path, tmp_path: Path) -> None:
    evolve_elsewhere(commands, tmp_path)


def test_a_candidate_reads_the_package_but_no_bundled_task(commands: Path, tmp_path: Path) -> None:
    """The task lies within site-packages, which boxes may read but for it."""
    (package,) = commands.parent.glob("lib/python*/site-packages/agentopt")
    bundled = package / "_bundled" / "tasks"
    hidden = [bundled / "online_bin_packing" / "task.py", bundled / "circle_packing" / "task.py", bundled, bundled.parent]
    spy = tmp_path / "spy.py"
    spy.write_text(f"""import os

def look(path):
    try:
        return os.listdir(path) if os.path.isdir(path) else open(path).read()
    except PermissionError:
        return None

def priority(item, bins):
    assert look({str(package / "core" / "task.py")!r}), "the package itself can be read"
    found = [path for path in {[str(path) for path in hidden]} if look(path) is not None]
    assert not found, found
    return -bins
""")
    assert all(path.exists() for path in hidden)
    done = call(commands, tmp_path, "score", "online_bin_packing", str(spy), "--split", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["failure"], found["sandbox"][:3]) == (None, "L2/")


def test_the_package_that_runs_is_the_installed_one(commands: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(commands / "python"), "-c", "import agentopt; print(agentopt.__file__)"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(commands.parent)


@pytest.mark.slow
def test_the_wheel_brings_all_it_needs(wheel: Path, tmp_path: Path) -> None:
    commands = install(wheel, tmp_path / "environment", borrow=False)
    (tmp_path / "elsewhere").mkdir()
    evolve_elsewhere(commands, tmp_path / "elsewhere")
