from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.logs import Log, finished, refused, shown

TWO = {"guess": "def guess(x):\n    return x\n", "knobs": {"rate": 0.1}}


def test_one_parameter_goes_into_one_file(tmp_path: Path) -> None:
    folder, _, best = finished(tmp_path / "run")
    target = tmp_path / "new" / "best.py"
    assert shown("export", folder, "--best", target) == f"wrote {target} (candidate {best})\n"
    assert target.read_text() == "def guess(x):\n    return 3 * x\n"
    assert [path.name for path in target.parent.iterdir()] == ["best.py"]


def test_into_a_folder_that_is_there(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run")
    shown("export", folder, tmp_path)
    assert (tmp_path / "guess.py").read_text() == "def guess(x):\n    return 3 * x\n"


def test_another_candidate(tmp_path: Path) -> None:
    folder, seed, _ = finished(tmp_path / "run")
    shown("export", folder, "--candidate", seed[:6], tmp_path / "seed.py")
    assert (tmp_path / "seed.py").read_text() == "def guess(x):\n    return x\n"
    assert "give one of them" in refused("export", folder, "--best", "--candidate", "seed", tmp_path / "x.py")


def test_artifacts_are_listed_and_written(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    rollout = {"candidate": seed, "case": "a/b", "split": "train", "repeat": 1, "rng_seed": 1, "measured": [0, 0, 0]}
    log.store.append("rollout", {**rollout, "artifacts": {"table.csv": log.store.put(b"1,2"), "p.png": log.store.put(b"\xff")}})
    folder = log.stop("interrupted", "stopped by hand")
    assert "a/b: p.png, table.csv" in shown("why", folder, "seed")
    target = tmp_path / "kept"
    text = shown("export", folder, "--candidate", "seed", "--artifacts", target)
    assert f"wrote {target}/a_b-1-table.csv (candidate {seed})" in text
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"a_b-1-table.csv": b"1,2", "a_b-1-p.png": b"\xff"}
    other, *_ = finished(tmp_path / "other")
    assert "kept no artifacts" in refused("export", other, "--artifacts", tmp_path / "x")


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run")
    target = tmp_path / "mine.py"
    target.write_text("mine")
    target.chmod(0o750)
    assert "--force" in refused("export", folder, target)
    assert target.read_text() == "mine"
    shown("export", folder, target, "--force")
    assert "3 * x" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o750


def test_several_parameters(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run", seed=TWO)
    shown("export", folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "knobs.json").read_text()) == {"rate": 0.1}
    assert "3 * x" in (tmp_path / "out" / "guess.py").read_text()
    shown("export", folder, tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text()) == {"guess": "def guess(x):\n    return 3 * x\n", "knobs": {"rate": 0.1}}
    assert "exists already" in refused("export", folder, tmp_path / "out")


def test_a_log_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    parameters = [{"name": "guess", "kind": "code", "file": "../guess.py"}]
    log = Log(tmp_path / "run", parameters=parameters)
    log.add_seed()
    (tmp_path / "out").mkdir()
    assert "outside" in refused("export", log.stop(), tmp_path / "out")
    assert not (tmp_path / "guess.py").exists()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run")
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused("export", folder, tmp_path / "file" / "x.py")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert "cannot be written" in refused("export", folder, closed / "x.py")


def test_a_run_without_a_best(tmp_path: Path) -> None:
    assert "has no best yet" in refused("export", Log(tmp_path / "run").kill(), tmp_path / "x.py")
