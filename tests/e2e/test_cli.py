"""The command line as a person or a script meets it: real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agentopt.core.events import canonical
from agentopt.store.layout import is_run_folder
from agentopt.store.sqlite import SqliteStore
from tests.toys import TASK_FILE, write_task

ROOT = Path(__file__).parents[2]
STEPS = ("--optimizer", "tests.toys:Steps")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_task(tmp_path / "line")
    return tmp_path


def popen(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([sys.executable, "-m", "agentopt", *arguments], cwd=folder, env=environment, **pipes)


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = popen(folder, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_evolve_prints_results_on_stdout_and_progress_on_stderr(folder: Path):
    code, out, err = call(folder, "evolve", "line", "--budget", "20evals", "--out", "run", *STEPS)
    assert code == 0, err
    assert err.splitlines()[0] == "no model named: searching with tests.toys:Steps, no language model involved"
    assert re.search(r"sandbox L2 \(landlock-\d+, seccomp(, [a-z ]+)?\), run run$", err.splitlines()[1])
    assert "evaluations] best error" in err
    assert out.splitlines()[0] == "budget: the budget is spent"
    assert "test error: best - seed = " in out
    assert "best candidate" in out
    code, shown, _ = call(folder, "show", "run", "--json")
    assert code == 0
    summary = json.loads(shown.splitlines()[-1])
    assert summary == json.loads((folder / "run" / "summary.json").read_text())


def test_json_is_the_last_line(folder: Path):
    code, out, _ = call(folder, "evolve", "line", "--budget", "8evals", "--out", "run", "--json", *STEPS)
    assert code == 0
    found = json.loads(out.splitlines()[-1])
    assert found["run"] == "run"
    assert found["status"] == "budget"
    assert found["seed"]["scores"] == {"error": pytest.approx(3.2)}
    assert found["seed"]["test"] == {"error": pytest.approx(3.2)}
    assert set(found["best"]) >= {"id", "scores", "test"}
    assert found["evaluations"] == 8
    assert found["failures"] == {}
    assert found["spent"]["evals"] == 8
    assert re.match(r"L2/landlock-\d+\+seccomp.*/Linux \d", found["sandbox"])


def test_settings_from_everywhere(folder: Path):
    (folder / "run.toml").write_text('budget = "9evals"\nworkers = 1\n[optimizer]\nname = "tests.toys:Steps"\n')
    settings = ("--config", "run.toml", "--set", "rng_seed=5", "--set", "limits.seconds=3", "--patience", "50", "--select", "error")
    code, out, err = call(folder, "evolve", "line", *settings, "--rng-seed", "6", "--target", "-1", "--json")
    assert code == 0, err
    run = Path(json.loads(out.splitlines()[-1])["run"])
    assert run.parts[0] == "runs"
    with SqliteStore.open(folder / run, read_only=True) as store:
        config = next(iter(store.read())).data["config"]
    assert config["rng_seed"] == 6, "flags win over --set"
    assert config["workers"] == 1
    assert config["limits"] == {"seconds": 3}
    assert (config["patience"], config["target"], config["select"]) == (50, -1.0, "error")
    again = ("--config", "run.toml", "--from", str(run), "--out", "second", "--workers", "2", "--json")
    code, out, err = call(folder, "evolve", "line", *again)
    assert code == 0, err
    best = json.loads((folder / run / "summary.json").read_text())["best"]["id"]
    assert json.loads(out.splitlines()[-1])["seed"]["id"] == best


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evolve", "nothing.py"], "error: nothing.py: no such file, folder or bundled task"),
        (["evolve", "line", "--budget", "5 apples"], "error: budget: '5 apples' is not an amount"),
        (["evolve", "line", "--budget", "1evals"], "cannot fit the seed, one child and the test split"),
        (["evolve", "line", "--set", "workrs=2"], "error: --set: the key 'workrs' is unknown"),
        (["evolve", "line", "--workers", "0"], "workers is 0"),
        (["evolve", "line", "--workers", "two"], "Invalid value for '--workers'"),
        (["evolve", "line", "--config", "no.toml"], "error: no.toml: the config file cannot be read"),
        (["evolve", "line", "--optimizer", "nope"], "error: optimizer: there is no 'nope'"),
        (["resume", "nowhere"], "error: nowhere: no such run folder"),
        (["show", "line"], "not a run folder"),
        (["score", "line", "nothing.py"], "cannot be read as the parameter 'f'"),
        (["doctor", "--require", "L9"], "error: --require L9: this version has the levels L1, L2, L3"),
        (["init", "line"], "error: line: it exists already"),
    ],
)
def test_bad_input_exits_with_2_and_one_sentence(folder: Path, arguments: list[str], message: str):
    before = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    code, out, err = call(folder, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_seed_that_fails_shows_its_own_traceback(folder: Path):
    write_task(folder / "bad", seed="def f(x):\n    return {}['missing']\n")
    code, _, err = call(folder, "evolve", "bad", "--budget", "5evals", *STEPS)
    assert code == 2
    assert "return {}['missing']" in err
    assert "KeyError" in err
    assert not (folder / "runs").exists()


def test_no_scored_child_exits_with_1(folder: Path):
    code, out, _ = call(folder, "evolve", "line", "--budget", "4evals", "--optimizer", "tests.toys:Crashing", "--json")
    assert code == 1
    assert json.loads(out.splitlines()[-1])["status"] == "failed"
    code, out, _ = call(folder, "evolve", "line", "--budget", "4evals", "--optimizer", "tests.toys:Nothing")
    assert code == 1
    assert "no child could be scored: no idea" in out


def wait_for(folder: Path, evaluations: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if is_run_folder(folder):
            with SqliteStore.open(folder, read_only=True) as store:
                if sum(event.kind == "admitted" for event in store.read()) >= evaluations:
                    return
        time.sleep(0.05)
    raise AssertionError("the run did not get that far")


def test_ctrl_c_ends_cleanly_with_the_best_and_how_to_go_on(folder: Path):
    process = popen(folder, "evolve", "line", "--budget", "12evals", "--out", "run", "--optimizer", "tests.toys:Slow")
    wait_for(folder / "run", 3)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130, err
    assert out.splitlines()[0] == "interrupted: stopped by hand"
    assert "agentopt resume run" in out
    code, out, _ = call(folder, "resume", "run", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["evaluations"] == 12


def test_killed_and_resumed_is_the_uninterrupted_run(folder: Path):
    settings = ("--budget", "12evals", "--workers", "1", "--rng-seed", "4", *STEPS)
    assert call(folder, "evolve", "line", "--out", "whole", *settings)[0] == 0
    process = popen(folder, "evolve", "line", "--out", "killed", *settings)
    wait_for(folder / "killed", 4)
    process.kill()
    process.communicate()
    code, out, err = call(folder, "resume", "killed", "--json")
    assert code == 0, err
    logs = []
    for name in ("whole", "killed"):
        with SqliteStore.open(folder / name, read_only=True) as store:
            logs.append(canonical(store.read()))
    assert logs[0] == logs[1]
    code, out, err = call(folder, "resume", "killed")
    assert code == 0
    assert "killed is finished (budget: the budget is spent); to go on: agentopt resume killed --budget +500evals" in err
    code, out, err = call(folder, "resume", "killed", "--budget", "+3evals", "--json")
    assert json.loads(out.splitlines()[-1])["evaluations"] == 15


def test_init_check_evolve_score_and_apply(folder: Path):
    code, out, _ = call(folder, "init", "sine")
    assert code == 0
    assert "agentopt check sine && agentopt evolve sine" in out
    code, out, err = call(folder, "check", "sine")
    assert code == 0, out + err
    assert "no canary was found" in out
    code, out, _ = call(folder, "check", "sine", "--json")
    assert json.loads(out.splitlines()[-1])["ok"] is True
    code, out, err = call(folder, "evolve", "sine", "--budget", "60evals", "--out", "run", "--json", "--rng-seed", "1")
    assert code == 0, err
    assert err.splitlines()[0] == "no model named: searching with mutate + tune, no language model involved"
    found = json.loads(out.splitlines()[-1])
    assert found["best"]["test"]["error"] < found["seed"]["test"]["error"]
    code, out, _ = call(folder, "score", "sine", "run/best", "--split", "test", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["scores"]["error"] == pytest.approx(found["best"]["test"]["error"])
    code, out, _ = call(folder, "apply", "run", "--yes")
    assert code == 0, out
    code, out, _ = call(folder, "score", "sine", "sine/seed.py")
    assert code == 0
    assert f"test: error {found['best']['test']['error']:.6g}; sandbox L2 (landlock-" in out
    write_task(folder / "bad", TASK_FILE, seed="def f(x):\n    return None.x\n")
    code, out, _ = call(folder, "check", "bad")
    assert code == 1
    assert out.lstrip().startswith("wrong")
    code, out, _ = call(folder, "score", "bad", "bad/seed.py")
    assert code == 1
    assert "crash" in out


@pytest.mark.thorough
def test_doctor_runs_the_attacks(folder: Path):
    code, out, err = call(folder, "doctor", "--require", "L2")
    assert code == 0, out + err
    rows = {line.split("  ")[0]: line.split("  ", 1)[1].split() for line in out.splitlines() if "stopped" in line}
    assert rows["an endless loop"] == ["stopped", "stopped", "the", "guard"]
    assert rows["listing your home folder"] == ["NOT", "stopped", "stopped", "landlock"], "level 1 does not hide it, and says so"
    code, out, _ = call(folder, "doctor", "--json", "--require", "L1")
    found = json.loads(out.splitlines()[-1])
    assert (code, found["holds"], found["levels"]["L2"]["holds"]) == (0, True, True)
    assert {"name", "outcome", "stopped", "promised", "by"} == set(found["levels"]["L1"]["attacks"][0])
