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


def evolve_elsewhere(commands: Path, folder: Path) -> dict[str, Any]:
    """The last line of a short run of a bundled task, started in ``folder``."""
    environment = {"PATH": f"{commands}:/usr/bin:/bin", "HOME": str(folder)}
    command = [str(commands / "agentopt"), "evolve", "online_bin_packing", "--budget", "5evals", "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(result: dict[str, Any], folder: Path) -> None:
    assert result["status"] == "budget"
    assert result["evaluations"] == 5
    assert result["seed"]["scores"]
    assert result["best"]["id"]
    assert set(result["best"]["scores"]) == set(result["seed"]["scores"])
    assert (folder / "runs" / Path(result["run"]).name).is_dir()


def test_a_bundled_task_runs_by_name_from_an_unrelated_folder(wheel: Path, tmp_path: Path) -> None:
    commands = install(wheel, tmp_path / "environment", borrow=True)
    (tmp_path / "elsewhere").mkdir()
    check(evolve_elsewhere(commands, tmp_path / "elsewhere"), tmp_path / "elsewhere")


def test_the_package_that_runs_is_the_installed_one(wheel: Path, tmp_path: Path) -> None:
    commands = install(wheel, tmp_path / "environment", borrow=True)
    done = subprocess.run(
        [str(commands / "python"), "-c", "import agentopt; print(agentopt.__file__)"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "environment")


@pytest.mark.slow
def test_the_wheel_brings_all_it_needs(wheel: Path, tmp_path: Path) -> None:
    commands = install(wheel, tmp_path / "environment", borrow=False)
    (tmp_path / "elsewhere").mkdir()
    check(evolve_elsewhere(commands, tmp_path / "elsewhere"), tmp_path / "elsewhere")
