"""Nothing piles up over many evaluations, a tenth of them hostile, as benchmarks/sandbox measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sandbox.leaks import faults
from tests.untraced import untraced

ROOT = Path(__file__).parents[2]


def measured(evaluations: int, level: str = "auto") -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.sandbox.leaks", "--evaluations", str(evaluations), "--level", level]
    done = subprocess.run(command, cwd=ROOT, env=untraced() | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=3600)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == bool(found["faults"])
    return found


@pytest.mark.thorough
@pytest.mark.parametrize(("evaluations", "level"), [(1000, "auto"), (200, "L1")])
def test_nothing_piles_up(evaluations, level):
    found = measured(evaluations, level)
    assert found["faults"] == []
    assert sum(found["kinds"].values()) == evaluations
    assert found["kinds"]["right"] < 0.95 * evaluations
    assert set(found["memory_last_tenth"]) == {"controller", "zygote", "guards", "spares", "scorers"}


@pytest.mark.slow
def test_nothing_piles_up_over_ten_thousand():
    assert measured(10_000)["faults"] == []


FLAT = {
    "wrong": [],
    "after_first_tenth": {"processes": {"guards": 2}, "zombies": 0, "descriptors": {"guards": 7}, "files": 1},
    "after_last_tenth": {"processes": {"guards": 2}, "zombies": 0, "descriptors": {"guards": 7}, "files": 1},
    "memory_first_tenth": {"guards": 20_000_000},
    "memory_last_tenth": {"guards": 20_000_000},
    "left_at_end": {"processes": 0, "descriptors": 0, "files": 0},
}


@pytest.mark.parametrize(
    ("part", "change", "word"),
    [
        ("wrong", ["'f = 1': crash"], "otherwise"),
        ("after_last_tenth", {"processes": {"guards": 3}}, "processes"),
        ("after_last_tenth", {"zombies": 1}, "1 zombies"),
        ("after_last_tenth", {"descriptors": {"guards": 8}}, "descriptors of guards: 7, then 8"),
        ("after_last_tenth", {"files": 2}, "files: 1, then 2"),
        ("memory_last_tenth", {"guards": 30_000_000}, "memory of guards"),
        ("left_at_end", {"files": 1}, "files left at the end: 1"),
    ],
)
def test_what_piles_up_is_said(part, change, word):
    assert faults(FLAT) == []
    (said,) = faults(FLAT | {part: FLAT[part] | change if isinstance(change, dict) else change})
    assert word in said
