"""The same folders in the boxes of level L3, as ``agentopt score`` and ``agentopt evolve`` use them."""

from __future__ import annotations

import math
import shutil
import sys
import venv
from pathlib import Path

import pytest

import agentopt
from agentopt.core.errors import StoreError
from agentopt.inspection import check_task, score_candidate
from agentopt.sandbox import levels
from tests.adapters.judging import FOLDERS, folder

pytestmark = pytest.mark.usefixtures("tmp_path", "level_3")  # in this order: level_3 moves where temporary files lie

SEEDS = {
    "points": {"combined_score": 1 / 7.5},
    "stages": {"combined_score": 1.5},
    "mean": {"combined_score": 4.0},
    "container": {"combined_score": 0.5},
    "repeats": {"combined_score": 2 - math.pi},
    "ours/problems/line": {"score": 5.0},
    "declared": {"distance": 6.0, "size": 12.0},
    "several": {"score": 2.0},
}


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_score_what_is_known(name):
    task = folder(name)
    found = score_candidate(task, task.seed_values)
    assert found.failure is None
    assert found.scores == pytest.approx(SEEDS[name])
    assert found.self_reported
    assert found.sandbox.startswith("L3/")


def test_a_container_that_reports_an_error():
    task = folder("container")
    found = score_candidate(task, {"initial_program": "1 / 0\n"})
    assert found.failure.kind == "wrong"
    assert "ZeroDivisionError" in found.failure.message
    assert "mode: train" in score_candidate(task, task.seed_values).rollouts[0].feedback


def test_failures_have_kinds():
    task = folder("stages")
    broken = score_candidate(task, {"initial_program": "LEVEL = 5\n"}).failure
    assert broken.kind == "crash"
    assert "level 5 is broken" in broken.message
    endless = agentopt.load_task(FOLDERS / "points")
    endless.limits = agentopt.Limits(seconds=1.0, memory_mb=2048)
    assert score_candidate(endless, {"initial_program": "while True:\n    pass\n"}).failure.kind == "timeout"
    assert score_candidate(folder("mean"), {"initial_program": "endless\n"}).failure.kind == "nonfinite"


def test_a_seed_that_does_not_end_is_stopped_and_the_message_says_what_allows_it_more(tmp_path):
    (tmp_path / "evaluator.py").write_text("def evaluate(path):\n    while True:\n        pass\n")
    (tmp_path / "initial_program.py").write_text("x = 1\n")
    (tmp_path / "config.yaml").write_text("evaluator: {timeout: 1}\n")
    with pytest.raises(agentopt.UserError, match=r"limits.seconds: 1 s; allow it more with --set limits.seconds=N"):
        agentopt.evolve(tmp_path, budget="3evals", out=None)


def test_nothing_of_the_user_is_there(tmp_path):
    secret = Path(tmp_path / "secret.txt")
    secret.write_text("x")
    code = f"import os\n\n\ndef run():\n    return [float(os.path.exists({str(secret)!r})), len(os.environ.get('USER', '')), 0.0]\n"
    found = score_candidate(folder("points"), {"initial_program": code})
    assert "first 0" in found.rollouts[0].feedback


def test_a_search_improves_and_can_be_continued(tmp_path):
    place = shutil.copytree(FOLDERS / "declared", tmp_path / "declared")
    out = tmp_path / "run"
    first = agentopt.evolve(place, budget="4evals", out=out, workers=1, box={"python": sys.executable})
    assert first.seed.scores == {"distance": 6.0, "size": 12.0}
    more = agentopt.resume(out, budget="4evals")
    assert more.summary["evaluations"] == 8
    assert more.summary["self_reported"]
    assert (out / "best" / "solver.py").is_file()
    (place / "lib" / "truth.py").write_text("TRUTH = 11.0\n")
    with pytest.raises(StoreError, match="the task changed"):
        agentopt.resume(out, budget="4evals")


def test_another_environment_has_its_own_packages(tmp_path):
    environment = tmp_path / "env"
    venv.create(environment, symlinks=True, with_pip=False)
    (library,) = environment.glob("lib/python*/site-packages")
    (library / "only_there.py").write_text("NUMBER = 3.0\n")
    code = "import only_there\n\n\ndef run():\n    return [only_there.NUMBER] * 3\n"
    task = folder("points")
    missing = score_candidate(task, {"initial_program": code}).failure
    assert "the package 'only_there' is missing in" in missing.message
    assert "--python VENV" in missing.message
    found = score_candidate(task, {"initial_program": code}, box={"python": str(environment)})
    assert "first 3" in found.rollouts[0].feedback


def test_a_command_that_is_declared_fork_free_starts_nothing(tmp_path):
    place = shutil.copytree(FOLDERS / "stages", tmp_path / "stages")
    (place / "agentopt.toml").write_text('command = "python judge.py {program}"\nprogram = "initial_program.py"\nfork_free = true\n')
    (place / "judge.py").write_text(
        "import json, os, sys\nif 'FORK' in open(sys.argv[1]).read():\n    os.fork()\nprint(json.dumps({'score': 1.0}))\n"
    )
    task = agentopt.load_task(place)
    found = score_candidate(task, task.seed_values)
    assert found.scores == {"score": 1.0}
    assert found.sandbox.startswith("L2/")
    assert found.self_reported
    assert score_candidate(task, {"initial_program": "FORK\n"}).failure.kind in ("crash", "forbidden")


@pytest.mark.parametrize("name", ["stages", "mean"])
def test_a_folder_of_others_that_is_declared_fork_free(tmp_path, name):
    place = shutil.copytree(FOLDERS / name, tmp_path / name)
    (place / "agentopt.toml").write_text("fork_free = true\n")
    task = agentopt.load_task(place)
    found = score_candidate(task, task.seed_values)
    assert found.failure is None
    assert found.scores == pytest.approx(SEEDS[name])
    assert found.sandbox.startswith("L2/")
    assert agentopt.evolve(place, budget="3evals", out=None).summary["self_reported"]


def test_a_fork_free_folder_that_reaches_elsewhere_is_refused(tmp_path):
    place = shutil.copytree(FOLDERS / "points", tmp_path / "points")
    (place / "agentopt.toml").write_text("fork_free = true\n")
    with pytest.raises(agentopt.UserError, match="which only level L3 shows"):
        agentopt.load_task(place)


def test_a_look_at_the_folder_says_what_it_is():
    found = {finding.what: finding for finding in check_task(folder("points"))}
    assert found["self-reported"].verdict == "note"
    assert "num_islands" in " ".join(finding.detail for finding in check_task(folder("points")))
    assert found["combined_score = 0.133333"].verdict == "ok"


def test_without_bubblewrap_it_is_one_sentence_and_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(levels, "probe_programs", lambda: "level L3 needs bubblewrap, which is not installed")
    with pytest.raises(agentopt.UserError, match="bubblewrap, which is not installed"):
        score_candidate(folder("points"), folder("points").seed_values)
    with pytest.raises(agentopt.UserError, match="bubblewrap, which is not installed"):
        agentopt.evolve(FOLDERS / "points", budget="3evals")
    assert list(tmp_path.iterdir()) == []


def test_another_level_is_refused_with_the_way_to_it():
    with pytest.raises(agentopt.UserError, match="or write fork_free = true in the folder's agentopt"):
        score_candidate(folder("points"), folder("points").seed_values, sandbox="L2")
