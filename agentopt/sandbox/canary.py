"""Looks for planted secrets from inside a box: in its environment and in all of its memory."""

from __future__ import annotations

import os
import re

__all__ = ["MARKER", "find_canary"]

MARKER = "agentopt-canary-"
_PATTERN = re.compile(MARKER.encode() + rb"[0-9a-f]{32}")


def find_canary() -> str | None:
    """Where a canary (the marker and 32 hex digits) was found, or None. Linux; raises OSError without /proc."""
    environment = repr(dict(os.environ)).encode()
    if found := _PATTERN.search(environment):
        return f"{found[0].decode()} in the environment"
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if not mode.startswith("r") or "[v" in line:
                continue
            low, high = (int(edge, 16) for edge in span.split("-"))
            try:
                memory.seek(low)
                found = _PATTERN.search(memory.read(high - low))
            except OSError:
                continue  # a region that went away or cannot be read holds nothing the candidate can read either
            if found:
                return f"{found[0].decode()} in memory"
    return None
