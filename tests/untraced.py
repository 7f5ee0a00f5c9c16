"""The environment of processes that are timed or killed: no tracer slows them or leaves half a file."""

from __future__ import annotations

import os

__all__ = ["untraced"]


def untraced() -> dict[str, str]:
    """Nor does a pytest in such a process measure anything: it would begin by removing what the outer one has measured so far."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "PYTEST_ADDOPTS"))}
