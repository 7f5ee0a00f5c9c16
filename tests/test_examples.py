"""Examples run as they stand, from a folder of their own; those of one room are run by its tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT, clean_environment

EXPECTED = {
    "optimize_pipeline": ["test score: best - seed = +1 (", "+In which country is it? Answer with its name alone.", "Italy"],
    "release_dates": ["budget {'end': "],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_says_what_it_should(name: str, tmp_path: Path) -> None:
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[name]:
        assert text in done.stdout


def test_a_workflow_and_its_improvement_are_fifteen_lines() -> None:
    source = (ROOT / "examples" / "optimize_pipeline.py").read_text()
    body = source.partition("def improve(client, base_url):\n")[2].partition("\n\n\ndef play")[0]
    assert 10 <= len([line for line in body.splitlines() if line.strip()]) <= 15
