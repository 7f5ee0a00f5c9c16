"""The gate lets nothing through that falls short, and excuses nothing that does not need it."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.house.source import PACKAGE, ROOT

_spec = importlib.util.spec_from_file_location("coverage_gate", ROOT / ".ci" / "coverage_gate.py")
assert _spec
assert _spec.loader
gate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gate)


def file(covered: int, lines: int, branches: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    summary = {"covered_lines": covered, "num_statements": lines, "covered_branches": branches[0], "num_branches": branches[1]}
    return {"summary": summary, "missing_lines": list(range(covered, lines)), "missing_branches": []}


def test_full_rooms_need_every_branch() -> None:
    assert gate.judge({"agentopt/core/task.py": file(10, 10, (4, 4))}, {}) == []
    (fault,) = gate.judge({"agentopt/core/task.py": file(10, 10, (3, 4))}, {})
    assert fault.startswith("core: agentopt/core/task.py")


def test_other_rooms_need_nine_tenths_together() -> None:
    files = {"agentopt/edits/a.py": file(10, 10), "agentopt/edits/b.py": file(8, 10)}
    assert gate.judge(files, {}) == []
    files["agentopt/edits/b.py"] = file(7, 10)
    (fault,) = gate.judge(files, {})
    assert "agentopt/edits/b.py misses lines [7, 8, 9]" in fault


def test_a_single_file_is_a_room() -> None:
    (fault,) = gate.judge({"agentopt/api.py": file(1, 10)}, {})
    assert fault.startswith("api: agentopt/api.py")


def test_an_excuse_has_to_be_needed() -> None:
    excuse = {"agentopt/sandbox/guard.py": "a reason"}
    assert gate.judge({"agentopt/sandbox/guard.py": file(1, 10)}, excuse) == []
    assert "take it off" in gate.judge({"agentopt/sandbox/guard.py": file(10, 10)}, excuse)[0]
    assert "does not exist" in gate.judge({}, excuse)[0]


@pytest.mark.parametrize("room", gate.FULL)
def test_the_full_rooms_exist(room: str) -> None:
    assert (PACKAGE / room).is_dir()


def test_excuses_are_few_and_have_reasons() -> None:
    assert len(gate.UNMEASURED) <= 4
    assert all(len(reason) > 30 for reason in gate.UNMEASURED.values())
