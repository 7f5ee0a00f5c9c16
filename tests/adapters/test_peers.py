"""Folders of other systems as they lie in their repositories, whose copies lie in the folder AGENTOPT_PEER_TASKS.

``AGENTOPT_PEER_TASKS=DIR pytest tests/adapters/test_peers.py``: each folder is looked for below DIR by the end of its path.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import agentopt
from agentopt.inspection import score_candidate

ROOT = os.environ.get("AGENTOPT_PEER_TASKS", "")
pytestmark = [
    pytest.mark.skipif(not ROOT, reason="AGENTOPT_PEER_TASKS names no folder with copies of other systems' repositories"),
    pytest.mark.usefixtures("level_3"),
]
CIRCLES = 0.959764
KNOWN = {
    "openevolve/examples/circle_packing_with_artifacts": (CIRCLES / 2.635, 1e-6),
    "openevolve/examples/function_minimization": (1.22, 0.25),  # it draws random numbers: 30 plain runs gave 1.005 to 1.448
    "skydiscover/benchmarks/math/circle_packing": (CIRCLES / 2.635, 1e-6),
    "ShinkaEvolve/examples/circle_packing": (CIRCLES, 1e-6),
    "reevo/problems/tsp_constructive": (6.2731, 5e-5),
}


def place_of(path: str) -> Path:
    """Repositories may have been copied under names that begin with those of their owners."""
    owner, _, rest = path.partition("/")
    found = [place for top in Path(ROOT).iterdir() if top.name.endswith(owner) and (place := top / rest).is_dir()]
    if not found:
        pytest.fail(f"there is no {path} below {ROOT}")
    return found[0]


@pytest.mark.parametrize("path", KNOWN)
def test_the_seed_scores_what_is_known(path):
    task = agentopt.load_task(place_of(path))
    found = score_candidate(task, task.seed_values)
    assert found.failure is None
    value, tolerance = KNOWN[path]
    assert next(iter(found.scores.values())) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("path", KNOWN)
def test_a_search_spends_its_budget(path):
    result = agentopt.evolve(place_of(path), budget="5evals", out=None)
    assert result.summary["evaluations"] == 5
    assert result.summary["self_reported"]
