from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import pytest

from agentopt.core.errors import StoreError
from agentopt.store import layout
from agentopt.store.layout import is_run_folder, list_runs, new_run_folder, read_summary, write_best, write_summary
from agentopt.store.sqlite import SqliteStore


def test_new_folder_is_named_after_task_and_time(tmp_path: Path) -> None:
    folder = new_run_folder(tmp_path / "runs", "bin_packing")
    assert folder.is_dir()
    assert re.fullmatch(r"bin_packing-\d{8}-\d{6}", folder.name)


@pytest.mark.parametrize(("task", "stem"), [("a b/../c", "a-b-..-c"), ("../..", "run"), ("ключ", "run"), ("", "run")])
def test_any_task_name_gives_a_plain_folder_name(tmp_path: Path, task: str, stem: str) -> None:
    folder = new_run_folder(tmp_path, task)
    assert folder.parent == tmp_path
    assert folder.name.rsplit("-", 2)[0] == stem


def test_two_in_one_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout.time, "strftime", lambda form: "20260102-030405")
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(new_run_folder(tmp_path, "t"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {folder.name for folder in found} == {"t-20260102-030405", *(f"t-20260102-030405-{n}" for n in range(2, 9))}


def test_new_folder_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file.*; check the path"):
        new_run_folder(tmp_path / "file", "t")


def test_runs_are_listed_in_the_order_they_began(tmp_path: Path) -> None:
    names = ["b-20260102-030405", "a-20260102-030406", "a-20260102-030406-2", "a-20260102-030406-10", "mine"]
    for name in reversed(names):
        SqliteStore.create(tmp_path / name).close()
    (tmp_path / "no run").mkdir()
    (tmp_path / "file").touch()
    assert [folder.name for folder in list_runs(tmp_path)] == ["mine", *names[:-1]]
    assert not list_runs(tmp_path / "absent")
    assert is_run_folder(tmp_path / "mine")
    assert not is_run_folder(tmp_path / "no run")


def test_summary_comes_back(tmp_path: Path) -> None:
    write_summary(tmp_path, {"best": 1.5})
    write_summary(tmp_path, {"best": 1.25, "status": "budget"})
    assert read_summary(tmp_path) == {"best": 1.25, "status": "budget"}
    assert os.listdir(tmp_path) == ["summary.json"]
    assert (tmp_path / "summary.json").read_text().endswith("}\n")


def test_summary_that_is_absent_or_broken(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"summary.json: No such file"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(StoreError, match=r"summary.json is not JSON; delete it and print it anew with: agentopt show"):
        read_summary(tmp_path)


def test_summary_is_never_seen_half_written(tmp_path: Path) -> None:
    sizes = {"a": "x" * 200_000, "b": "y" * 200_000}
    write_summary(tmp_path, sizes)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            write_summary(tmp_path, sizes)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(100):
            assert json.loads((tmp_path / "summary.json").read_text()) == sizes
    finally:
        stop.set()
        thread.join()


def test_best_files(tmp_path: Path) -> None:
    write_best(tmp_path, {"priority.py": "old\n"})
    write_best(tmp_path, {"priority.py": "new\n", "pkg/a.py": "\ud800é\r\n"})
    assert (tmp_path / "best/priority.py").read_text() == "new\n"
    assert (tmp_path / "best/pkg/a.py").read_bytes() == b"\xed\xa0\x80\xc3\xa9\r\n"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", "."])
def test_best_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="use a relative path inside it"):
        write_best(tmp_path, {name: "text"})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_no_rest(tmp_path: Path) -> None:
    (tmp_path / "best/x.py").mkdir(parents=True)
    with pytest.raises(StoreError, match="directory"):
        write_best(tmp_path, {"x.py": "text"})
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["x.py"]
