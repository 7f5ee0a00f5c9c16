from __future__ import annotations

from pathlib import Path

import pytest

from agentopt.core.errors import StoreError
from agentopt.store.find import find_run
from agentopt.store.sqlite import SqliteStore


def test_a_run_folder_is_itself(tmp_path: Path) -> None:
    SqliteStore.create(tmp_path / "run").close()
    assert find_run(tmp_path / "run") == tmp_path / "run"


def test_the_only_run_in_a_folder(tmp_path: Path) -> None:
    SqliteStore.create(tmp_path / "run").close()
    (tmp_path / "other").mkdir()
    assert find_run(tmp_path) == tmp_path / "run"


def test_several_runs_name_the_latest(tmp_path: Path) -> None:
    for name in ("b-20260101-000000", "a-20260102-000000"):
        SqliteStore.create(tmp_path / name).close()
    with pytest.raises(StoreError, match=r"holds 2 runs; name one of them, the latest is .*a-20260102-000000"):
        find_run(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"not a run folder \(it holds no run.db\)"):
        find_run(tmp_path)
    with pytest.raises(StoreError, match="no such run folder"):
        find_run(tmp_path / "absent")
