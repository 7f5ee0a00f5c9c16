"""How far a folder's programs reach above their own folder, read off their text."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["beside", "entries", "files_of", "levels_above", "linked"]

_LEFT_OUT = {"__pycache__", "node_modules", "venv", "openevolve_output"}
_MOST_BYTES, _MOST_FILES, _HIGHEST = 1 << 20, 200, 4
_SAME = {"abspath", "realpath", "normpath", "Path", "PurePath", "str", "resolve", "absolute", "expanduser", "fspath"}
_SHARED = ("/", "/tmp", "/var/tmp", "/home", "/mnt", "/opt", "/srv", "/usr", "/var")
_UP = re.compile(r"(?:\.\./)+|(?:\.\./)*\.\.(?=[\"'\s]|$)")


def files_of(folder: Path) -> Iterator[Path]:
    """In order, without what is hidden or comes from installing and running."""
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if _is_shown(Path(place, name)))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def entries(folder: Path) -> list[str]:
    """What of the folder a box is to see: neither keys in hidden files nor the logs of runs."""
    return [str(path) for path in sorted(folder.iterdir()) if _is_shown(path)]


def _is_shown(path: Path) -> bool:
    is_of_a_run = path.is_dir() and any(next(path.glob(pattern), None) for pattern in ("run.db", "*/run.db"))
    return not path.name.startswith(".") and path.name not in _LEFT_OUT and not is_of_a_run


def levels_above(folder: Path) -> int:
    """How many folders above its own are named, of which none may be the user's home or one that others share."""
    highest = 0
    for path, _ in zip(files_of(folder), range(_MOST_FILES), strict=False):
        if path.suffix in (".py", ".sh") and path.is_file() and path.stat().st_size <= _MOST_BYTES:
            depth = len(path.relative_to(folder).parts) - 1
            highest = max(highest, _reach(path.read_text(errors="replace"), path.suffix == ".py") - depth)
    return min(highest, _HIGHEST, _allowed(folder))


def beside(folder: Path, up: int) -> list[str]:
    """What lies in the ``up`` folders above, but for what is hidden."""
    found: list[str] = []
    for inner, above in zip([folder, *folder.parents], folder.parents[:up], strict=False):
        found += [str(entry) for entry in sorted(above.iterdir()) if entry != inner and not entry.name.startswith(".")]
    return found


def linked(folder: Path) -> list[str]:
    """Where links in the folder lead that leave it, such as data on another disk."""
    found: list[str] = []
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if _is_shown(Path(place, name)))
        targets = [Path(place, name).resolve() for name in (*inner, *sorted(names)) if os.path.islink(os.path.join(place, name))]
        found += [str(target) for target in targets if target.exists() and not target.is_relative_to(folder) and target not in _shared()]
    return found[:_MOST_FILES]


def _shared() -> set[Path]:
    return {Path.home(), Path.home().parent, *map(Path, _SHARED)}


def _allowed(folder: Path) -> int:
    return next((count for count, above in enumerate(folder.parents) if above in _shared()), 0)


def _reach(text: str, is_python: bool) -> int:
    """Folders above that of the file."""
    if not is_python:
        return max((match[0].count("..") for match in _UP.finditer(text)), default=0)
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError):
        return 0
    known: dict[str, int] = {}
    for node in nodes:  # from the outside in, so assignments at the top come first
        if isinstance(node, ast.Assign) and (found := _level(node.value, known)) is not None:
            known |= {target.id: found for target in node.targets if isinstance(target, ast.Name)}
    levels = [found - 1 for node in nodes if isinstance(node, ast.expr) and (found := _level(node, known)) is not None]
    return max([0, *levels, *(_dots(node) for node in nodes if isinstance(node, ast.Constant) and "../" in str(node.value)[:20])])


def _dots(node: ast.AST) -> int:
    """Of a literal such as ``"../../data"``."""
    match = _UP.match(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
    return match[0].count("..") if match else 0


def _level(node: ast.AST, known: Mapping[str, int]) -> int | None:
    """0 for the file itself, 1 for its folder, 2 for the one above; None for what is not made from ``__file__``."""
    match node:
        case ast.Name("__file__"):
            return 0
        case ast.Name(name):
            return known.get(name)
        case ast.Attribute(value, "parent"):
            return _plus(_level(value, known), 1)
        case ast.Subscript(ast.Attribute(value, "parents"), ast.Constant(int(number))):
            return _plus(_level(value, known), number + 1)
        case ast.BinOp(left, ast.Div(), right):
            return _plus(_level(left, known), _dots(right)) if _dots(right) else None
        case ast.Call():
            return _called(node, known)
        case _:
            return None


def _called(node: ast.Call, known: Mapping[str, int]) -> int | None:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
    first = node.args[0] if node.args else node.func.value if isinstance(node.func, ast.Attribute) else None
    below = _level(first, known) if first is not None else None
    if name == "dirname":
        return _plus(below, 1)
    if name in ("join", "joinpath"):
        dots = sum(_dots(part) for part in node.args[1:])
        return _plus(below, dots) if dots else None
    return below if name in _SAME else None


def _plus(level: int | None, more: int) -> int | None:
    return None if level is None else level + more
