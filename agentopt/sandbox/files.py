"""Scratch folders: where they lie, what is copied into them, and their removal."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["copy_files", "make_folder", "remove_folder"]

_PREFIX = "agentopt-boxes-"


def make_folder() -> Path:
    """The place of a controller's scratch folders. Those of controllers that were killed are removed on this occasion."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and os.path.isdir("/proc/self"):
            remove_folder(left)
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    os.chmod(folder, 0o711)  # a box that is another user finds its own folder in it
    return Path(folder)


def copy_files(sources: Iterable[str], folder: Path) -> None:
    """Files and folders, each under its own name."""
    for source in map(Path, sources):
        if source.is_dir():
            shutil.copytree(source, folder / source.name)
        else:
            shutil.copy2(source, folder / source.name)


def remove_folder(folder: Path) -> None:
    """Delete the folder, also what a candidate locked itself out of."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        os.chmod(folder, 0o700)
        for parent, names, _ in os.walk(folder):
            for path in (os.path.join(parent, name) for name in names):
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
        shutil.rmtree(folder, ignore_errors=True)
