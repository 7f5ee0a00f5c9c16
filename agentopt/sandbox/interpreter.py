"""A Python that is not ours: where it lies, and what a box has to see so that it works there with its packages."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

from agentopt.core.errors import ConfigError

__all__ = ["find_python", "is_python", "paths_of"]

_SECONDS = 60.0
_LIBRARIES = ("site-packages", "dist-packages")
_ASK = """
import json, os, sys
prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
print(json.dumps({"prefixes": prefixes, "path": sys.path, "version": sys.version_info[:2]}))
"""


def is_python(word: str) -> bool:
    """Whether a command's first word starts a Python."""
    return os.path.basename(word).startswith("python")


def find_python(given: str) -> str:
    """The interpreter that ``given`` is, or that the environment ``given`` has. Raises ConfigError."""
    path = Path(os.path.abspath(os.path.expanduser(given)))
    found = path / "bin" / "python" if path.is_dir() else path
    if not found.is_file() or not os.access(found, os.X_OK):
        fix = "give an interpreter, or the folder of a virtual environment"
        raise ConfigError(f"--python {given}: {found} is no program that can be started; {fix}")
    return str(found)


@cache
def paths_of(python: str) -> tuple[str, ...]:
    """What ``python`` reads: its environment, what that was made from, and its packages. Raises ConfigError for what is no Python."""
    try:
        done = subprocess.run([python, "-E", "-c", _ASK], capture_output=True, timeout=_SECONDS, check=True, cwd="/")
        said = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        raise ConfigError(f"--python {python}: it does not answer as a Python does: {error}") from None
    wanted = [*said["prefixes"], *(entry for entry in said["path"] if os.path.basename(entry) in _LIBRARIES), *_links(python)]
    return tuple(dict.fromkeys(path for path in wanted if os.path.exists(path) and path != "/"))


def _links(python: str) -> list[str]:
    """The places of the links on the way to the program itself: each has to be there."""
    found: list[str] = []
    while os.path.islink(python) and len(found) < 40:
        python = os.path.normpath(os.path.join(os.path.dirname(python), os.readlink(python)))
        found.append(python)
    return found
