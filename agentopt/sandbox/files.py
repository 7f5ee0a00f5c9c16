"""Scratch folders: where they lie, what is copied into them, and their removal."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

__all__ = ["copy_files", "make_folder", "remove_folder"]

_PREFIX = "agentopt-boxes-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_folder() -> Path:
    """The place of a controller's scratch folders. Our own, of controllers that were killed, are removed on this occasion."""
    import tempfile

    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and os.path.isdir("/proc/self") and _is_ours(left):
            remove_folder(left)
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    os.chmod(folder, 0o711)  # a box that is another user finds its own folder in it
    return Path(folder)


def _is_ours(folder: Path) -> bool:
    """A temporary folder is everybody's: somebody else may have put a link there under a name of ours."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def copy_files(sources: Iterable[str], folder: str | Path) -> None:
    """Files and folders, each under its own name."""
    import shutil  # with it come compressors: every box pays for what is loaded

    for source in map(Path, sources):
        if source.is_dir():
            shutil.copytree(source, Path(folder) / source.name)
        else:
            shutil.copy2(source, Path(folder) / source.name)


def remove_folder(folder: str | Path) -> None:
    """Delete the folder, however deep a candidate made it and also what it locked itself out of. What cannot be deleted stays."""
    with suppress(OSError):
        os.rmdir(folder)
        return
    try:
        os.chmod(folder, 0o700)
        root = os.open(folder, _FOLDER)
    except OSError:
        return
    try:
        _empty(root)
    finally:
        os.close(root)
    with suppress(OSError):
        os.rmdir(folder)


def _empty(root: int) -> None:
    """Folders in folders are moved up and so come to be emptied in their turn: neither paths nor descriptors run out."""
    names = (f"{secrets.token_hex(8)}-{number}" for number in count())
    left = _entries(root)
    while left:
        for name, is_folder in left:
            with suppress(OSError):
                if is_folder:
                    _remove(root, name, names)
                else:
                    os.unlink(name, dir_fd=root)
        before, left = left, _entries(root)
        if left == before:
            return


def _entries(folder: int) -> list[tuple[str, bool]]:
    """Names, and whether they are folders."""
    with os.scandir(folder) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]


def _remove(root: int, name: str, names: Iterator[str]) -> None:
    os.chmod(name, 0o700, dir_fd=root)
    folder = os.open(name, _FOLDER, dir_fd=root)
    try:
        for inner, is_folder in _entries(folder):
            if is_folder:
                os.chmod(inner, 0o700, dir_fd=folder)
                os.rename(inner, next(names), src_dir_fd=folder, dst_dir_fd=root)
            else:
                os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=root)
