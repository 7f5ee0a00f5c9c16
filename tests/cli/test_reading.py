from __future__ import annotations

from pathlib import Path

import pytest

from agentopt.cli.reading import open_log
from agentopt.core.errors import StoreError
from tests.cli.logs import Log, finished


def test_an_id_that_the_log_does_not_hold(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run")
    with open_log(folder) as log, pytest.raises(StoreError, match="holds no candidate nobody"):
        log.entry("nobody")


def test_an_ask_that_was_cut_off_is_the_one_that_was_asked_again(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    log.store.append("asked", {"index": 0, "seen": 1})
    log.store.append("resumed", {"budget": {"evals": 40.0}})
    log.propose({"guess": "a = 2\n"})
    with open_log(log.close()) as found:
        assert found.asks[0].seq == found.state.events - 1


def test_a_log_that_grows_while_it_is_looked_at(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    with open_log(log.folder) as found:
        before = list(found.ids)
        log.propose({"guess": "a = 2\n"})
        assert found.ids == before
        assert found.standing().word == "running"
    with open_log(log.folder) as again:
        assert len(again.ids) == len(before) + 1
    log.close()
