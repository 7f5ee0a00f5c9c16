"""Semaphores for a process that can have no children.

``multiprocessing`` asks for some also where it starts nothing but threads (``multiprocessing.dummy``, ``ThreadPool``), and those of the
system lie in a folder that no box reaches. These know of threads only, which is all there is.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any

__all__ = ["SemLock", "install"]

_RECURSIVE = 0


class SemLock:
    """Stands in for ``_multiprocessing.SemLock``, of CPython's Modules/_multiprocessing/semaphore.c."""

    SEM_VALUE_MAX = 2**31 - 1

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        self.kind = kind
        self.maxvalue = maxvalue
        self.handle = 0
        self.name = None
        self._value = value
        self._freed = threading.Condition()
        self._owner = self._depth = 0

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        with self._freed:
            if not (self.kind == _RECURSIVE and self._is_mine()):
                if not self._freed.wait_for(lambda: self._value > 0, timeout if block else 0):
                    return False
                self._value -= 1
            self._owner = threading.get_ident()
            self._depth += 1
            return True

    def release(self) -> None:
        """Raises AssertionError or ValueError as the original does."""
        with self._freed:
            if self.kind == _RECURSIVE:
                if not self._is_mine():
                    raise AssertionError("attempt to release recursive lock not owned by thread")
                if self._depth > 1:
                    self._depth -= 1
                    return
            elif self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._value += 1
            self._depth -= 1
            self._freed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._depth

    def _is_mine(self) -> bool:
        return self._depth > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        """Does not happen."""


def install() -> None:
    """For whatever asks from now on, in this process and its forks."""
    name = "_multiprocessing"
    module: Any = sys.modules.setdefault(name, ModuleType(name))
    module.SemLock = SemLock
    module.sem_unlink = _forget


def _forget(name: str) -> None:
    """These have no names."""
