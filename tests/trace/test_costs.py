"""What recording may cost: in a process that nobody measures or traces, beside a floor. Also that the page on traces says what is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.untraced import untraced

ROOT = Path(__file__).resolve().parents[2]


def figures(*calls):
    code = f"import json; from benchmarks.trace.ours import *; print(json.dumps({{{', '.join(f'**{call}' for call in calls)}}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=untraced(), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_calls_and_operations_are_cheap():
    found = figures("costs(5000, 5)")
    assert found["traced call, us"] <= 5
    assert found["traced call / floor"] <= 8
    assert found["off over plain, us"] <= 0.3
    assert found["proxy operation, us"] <= 2


def test_nodes_are_small():
    found = figures("memory(5_000)", "no_cross_talk(4, 300, 20)")
    assert found["record, bytes/node"] <= 400
    assert found["graph, bytes/node"] <= 400
    assert found["proxies, bytes/node"] <= 400
    assert found["traces with cross-talk"] == 0


@pytest.mark.thorough
def test_nothing_is_quadratic():
    found = figures("linearity(2)")
    assert found["subgraph, 100000, s"] <= 0.3
    assert found["backward of proxies, 100000, s"] <= 0.3
    assert found["backward of a trace, 100000, s"] <= 0.3
    assert found["backward of each row of a trace, 100000, s"] <= 0.5  # 1,000 times
    for what in ("s", "a trace, s", "proxies, s"):
        assert found[f"fan-in of 10000, {what}"] <= 0.1
    for what in ("subgraph", "backward of proxies", "graph of proxies", "backward of a trace", "backward of each row of a trace"):
        assert found[f"{what}, 100k / 10k"] <= 20  # caches that overflow; what is quadratic takes 100


@pytest.mark.slow
def test_the_long_forms():
    found = figures("no_cross_talk()", "million()", "linearity(5)")
    assert found["traces with cross-talk"] == 0
    assert found["load 1M, most resident, MB"] <= 600
    assert found["subgraph, 100k / 10k"] <= 13


def test_tracing_a_workflow_of_slow_models_is_not_noticed():
    assert figures("overhead(4, 3)")["CPU that tracing adds, %"] <= 1


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", (ROOT / "docs/trace.md").read_text(), re.DOTALL))
def test_the_examples_of_the_page_run(example, tmp_path):
    file = tmp_path / "example.py"
    file.write_text(example)
    done = subprocess.run([sys.executable, str(file)], env=untraced() | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
