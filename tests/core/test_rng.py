from __future__ import annotations

import hashlib
from itertools import product

from agentopt.core.rng import rollout_seed, stream


def test_equal_names_give_equal_streams() -> None:
    assert [stream(1, "ask", 3).random() for _ in range(2)] == [stream(1, "ask", 3).random() for _ in range(2)]


def test_streams_do_not_share_numbers() -> None:
    names = list(product((0, 1), ("ask", "told"), range(20)))
    assert len({stream(*name).random() for name in names}) == len(names)


def test_streams_are_the_same_on_every_machine() -> None:
    assert stream(0, "ask", 0).random() == 0.7272446427320493


def test_rollout_seed_is_paired_and_spread() -> None:
    assert rollout_seed(7, "c1", 0) == rollout_seed(7, "c1", 0)
    seeds = {rollout_seed(run, case, repeat) for run, case, repeat in product((0, 1), ("a", "b"), range(50))}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_rollout_seeds_are_the_same_on_every_machine() -> None:
    assert rollout_seed(0, "c1", 0) == int.from_bytes(hashlib.sha256(b"0:c1:0").digest()[:4], "big") == 3610931021
