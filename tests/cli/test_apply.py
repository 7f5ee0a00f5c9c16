from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import agentopt
from agentopt.cli import apply as apply_command
from tests.cli.logs import Log, finished, invoke, program, refused, shown
from tests.toys import SEED, Steps, write_task

SEED_TEXT = "def guess(x):\n    return x\n"
BEST_TEXT = "def guess(x):\n    return 3 * x\n"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task file with its seed; the logs of these tests name it and never load it."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "task.py").write_text("raise RuntimeError('nobody needs to load this')\n")
    (folder / "seed.py").write_text(SEED_TEXT)
    return folder / "task.py"


@pytest.fixture
def run(tmp_path: Path, task: Path) -> Path:
    return finished(tmp_path / "run", source=task, source_files={"guess": "seed.py"})[0]


def test_the_best_goes_over_the_seed_file(run: Path, task: Path) -> None:
    seed = task.parent / "seed.py"
    seed.chmod(0o640)
    result = invoke("apply", run, "--yes")
    assert result.exit_code == 0
    assert seed.read_text() == BEST_TEXT
    assert seed.stat().st_mode & 0o777 == 0o640
    assert result.stdout.startswith(
        "--- now/seed.py\n+++ best/seed.py\n@@ -1,2 +1,2 @@\n def guess(x):\n-    return x\n+    return 3 * x\n"
    )
    assert result.stdout.splitlines()[-1].startswith(f"wrote {seed}")
    assert "3 paired cases): better" in result.stderr
    assert sorted(path.name for path in seed.parent.iterdir()) == ["seed.py", "task.py"]
    assert "already" in shown("apply", run)


def test_without_a_terminal_nothing_is_written_unless_told(run: Path, task: Path) -> None:
    assert "--yes" in refused("apply", run)
    assert (task.parent / "seed.py").read_text() == SEED_TEXT


@pytest.mark.parametrize(("answer", "text", "code"), [("y\n", BEST_TEXT, 0), ("n\n", SEED_TEXT, 1)])
def test_on_a_terminal_it_asks(run: Path, task: Path, monkeypatch: pytest.MonkeyPatch, answer: str, text: str, code: int) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(apply_command.sys, "stdin", Terminal())
    monkeypatch.setattr(apply_command.typer, "confirm", lambda question, err: answer == "y\n" and "seed.py" in question and err)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["agentopt", "apply", str(run)])
        with pytest.raises(SystemExit) as ended:
            agentopt.cli.main()
    assert (ended.value.code or 0) == code
    assert (task.parent / "seed.py").read_text() == text


def test_a_seed_file_that_changed_is_kept(run: Path, task: Path) -> None:
    seed = task.parent / "seed.py"
    seed.write_text("mine = 1\n")
    assert "not what the run started from" in refused("apply", run, "--yes")
    assert seed.read_text() == "mine = 1\n"
    assert "-mine = 1" in shown("apply", run, "--yes", "--force")
    assert seed.read_text() == BEST_TEXT


def test_a_seed_file_that_is_gone_or_is_no_text(run: Path, task: Path) -> None:
    seed = task.parent / "seed.py"
    seed.write_bytes(b"\xff\xfe")
    assert "not what the run started from" in refused("apply", run, "--yes")
    seed.unlink()
    assert "not what the run started from" in refused("apply", run, "--yes")
    seed.mkdir()
    assert "cannot be read" in refused("apply", run, "--yes")
    seed.rmdir()
    shown("apply", run, "--yes", "--force")
    assert seed.read_text() == BEST_TEXT


def test_a_link_stays_a_link(run: Path, task: Path) -> None:
    seed = task.parent / "seed.py"
    real = task.parent.parent / "real.py"
    shutil.move(seed, real)
    seed.symlink_to(real)
    shown("apply", run, "--yes")
    assert seed.is_symlink()
    assert real.read_text() == BEST_TEXT


def test_nothing_to_do_when_the_best_is_the_seed(tmp_path: Path, task: Path) -> None:
    log = Log(tmp_path / "r", source=task, source_files={"guess": "seed.py"})
    log.add_seed()
    assert "nothing to do: the best candidate is the seed" in shown("apply", log.stop())


def test_a_run_that_goes_on_says_that_this_is_the_best_so_far(tmp_path: Path, task: Path) -> None:
    log = Log(tmp_path / "r", source=task.parent, source_files={"guess": "seed.py"})
    seed = log.add_seed()
    log.add(program(2), {"error": 0.5}, [seed], displaced=[seed])
    result = invoke("apply", log.kill(), "--yes")
    assert result.exit_code == 0
    assert "best so far" in result.stderr
    assert "2 * x" in (task.parent / "seed.py").read_text()


def test_values_in_json_are_compared_by_what_they_mean(tmp_path: Path, task: Path) -> None:
    file = task.parent / "knobs.json"
    log = Log(tmp_path / "r", seed={"knobs": {"rate": 0.1}}, source=task, source_files={"knobs": "knobs.json"})
    seed = log.add_seed()
    log.add({"knobs": {"rate": 0.2}}, {"error": 0.5}, [seed], displaced=[seed])
    run = log.stop()
    file.write_text("{not json")
    assert "not what the run started from" in refused("apply", run, "--yes")
    file.write_text('{"rate":0.10}')
    shown("apply", run, "--yes")
    assert json.loads(file.read_text()) == {"rate": 0.2}
    file.write_text('{  "rate": 0.2}')
    assert "nothing to do" in shown("apply", run)


@pytest.mark.parametrize("with_source", [True, False])
def test_what_has_no_file_is_for_export(tmp_path: Path, task: Path, with_source: bool) -> None:
    run, *_ = finished(tmp_path / "r", source=task if with_source else None)
    sentence = refused("apply", run, "--yes")
    assert ("has no file beside the task" if with_source else "started with a Task object") in sentence
    assert f"agentopt export {run} --best FILE" in sentence


def test_a_task_that_is_gone(tmp_path: Path) -> None:
    run, *_ = finished(tmp_path / "r", source=tmp_path / "nowhere" / "task.py", source_files={"guess": "seed.py"})
    assert "no such file" in refused("apply", run, "--yes")


def test_tasks_inside_the_installed_package_stay_as_they_are(
    run: Path, task: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundled = tmp_path / "_bundled" / "tasks"
    shutil.copytree(task.parent, bundled / "toy")
    monkeypatch.setattr("agentopt.loading.bundled_root", lambda room: bundled)
    shown("apply", run, "--yes")
    inside, *_ = finished(tmp_path / "r2", source=bundled / "toy" / "task.py", source_files={"guess": "seed.py"})
    assert "is bundled with agentopt" in refused("apply", inside, "--yes")
    assert (bundled / "toy" / "seed.py").read_text() == SEED_TEXT


def test_a_real_run_knows_its_files(tmp_path: Path) -> None:
    path = write_task(tmp_path / "line")
    result = agentopt.evolve(path, budget="12evals", executor="inline", optimizer=Steps, out=tmp_path / "run", workers=1)
    assert result.best
    assert result.seed
    assert result.best.id != result.seed.id
    before = (tmp_path / "line" / "seed.py").read_text()
    assert before == SEED
    shown("apply", tmp_path / "run", "--yes")
    assert (tmp_path / "line" / "seed.py").read_text() == result.best.values["f"]
    assert result.best.id in shown("show", tmp_path / "run")
    assert "rollout" in shown("why", tmp_path / "run", "best")
