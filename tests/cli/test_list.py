from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.logs import Log, finished, invoke, last_json, refused, shown
from tests.toys import write_task


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "tasks"
    root.mkdir()
    monkeypatch.setattr("agentopt.loading.bundled_root", lambda room: root)
    return root


def test_tasks_with_their_goal_and_path(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(bundled / "line")
    write_task(bundled / "broken", "import nothing_of_this_name\n")
    monkeypatch.chdir(bundled.parent)
    text = shown("list")
    assert "Find the line through the points." in text
    assert "tasks/line/task.py" in text
    assert "\n/" not in text
    assert "cannot be imported" in text
    rows = last_json(shown("list", "tasks", "--json"))["tasks"]
    assert [row["name"] for row in rows] == ["broken", "line"]
    assert rows[1] == {"name": "line", "goal": "Find the line through the points.", "path": str(bundled / "line" / "task.py")}
    assert "nothing_of_this_name" in rows[0]["error"]


def test_tasks_elsewhere_are_shown_with_their_whole_path(bundled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_task(bundled / "line")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "line/task.py" in shown("list", "tasks").replace("\n", "")


def test_no_tasks(bundled: Path) -> None:
    result = invoke("list")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "there are no tasks here" in result.stderr


def test_optimizers_are_the_files_of_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentopt.plugins.names", lambda room: {"mutate": "Small changes.", "tune": "Numbers."})
    assert [line.split() for line in shown("list", "optimizers").splitlines()[1:]] == [
        ["mutate", "Small", "changes."],
        ["tune", "Numbers."],
    ]
    assert last_json(shown("list", "optimizers", "--json"))["optimizers"][0] == {"name": "mutate", "about": "Small changes."}


def test_runs_good_and_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    finished(runs / "toy-20250101-000000")
    log = Log(runs / "toy-20250102-000000")
    log.add_seed()
    log.kill()
    Log(runs / "toy-20250103-000000").kill()
    damaged, *_ = finished(runs / "damaged")
    connection = sqlite3.connect(damaged / "run.db")
    connection.execute("DELETE FROM events WHERE seq = 3")
    connection.commit()
    connection.close()
    (runs / "notes").mkdir()
    (runs / ".hidden").mkdir()
    (runs / "file").write_text("")
    foreign = runs / "foreign"
    foreign.mkdir()
    sqlite3.connect(foreign / "run.db").execute("CREATE TABLE t (x)").connection.close()
    text = shown("list", "runs", runs)
    rows = [line.split()[1:] for line in text.splitlines() if "toy-" in line]
    assert rows[0][:6] == ["toy", "budget", "4", "error", "2", "->"]
    assert rows[1][:3] == ["toy", "cut", "off"]
    assert rows[2][-4:-1] == ["-", "->", "-"]
    assert "after event 2 (last good)" in text
    assert f"{runs / 'notes'}: not a run: it holds no run.db" in text
    assert "another program" in text
    assert "hidden" not in text
    found = last_json(shown("list", "runs", runs, "--json"))["runs"]
    assert len(found) == 6
    assert [row["standing"] for row in found if "error" not in row] == ["budget", "cut off", "cut off"]
    assert sum("error" in row for row in found) == 3


def test_only_unreadable_runs(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert shown("list", "runs", tmp_path) == f"{tmp_path / 'notes'}: not a run: it holds no run.db\n"


def test_a_run_folder_is_a_list_of_one(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run")
    assert [row["folder"] for row in last_json(shown("list", "runs", folder, "--json"))["runs"]] == [str(folder)]


def test_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("list", "runs")
    assert result.exit_code == 0
    assert "agentopt evolve TASK makes one" in result.stderr
    assert last_json(shown("list", "runs", "--json")) == {"runs": []}
    assert "no such folder" in refused("list", "runs", tmp_path / "missing")


def test_what_cannot_be_listed(tmp_path: Path) -> None:
    assert "write tasks, runs, optimizers or archives" in refused("list", "walls")
    assert "takes no folder" in refused("list", "tasks", tmp_path)
