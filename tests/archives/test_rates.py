"""What ``add`` costs does not depend on how many candidates there have been."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.untraced import untraced

SPEED = """
import sys, time
from random import Random
from statistics import median
from agentopt.core.evaluation import Rollout
from agentopt.core.task import Measure
from tests.archives.making import context, scored
from agentopt import plugins
options = {"archive": "grid"} if sys.argv[2:] else {}
archive = plugins.resolve("archives", sys.argv[1])(context(["max"], [Measure("m", 0.0, 1.0, 5), Measure("n", 0.0, 1.0, 5)], **options))
rng, medians = Random(0), []
for turn in range(6):
    taken = []
    for k in range(700):
        cases = [float(rng.random() < 0.5) for _ in range(9)]
        new = scored(f"{turn}:{k}", *cases, turn + rng.random(), measures=[{"m": rng.random(), "n": rng.random()}])
        parents = archive.sample(2, rng)
        begin = time.thread_time()
        archive.admits(new)
        archive.add(new)
        archive.sample(2, rng)
        taken.append(time.thread_time() - begin)
    medians.append(sorted(taken)[len(taken) // 4])
print(min(medians[1:3]), min(medians[4:]))
"""


@pytest.mark.parametrize("name", ["grid", "islands", "islands grid", "case_front"])
def test_a_call_costs_the_same_after_thousands(name):
    """CPU time, the lower quartile of the better of two turns, in a process that nothing traces."""
    done = subprocess.run([sys.executable, "-c", SPEED, *name.split()], capture_output=True, text=True, check=True, env=untraced())
    early, late = map(float, done.stdout.split())
    assert late < 2.5 * early + 5e-6
    assert late < 2e-3
