"""Random numbers without generator state: every use names its stream."""

from __future__ import annotations

import hashlib
from random import Random

__all__ = ["rollout_seed", "stream"]


def stream(rng_seed: int, name: str, index: int) -> Random:
    """The generator for use ``index`` of stream ``name``; equal arguments give equal generators on every machine."""
    return Random(f"{rng_seed}:{name}:{index}")


def rollout_seed(rng_seed: int, case: str, repeat: int) -> int:
    """The 32-bit seed of a rollout: the same for parent and child, so that comparisons are paired."""
    digest = hashlib.sha256(f"{rng_seed}:{case}:{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
