"""A cheap look at the files under an open log: SQLite itself would go on writing into a file that was deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agentopt.core.errors import StoreError

__all__ = ["FileWatch"]

_INTERVAL = 0.1


class FileWatch:
    """Remembers which files ``paths`` are and how long; none may be replaced or get shorter."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._next = 0.0
        self._seen: dict[Path, tuple[int, int, int]] = {path: self._look(path) for path in paths}

    def check(self, now: bool = False) -> None:
        """Raise StoreError when a file was deleted, replaced or truncated; looks at most every 100 ms unless ``now``."""
        moment = time.monotonic()
        if moment < self._next and not now:
            return
        self._next = moment + _INTERVAL
        for path in self._paths:
            device, inode, size = self._look(path)
            before = self._seen[path]
            if (device, inode) != before[:2]:
                raise _tampered(path, "was replaced")
            if size < before[2]:
                raise _tampered(path, f"was cut from {before[2]} to {size} bytes")
            self._seen[path] = (device, inode, size)

    @staticmethod
    def _look(path: Path) -> tuple[int, int, int]:
        try:
            found = os.stat(path)
        except OSError as error:
            raise _tampered(path, "was deleted" if isinstance(error, FileNotFoundError) else f"is unreachable: {error.strerror}") from error
        return found.st_dev, found.st_ino, found.st_size


def _tampered(path: Path, what: str) -> StoreError:
    return StoreError(
        f"run {path.parent}: {path.name} {what} while this process worked on it; the run stops here, start it anew in another folder"
    )
