"""What docs/stepper.md tells people to write works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.house.source import ROOT, clean_environment

DOCUMENT = (ROOT / "docs" / "stepper.md").read_text()


def test_the_example_runs_twice(tmp_path: Path):
    match = re.search(r"<!-- example: stepper.py -->\n```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert match
    (tmp_path / "stepper.py").write_text(match[1])
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    told: list[list[str]] = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "stepper.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        told.append(done.stdout.splitlines())
    first, again = told
    assert len(first) == 13
    assert first[0].startswith("step 1: admitted; now trying ")
    assert "the run ended: the budget is spent" in first[-2]
    assert again == first[-1:], "a run that has ended gives its best"
