"""Unix time that nobody can set: how long things took is read from it, and budgets are kept by it."""

from __future__ import annotations

import time

__all__ = ["SteadyClock"]


class SteadyClock:
    """The machine's time when the clock was made, and what has passed since, whatever becomes of the machine's time."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._offset
