"""Landlock (the kernel's landlock.h): a process gives up, for good, what it may do with files and whom it may reach."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from agentopt.sandbox.kernel import libc, no_new_privileges

__all__ = ["Rules", "abi"]

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE, _READ, _READ_FOLDER = 1, 2, 4, 8
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_LOOK = _READ | _READ_FOLDER
_WORK = _LOOK | _WRITE | _REMOVE_FOLDER | _REMOVE_FILE | _MAKE_FOLDER | _MAKE_FILE | _REFER | _TRUNCATE
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""ABI -> number of file rights it knows; later ones know 16."""


def abi() -> int:
    """The kernel's landlock version; 0 where it has none."""
    return max(0, libc().syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION))


class Rules:
    """Folders and files opened once, to be applied in each box that is forked from here: ``apply`` costs no look-ups then.

    ``writable`` files may be written as well. Raises OSError where the kernel has no landlock. Paths that do not exist or cannot be
    reached are passed over.
    """

    def __init__(self, readable: Iterable[str], writable: Iterable[str] = ()) -> None:
        self.abi = abi()
        if self.abi < 1:
            raise OSError("this kernel has no landlock")
        self._handled = (1 << _RIGHTS.get(self.abi, 16)) - 1
        self._opened: list[tuple[int, bytes]] = []
        for paths, right in ((readable, _LOOK), (writable, _LOOK | _WRITE | _TRUNCATE)):
            for path in paths:
                try:
                    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
                except (FileNotFoundError, NotADirectoryError, PermissionError):
                    continue
                self._opened.append((descriptor, self._rule(descriptor, right)))

    def _rule(self, descriptor: int, wanted: int) -> bytes:
        """As the kernel takes it."""
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        return struct.pack("=Qi", wanted & self._handled & (-1 if folder else _OF_FILES), descriptor)

    def apply(self, writable: Iterable[str], readable: Iterable[str] = ()) -> None:
        """To this process, for good: read what ``Rules`` was made with and what is ``readable``, work in what is ``writable``, no more."""
        network = 3 if self.abi >= 4 else 0  # binding and connecting
        scope = 3 if self.abi >= 6 else 0  # abstract sockets and signals to others
        attributes = struct.pack("=QQQ", self._handled, network, scope)[: 8 if self.abi < 4 else 16 if self.abi < 6 else 24]
        call = libc().syscall
        rules = _check(call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0))
        own: list[int] = []
        try:
            for _, rule in self._opened:
                _check(call(_ADD, rules, _PATH_BENEATH, rule, 0))
            for paths, right in ((writable, _WORK), (readable, _LOOK)):
                for path in paths:
                    own.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
                    _check(call(_ADD, rules, _PATH_BENEATH, self._rule(own[-1], right), 0))
            no_new_privileges()
            _check(call(_RESTRICT, rules, 0))
        finally:
            for descriptor in (rules, *own):
                os.close(descriptor)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "landlock")
    return result
