"""The process that stands between us and an agent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentopt.llm import keeper
from tests.children import in_child


def kept(folder: Path, *words: str, most: int = 1000, before: Callable[[int], None] | None = None) -> tuple[int, bytes, bytes]:
    """Exit status, stdout and stderr of a keeper in a process of its own. ``before`` gets our end of its pipe before it begins."""
    (folder / "agent").mkdir()
    (folder / "agent" / "deep").mkdir(mode=0)

    def run() -> tuple[int, bytes, bytes]:
        listen, control = os.pipe()
        before(control) if before else os.write(control, b"\0")
        out, err = os.memfd_create("out"), os.memfd_create("err")
        os.dup2(out, 1)
        os.dup2(err, 2)
        with pytest.raises(SystemExit) as ended:
            keeper.main(str(folder / "agent"), str(listen), str(most), *words)
        status: Any = ended.value.code
        return status, os.pread(out, 1 << 20, 0), os.pread(err, 1 << 20, 0)

    found = in_child(run)
    assert not (folder / "agent").exists()
    return found


def test_what_an_agent_writes_is_handed_on_with_its_status(tmp_path: Path) -> None:
    assert kept(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")


def test_a_signal_is_told_as_a_status(tmp_path: Path) -> None:
    assert kept(tmp_path, "sh", "-c", "kill -11 $$") == (139, b"", b"")


def test_of_stdout_comes_the_beginning_and_of_stderr_the_end(tmp_path: Path) -> None:
    status, out, err = kept(tmp_path, "sh", "-c", "head -c 50000 /dev/zero >&2; echo end >&2; yes", most=10)
    assert (status, out) == (137, b"y\n" * 5 + b"y")
    assert len(err) == 16 << 10
    assert err.endswith(b"\0end\n")


def test_nothing_begins_when_the_other_side_went_first(tmp_path: Path) -> None:
    assert kept(tmp_path, "sh", "-c", "echo out", before=os.close) == (127, b"", b"")


def test_what_runs_ends_when_the_other_side_goes(tmp_path: Path) -> None:
    def go(control: int) -> None:
        os.write(control, b"\0")
        os.close(control)

    assert kept(tmp_path, "sh", "-c", "sleep 600 & sleep 600", before=go) == (137, b"", b"")


def test_what_is_left_running_ends_too(tmp_path: Path) -> None:
    assert kept(tmp_path, "sh", "-c", "(setsid sleep 600 &); (sleep 600 &); sleep 0.1; echo out") == (0, b"out\n", b"")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    assert kept(tmp_path, "/no/such/agent") == (127, b"", b"/no/such/agent: No such file or directory")


def test_a_process_that_went_has_no_threads_to_list() -> None:
    assert list(keeper._descendants(2**22 + 1)) == []
