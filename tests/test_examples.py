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
FRAMEWORKS = {
    "adapters_dspy": ("dspy", ["test score: best - seed = +1 (", "+Answer with the number in millions.", "\n2.8 million"]),
    "adapters_langgraph": ("langgraph", ["test score: best - seed = +1 (", "+Answer with the number in millions.", "\n2.8 million"]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_says_what_it_should(name: str, tmp_path: Path) -> None:
    run(name, EXPECTED[name], tmp_path)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_example_of_a_framework_says_what_it_should(name: str, tmp_path: Path) -> None:
    framework, expected = FRAMEWORKS[name]
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    run(name, expected, tmp_path)


def run(name: str, expected: list[str], folder: Path) -> None:
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for text in expected:
        assert text in done.stdout


def test_a_workflow_and_its_improvement_are_fifteen_lines() -> None:
    source = (ROOT / "examples" / "optimize_pipeline.py").read_text()
    body = source.partition("def improve(client, base_url):\n")[2].partition("\n\n\ndef play")[0]
    assert 10 <= len([line for line in body.splitlines() if line.strip()]) <= 15
