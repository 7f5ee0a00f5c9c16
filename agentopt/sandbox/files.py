"""The scratch folder: what is copied into it, and its removal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["copy_files", "remove_folder"]


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
