"""The folder that a box works in: empty, but for the task's files, for every candidate."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from agentopt.sandbox.files import copy_files, remove_folder
from agentopt.sandbox.walls import Walls

__all__ = ["Scratch"]


class Scratch:
    """A guard's folders, one after another, made in ``folder``.

    One that is a file system of its own and was never touched is used again: most candidates write nothing.
    """

    def __init__(self, folder: Path, walls: Walls) -> None:
        self._folder = folder
        self._walls = walls
        self._path = ""
        self._size = 0
        self._changed = 0

    def open(self, size: int, files: Iterable[str]) -> str:
        """Its path; copies of ``files`` lie in it, and it holds ``size`` bytes where that can be had. Raises OSError."""
        if not self._path or size != self._size:
            self.close()
            path = f"{self._folder}/{os.getpid()}-{secrets.token_hex(8)}"
            os.mkdir(path, 0o700)
            self._path = path
            self._size = size
            self._walls.furnish(path, size)
            copy_files(files, path)
            self._walls.own(path)
            self._changed = os.stat(path).st_ctime_ns
        return self._path

    def clear(self) -> None:
        """After the end of everything in the box."""
        if not self._walls.bounded or self._is_touched():
            self.close()

    def _is_touched(self) -> bool:
        """Whoever makes, renames or removes something in a folder changes a time of it that cannot be set back."""
        try:
            return bool(os.listdir(self._path)) or os.stat(self._path).st_ctime_ns != self._changed
        except OSError:
            return True

    def close(self) -> None:
        """May be called twice."""
        path, self._path = self._path, ""
        if path:
            self._walls.clear(path)
            remove_folder(path)
