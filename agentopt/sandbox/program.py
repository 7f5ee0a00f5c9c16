"""A candidate as ``run`` sees it: its code loaded, its prompts, configs and values at hand."""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, cast

from agentopt.core.running import Import, Source, execute
from agentopt.core.task import Kind, Parameter, Value, Values

__all__ = ["BuildError", "Piece", "Program", "Stage", "pieces_from_json", "pieces_of", "pieces_to_json", "uses_from_rows", "uses_to_rows"]

_SUFFIXES = {
    "c": ".c",
    "c++": ".cpp",
    "cpp": ".cpp",
    "cuda": ".cu",
    "go": ".go",
    "java": ".java",
    "javascript": ".js",
    "python": ".py",
    "rust": ".rs",
}


class BuildError(Exception):
    """The candidate loads, but is not what the task asks for."""


class Piece(NamedTuple):
    """One parameter with the candidate's value: all that the box needs to know of it."""

    name: str
    kind: Kind
    value: Value
    language: str
    entry: str | None
    path: str | None
    uses: Sequence[Sequence[Any]] | None = None
    """Rows of what the module holds before its code is executed: a code parameter of a workflow. None for those of tasks."""

    @property
    def is_python(self) -> bool:
        return self.kind == "code" and self.language == "python"

    @property
    def file(self) -> str:
        """Where the code lies in the scratch folder."""
        return self.path or self.name + _SUFFIXES.get(self.language, ".txt")

    @property
    def module(self) -> str:
        """The name under which Python code is imported: the parameter's, or the one its path gives."""
        if self.path is None:
            return self.name
        parts = PurePosixPath(self.path).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def pieces_of(parameters: Mapping[str, Parameter], values: Values) -> list[Piece]:
    return [Piece(name, p.kind, values[name], p.language, p.entry, p.path) for name, p in parameters.items()]


def pieces_to_json(pieces: Sequence[Piece]) -> list[list[Any]]:
    return [list(piece) for piece in pieces]


def pieces_from_json(rows: Sequence[Sequence[Any]]) -> list[Piece]:
    return [Piece(*row) for row in rows]


def uses_to_rows(uses: Mapping[str, Any]) -> list[list[Any]]:
    """Uses of a ``CodeCall`` as ``[name, how, what]``, where ``how`` is "value", "import" or "source"."""
    rows: list[list[Any]] = []
    for name, used in uses.items():
        if isinstance(used, Import | Source):
            rows.append([name, "import" if isinstance(used, Import) else "source", list(used)])
        else:
            rows.append([name, "value", used])
    return rows


def uses_from_rows(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    forms: dict[str, Callable[..., Any]] = {"import": Import, "source": Source}
    return {name: forms[how](*what) if how in forms else what for name, how, what in rows}


class Program:
    """``program.<name>`` is a parameter: for Python code the object it names, else the text, mapping or value itself."""

    def __init__(self, stage: Stage) -> None:
        self.__dict__["_stage"] = stage

    def module(self, name: str) -> ModuleType:
        """The module that Python code of parameter ``name`` became."""
        stage: Stage = self.__dict__["_stage"]
        return stage.modules[stage.piece(name).module]

    def path(self, name: str) -> Path:
        """The file that holds the code of parameter ``name``, in any language."""
        stage: Stage = self.__dict__["_stage"]
        return stage.write(stage.piece(name))

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(key for key in self.__dict__ if key != "_stage")
        raise AttributeError(f"the candidate has no parameter {name!r}; it has: {known}")


class Stage:
    """Loads a candidate and makes its modules importable while it is on.

    In a box the stage is entered once and never left. In the user's own process it is entered around each use, so
    that a parameter called ``json`` takes nothing away from anybody else.
    """

    def __init__(self, pieces: Sequence[Piece], scratch: Callable[[], Path]) -> None:
        self.pieces = pieces
        self.modules: dict[str, ModuleType] = {}
        self._scratch = scratch
        self._placed = [piece for piece in pieces if piece.path is not None]
        self._names = {name for piece in pieces if piece.is_python for name in _with_packages(piece.module)}

    def piece(self, name: str) -> Piece:
        for piece in self.pieces:
            if piece.name == name and piece.kind == "code":
                return piece
        raise KeyError(f"the task has no code parameter {name!r}")

    def write(self, piece: Piece) -> Path:
        """The piece's file, written if it is not there yet. Raises BuildError for a path that leaves the folder."""
        relative = PurePosixPath(piece.file)
        if relative.is_absolute() or ".." in relative.parts:
            raise BuildError(f"parameter {piece.name!r}: path {piece.file!r} leaves the box's folder")
        target = self._scratch() / relative
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(piece.value, encoding="utf-8")
        return target

    def load(self) -> Program:
        """Raises BuildError, and whatever the candidate's code raises."""
        for piece in self._placed:
            self.write(piece)
        program = Program(self)
        for piece in self.pieces:
            program.__dict__[piece.name] = self._value(piece)
        return program

    def _value(self, piece: Piece) -> Any:
        if piece.kind == "config":
            return _read_only(piece.value)
        if not piece.is_python:
            return piece.value
        module = self._import_placed(piece) if piece.path else self._execute(piece)
        if piece.entry is None:
            return module
        if not hasattr(module, piece.entry):
            raise BuildError(f"{piece.file} defines no {piece.entry!r}")
        return getattr(module, piece.entry)

    def _execute(self, piece: Piece) -> ModuleType:
        module = ModuleType(piece.module)
        module.__file__ = piece.file
        linecache.cache[piece.file] = (len(piece.value), None, piece.value.splitlines(keepends=True), piece.file)
        sys.modules[piece.module] = self.modules[piece.module] = module
        if piece.uses is None:
            exec(compile(piece.value, piece.file, "exec", dont_inherit=True), module.__dict__)
        else:
            execute(piece.value, piece.file, uses_from_rows(piece.uses), module.__dict__)
        return module

    def _import_placed(self, piece: Piece) -> ModuleType:
        importlib.invalidate_caches()
        module = self.modules[piece.module] = importlib.import_module(piece.module)
        return module

    @contextmanager
    def on(self) -> Generator[None, None, None]:
        """While this lasts, the candidate's modules are the ones that ``import`` finds."""
        displaced = self.enter()
        try:
            yield
        finally:
            if self._placed:
                sys.path.remove(str(self._scratch()))
            for name in self._names & sys.modules.keys():
                self.modules[name] = sys.modules.pop(name)
            sys.modules.update(displaced)

    def enter(self) -> dict[str, ModuleType]:
        """From now on they are; what ``import`` found under their names until now."""
        displaced = {name: sys.modules.pop(name) for name in self._names if name in sys.modules}
        sys.modules.update(self.modules)
        if self._placed:
            sys.path.insert(0, str(self._scratch()))
        return displaced


def _with_packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _read_only(value: Any) -> Any:
    if isinstance(value, Mapping):
        members = cast(Mapping[str, Any], value)
        return MappingProxyType({key: _read_only(item) for key, item in members.items()})
    return value
