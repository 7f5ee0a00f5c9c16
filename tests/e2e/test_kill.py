"""kill -9 at random instants, as benchmarks/kill does it: nothing left running, nothing lost, the same log in the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kill.run import IN_FLIGHT
from tests.untraced import untraced

ROOT = Path(__file__).parents[2]


def killed(times: int, rng_seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.kill.run", "--times", str(times), "--rng-seed", str(rng_seed)]
    environment = untraced() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--budget", "25evals"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_few_kills_of_the_controller_and_of_the_whole_tree():
    verdict = killed(2, rng_seed=11)
    assert verdict["kills"] == 4
    assert verdict["left_alive"] == verdict["not_identical"] == verdict["bad_exit"] == 0
    assert verdict["most_rollouts_repeated"] <= IN_FLIGHT


@pytest.mark.slow
def test_fifty_kills_of_each_kind():
    verdict = killed(50, rng_seed=12)
    assert verdict["kills"] == 100
