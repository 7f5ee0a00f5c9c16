"""Limits and environment of each level."""

from __future__ import annotations

import os
import resource

import pytest

from agentopt.core.task import Limits
from agentopt.sandbox import kernel, walls
from tests.sandbox.test_kernel import in_child

CAPS = walls.caps_of(Limits(memory_mb=100, file_mb=2, output_mb=3, printed_mb=0.5))


def limits() -> dict[int, tuple[int, int]]:
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)
    return {kind: resource.getrlimit(kind) for kind in kinds}


def test_caps_are_in_bytes():
    assert CAPS == (100 << 20, 2 << 20, 3 << 20, 1 << 19)


def test_a_box_has_its_limits_and_cannot_lift_them():
    def raised() -> bool:
        size = walls._address_space()
        walls.raise_walls("L1", CAPS)
        now = limits()
        return (
            size < now[resource.RLIMIT_AS][1] <= size + (101 << 20)
            and now[resource.RLIMIT_FSIZE] == (2 << 20, 2 << 20)
            and now[resource.RLIMIT_NOFILE] == (256, 256)
            and now[resource.RLIMIT_CORE] == (0, 0)
        )

    assert in_child(raised) == 0


def test_a_limit_of_the_users_is_never_widened():
    def narrow() -> bool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        walls.raise_walls("L1", CAPS)
        return resource.getrlimit(resource.RLIMIT_FSIZE) == (1000, 1000)

    assert in_child(narrow) == 0


def test_a_worker_has_none():
    def unchanged() -> bool:
        before = limits()
        walls.raise_walls("worker", CAPS)
        return limits() == before

    assert in_child(unchanged) == 0


def test_the_environment_of_a_box_is_a_short_list(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    box = walls.environment("L1")
    assert {"OPENAI_API_KEY", "PYTHONPATH", "LD_PRELOAD"}.isdisjoint(box)
    assert box["OMP_NUM_THREADS"] == "1"
    worker = walls.environment("worker")
    assert (worker["OPENAI_API_KEY"], worker["OMP_NUM_THREADS"]) == ("secret", "1")


@pytest.mark.parametrize("hard", [resource.RLIM_INFINITY, 50])
def test_the_second_clock_counts_from_now(hard):
    def clocked() -> bool:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        walls.allow_cpu(os.getpid(), 10)
        cores = os.cpu_count() or 1
        return resource.getrlimit(resource.RLIMIT_CPU)[0] in (range(10 * cores, 10 * cores + 30) if hard != 50 else range(10, 51))

    assert in_child(clocked) == 0


def test_elsewhere_there_is_no_second_clock_and_a_guess_at_the_size(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_CPU)
    monkeypatch.setattr(kernel, "LINUX", False)
    walls.allow_cpu(os.getpid(), 1)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before

    def refuse(*arguments):
        raise OSError

    monkeypatch.setattr("builtins.open", refuse)
    assert walls._address_space() == 1 << 30
