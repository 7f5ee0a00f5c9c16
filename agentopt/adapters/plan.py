"""What every adapter gives: how a folder is judged. Together with the candidate's files that makes a task."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentopt.adapters.above import beside, entries, files_of, levels_above, linked
from agentopt.adapters.inside.alone import run
from agentopt.adapters.verdict import score
from agentopt.core.errors import TaskError
from agentopt.core.task import Case, Kind, Limits, Measure, Objective, Parameter, Task
from agentopt.sandbox.interpreter import paths_of

__all__ = ["Plan", "language_of", "make_task", "only", "parameter_of", "read_text"]

_INSIDE = Path(__file__).resolve().parent / "inside"
_START = "import sys; sys.path.insert(0, sys.argv[1]); from inside.driver import main; del sys.path[0]; main(sys.argv[2])"
_LANGUAGES = {
    ".py": "python",
    ".c": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cu": "cuda",
    ".go": "go",
    ".java": "java",
    ".jl": "julia",
    ".js": "javascript",
    ".r": "r",
    ".rs": "rust",
    ".f90": "fortran",
    ".sv": "verilog",
    ".v": "verilog",
    ".wl": "wolfram",
}
_PROMPTS = (".txt", ".md", ".prompt")
_LIMITS: dict[str, Any] = {"memory_mb": 8192, "file_mb": 1024.0, "scratch_mb": 2048.0, "printed_mb": 64.0}
_DIGESTED_BYTES, _DIGESTED_FILES = 1 << 20, 5000


@dataclass
class Plan:
    """``folder`` is judged by ``evaluator`` in it, of a ``kind`` that the driver in the box knows."""

    folder: Path
    kind: Literal["evaluate", "results", "printed", "reported", "json"]
    evaluator: str
    programs: Mapping[str, str]
    """File in the folder -> its text, the candidate's first file before others."""
    name: str = ""
    goal: str = ""
    passed: str = ""
    """What of the candidate's files is given to the evaluator, where they lie in a folder of their own; by default the first of them."""
    in_place: bool = False
    """Whether the candidate's files take the place of the folder's."""
    words: Sequence[str] = ()
    thresholds: Sequence[float] | None = None
    seconds: float = 300.0
    limits: dict[str, float] = field(default_factory=dict[str, float])
    """Others that the folder names."""
    objectives: Mapping[str, str] = field(default_factory=lambda: {"combined_score": "max"})
    """Name -> direction."""
    measures: Sequence[Measure] = ()
    budget: str | None = None
    notes: Sequence[str] = ()
    fork_free: bool = False
    up: int | None = None
    """How many folders above are seen; by default as many as the folder's programs name."""
    binds: Sequence[tuple[str, str]] = ()
    """``(source, place)`` of what is also seen elsewhere."""
    hidden: Sequence[str] = ()
    """Metrics that only the score is made of, and that are not shown."""


