"""What an evaluator stands on: a copy of its folder, the candidate in it, and the packages that it imports."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["check_imports", "fix_chance", "imported", "is_missing", "mirror", "place", "say_missing", "use_standins"]

_STANDINS = Path(__file__).resolve().parent / "standins"
_COPIED_BYTES, _COPIED_FILES = 1 << 20, 2000
_LEFT_OUT = {"__pycache__", ".git", ".hg", ".venv", "venv", "node_modules"}


def mirror(folder: Path, up: int, work: Path) -> Path:
    """The folder's copy in ``work``. Large files, and what lies beside it and its ``up`` parents, are links to the originals."""
    target = work
    below = [*reversed(folder.parents[:up]), folder]
    for number, inner in enumerate(below[1:]):
        above = below[number]
        target = target / (above.name or "root")
        target.mkdir()
        for entry in os.listdir(str(above)):
            if entry != inner.name and entry not in _LEFT_OUT:
                (target / entry).symlink_to(above / entry)
    target = target / folder.name
    _copy(folder, target, [_COPIED_FILES])
    return target


def _copy(source: Path, target: Path, left: list[int]) -> None:
    import shutil

    target.mkdir()
    for entry in sorted(os.scandir(str(source)), key=lambda found: found.name):
        place = target / entry.name
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_dir(follow_symlinks=False) and left[0] > 0:
            _copy(Path(entry.path), place, left)
        elif entry.is_file() and entry.stat().st_size <= _COPIED_BYTES and left[0] > 0:
            left[0] -= 1
            shutil.copy(entry.path, str(place))
        else:
            place.symlink_to(entry.path)


def place(orders: Any, box: Path, folder: Path) -> Path:
    """The candidate's file or folder: where the folder has its own, or in a folder that holds nothing else."""
    files = orders["files"]
    if orders["in_place"]:
        for name, inside in files.items():
            target = folder / inside
            if target.is_symlink():
                target.unlink()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((box / name).read_bytes())
        return folder / next(iter(files.values()))
    base = Path(tempfile.mkdtemp(prefix="candidate-"))
    for name, inside in files.items():
        target = base / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((box / name).read_bytes())
    return base / orders["passed"]


def use_standins(environ: MutableMapping[str, str]) -> None:
    """A small module of ours takes the place of each package that evaluators import for a helper, if it is not installed."""
    places = [str(_STANDINS / name) for name in _names() if is_missing(name)]
    sys.path += places
    before = environ.get("PYTHONPATH")
    environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), *places])


def is_missing(name: str) -> bool:
    """Whether there is no such package, or one that only stands in for it."""
    from importlib.util import find_spec

    try:
        found = find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return False
    return found is None or str(_STANDINS) in str(found.origin)


def say_missing(name: str) -> str:
    package = name.partition(".")[0]
    fix = "install it there, or name an environment that has it with --python VENV"
    return f"the package {package!r} is missing in {sys.executable}: {fix}"


def check_imports(script: Path, program: Path) -> None:
    """What cannot be imported is said before the evaluator hides it. Raises ImportError.

    Only plain imports at the top of the two files count, and nothing where the evaluator changes the way of imports.
    """
    text = script.read_text(errors="replace")
    if "sys.path" in text:
        return
    places = [script.parent, program.parent if program.is_file() else program, Path.cwd()]
    texts = [text] + ([program.read_text(errors="replace")] if program.suffix == ".py" else [])
    for name in (name for source in texts for name in imported(source)):
        beside = any((where / (name + ".py")).exists() or (where / name).is_dir() for where in places)
        if not beside and name not in _names() and is_missing(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def fix_chance(folder: Path) -> None:
    """Random numbers begin alike for every candidate, so that data made anew for each of them are the same."""
    import importlib
    import random

    random.seed(0)
    used = {name for path in folder.glob("*.py") if path.is_file() for name in imported(path.read_text(errors="replace"))}
    for name, module, seed in (("numpy", "numpy.random", "seed"), ("torch", "torch", "manual_seed")):
        if name in used and not is_missing(name):
            getattr(importlib.import_module(module), seed)(0)


def imported(source: str) -> list[str]:
    """Names of the packages that a module imports at its top."""
    import ast

    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return []
    found = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    found += [node.module for node in body if isinstance(node, ast.ImportFrom) and not node.level and node.module]
    return [name.partition(".")[0] for name in found]


def _names() -> list[str]:
    return sorted(os.listdir(str(_STANDINS)))
