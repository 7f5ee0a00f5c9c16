"""What users may rely on: the public names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import agentopt
from tests.house.source import PACKAGE, clean_environment

PUBLIC = [
    "AgentoptError",
    "Candidate",
    "Case",
    "Limits",
    "Measure",
    "Objective",
    "Parameter",
    "Proposal",
    "Reject",
    "Result",
    "RunFailed",
    "Score",
    "Stepper",
    "Task",
    "UserError",
    "aevolve",
    "evolve",
    "load_run",
    "load_task",
    "optimize",
    "param",
    "record",
    "resume",
    "traced",
    "trainable",
]


def test_the_public_names_are_these_and_few() -> None:
    assert agentopt.__all__ == PUBLIC, "a public name is a promise: change this list only with an entry in CHANGELOG.md"
    assert len(PUBLIC) <= 25
    assert set(PUBLIC) < set(dir(agentopt))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_resolves(name: str) -> None:
    assert getattr(agentopt, name).__name__.lower() == name.lower()


def test_all_names_come_with_a_star_import() -> None:
    code = "from agentopt import *; import agentopt; assert set(agentopt.__all__) <= set(dir())"
    subprocess.run([sys.executable, "-c", code], env=clean_environment(), check=True)


def test_no_public_name_is_hidden_by_a_part_of_the_package() -> None:
    parts = {path.stem for path in PACKAGE.iterdir()}
    assert not parts & set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'evolv'"):
        agentopt.evolv  # noqa: B018