def read_text(path: Path) -> str:
    """Raises TaskError for what is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def only(found: Sequence[Path], fix: str) -> Path:
    """Raises TaskError for several programs of one name."""
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise TaskError(f"{found[0].parent}: {names} are both there to start from; keep one, or {fix}")
    return found[0]


def language_of(file: str) -> tuple[Kind, str]:
    """Kind and language of a parameter that lies in ``file``."""
    suffix = Path(file).suffix.lower()
    if suffix in _PROMPTS:
        return "prompt", "python"
    return "code", _LANGUAGES.get(suffix, suffix.removeprefix(".") or "text")


def parameter_of(file: str, text: str, taken: Sequence[str] = ()) -> Parameter:
    """The parameter for a file of the candidate, under a name of its own."""
    kind, language = language_of(file)
    stem = Path(file).stem
    name = stem if stem.isidentifier() else re.sub(r"\W", "_", f"program_{stem}")
    while name in taken:
        name += "_"
    return Parameter(name, kind, text if text.endswith("\n") else f"{text}\n", language=language, entry=None, path=file)


def make_task(plan: Plan) -> Task:
    """Raises TaskError."""
    folder = plan.folder.resolve()
    parameters: dict[str, Parameter] = {}
    for file, text in plan.programs.items():
        parameter = parameter_of(file, text, list(parameters))
        parameters[parameter.name] = parameter
    up = levels_above(folder) if plan.up is None else plan.up
    orders = {
        "kind": plan.kind,
        "folder": str(folder),
        "up": up,
        "evaluator": plan.evaluator,
        "files": {file: _inside(plan, file) for file in plan.programs},
        "passed": plan.passed or _inside(plan, next(iter(plan.programs))),
        "in_place": plan.in_place,
        "words": [*plan.words],
        "thresholds": None if plan.thresholds is None else [*plan.thresholds],
        "fork_free": plan.fork_free,
        "binds": [*plan.binds],
        "digest": _digest(folder),
    }
    limits: dict[str, Any] = {**_LIMITS, "seconds": plan.seconds, **plan.limits}
    expected = {"objectives": [*plan.objectives], "measures": [m.name for m in plan.measures], "hidden": [*plan.hidden]}
    common: dict[str, Any] = {
        "goal": plan.goal,
        "parameters": parameters,
        "objectives": [Objective(name, "min" if direction == "min" else "max") for name, direction in plan.objectives.items()],
        "measures": plan.measures,
        "self_judged": True,
        "notes": plan.notes,
        "limits": Limits(**limits),
        "budget": plan.budget,
        "files": {p.name: file for p in parameters.values() if (file := str(p.path)) and (folder / file).is_file()},
    }
    make = _alone if plan.fork_free else _started
    task = make(plan.name or _name(folder), orders, expected, common)
    task.score(score)
    return task


def _started(name: str, orders: dict[str, Any], expected: Any, common: dict[str, Any]) -> Task:
    """Judged by a program of its own at level L3."""
    python, folder = sys.executable, Path(orders["folder"])
    seen = [*entries(folder), *linked(folder), *beside(folder, orders["up"]), str(_INSIDE), *paths_of(python), *orders.pop("binds")]
    command = [python, "-c", _START, str(_INSIDE.parent), json.dumps(orders, sort_keys=True)]
    return Task(name, cases={"train": [Case("all", "", expected)]}, command=command, sees=seen, **common)


def _alone(name: str, orders: dict[str, Any], expected: Any, common: dict[str, Any]) -> Task:
    """Judged in the process of a box of level L2, which has a copy of the folder and of nothing else."""
    folder = Path(orders["folder"])
    if orders["up"] or orders.pop("binds") or linked(folder):
        raise TaskError(f"{folder}: fork_free is true, but the folder needs files from elsewhere, which only level L3 shows; leave it out")
    orders["parameters"] = {parameter.name: parameter.path for parameter in common["parameters"].values()}
    names = [Path(entry).name for entry in entries(folder)]
    cases = {"train": [Case("all", json.dumps(orders, sort_keys=True), expected)]}
    task = Task(name, cases=cases, folder=folder, box_files=names, needs=("no_files", "no_network"), fresh_per_case=True, **common)
    task.run(run)
    return task


def _inside(plan: Plan, file: str) -> str:
    """Where the box finds a file of the candidate. One alone gets a name that nothing in the folder has."""
    if plan.in_place or len(plan.programs) > 1:
        return file
    return f"candidate{Path(file).suffix}"


def _name(folder: Path) -> str:
    name = folder.name if re.search(r"[A-Za-z]", folder.name) else f"{folder.parent.name}_{folder.name}"
    return re.sub(r"[^\w.-]", "_", name).strip("_.") or "folder"


def _digest(folder: Path) -> str:
    """Changes when a file of the folder changes: by content, and large ones by size and time."""
    digest = hashlib.sha256()
    for count, path in enumerate(files_of(folder)):
        try:
            found = path.stat()
        except OSError:
            continue
        small = found.st_size <= _DIGESTED_BYTES and count < _DIGESTED_FILES
        content = path.read_bytes() if small and os.access(path, os.R_OK) else f"{found.st_size} {found.st_mtime_ns}".encode()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]
