"""OpenEvolve and SkyDiscover: a program, and ``evaluator.py`` with ``evaluate(path)`` or a folder ``evaluator`` made for a container."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from agentopt.adapters.config import Config, find_config
from agentopt.adapters.plan import Plan, language_of, only, read_text
from agentopt.core.errors import TaskError
from agentopt.core.task import Measure

__all__ = ["read"]

_STEMS = ("initial_program", "initial_prompt", "initial_solution", "init_program", "initial")
_CONFIGS = ("config.yaml", "config.yml", "config*.y*ml", "configs/*.y*ml")
_STAGES = ("evaluate_stage1", "evaluate_stage2", "evaluate_stage3")
_OF_THE_SYSTEM = ("complexity", "diversity", "score", "combined_score")
"""Dimensions of a grid that these systems work out themselves."""
_DEFAULT_WORKDIR = "/benchmark"
_CLOSED = ("/usr", "/etc", "/tmp", "/proc", "/dev", "/box", "/bin", "/sbin", "/lib")


def read(folder: Path) -> Plan | None:
    """Raises TaskError for a folder that has an evaluator and cannot be used."""
    found = _evaluator(folder)
    if found is None:
        _refuse_containers(folder)
        return None
    script, functions = found
    config = find_config(folder, _CONFIGS)
    programs, passed = _programs(folder, config)
    plan = Plan(folder, "evaluate", str(script.relative_to(folder)), programs, passed=passed)
    inner = script.parent if script.parent != folder else None
    if "evaluate" in functions or functions & {*_STAGES}:
        stages = _cascade(plan, config, functions, inner)
    else:
        stages = 1
        _run_in_place(plan, script)
    if inner is not None:
        plan.binds = _workdir(inner)
    plan.goal = str(config.get("prompt.system_message", str, "")).strip()
    plan.seconds = float(config.get("evaluator.timeout", (int, float), 360 if inner else 300)) * stages
    if memory := config.get("evaluator.memory_limit_mb", (int, float)):
        plan.limits["memory_mb"] = float(memory)
    iterations = config.get("max_iterations", int)
    plan.budget = f"{iterations + 1}evals" if iterations else None
    plan.measures = _measures(config)
    plan.notes = [*_models(config), *config.notes()]
    return plan


def _evaluator(folder: Path) -> tuple[Path, set[str]] | None:
    """The evaluator's script and its functions. A script that is none of Python has no functions."""
    others = [path for pattern in ("*evaluat*.py", "*eval*.py") for path in sorted(folder.glob(pattern))] if _initial(folder) else []
    for path in [folder / "evaluator.py", folder / "evaluator" / "evaluator.py", *others]:
        if path.is_file() and (functions := _functions(path)) & {"evaluate", *_STAGES}:
            return path, functions
    shell = next((path for path in (folder / "evaluator/evaluate.sh", folder / "evaluate.sh") if path.is_file()), None)
    if shell is not None:
        return shell, set()
    if (folder / "evaluator.py").is_file():
        raise TaskError(f"{folder / 'evaluator.py'}: it defines no function evaluate(path); write one that gives a dict of numbers")
    return None


def _functions(path: Path) -> set[str]:
    """Names that a module has at its top, imported ones included."""
    try:
        body = ast.parse(read_text(path)).body
    except (SyntaxError, ValueError) as error:
        raise TaskError(f"{path}: not Python: {error}") from None
    found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    found |= {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return found | {target.id for node in body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}


def _refuse_containers(folder: Path) -> None:
    if (folder / "instruction.md").is_file() and (folder / "tests" / "test.sh").is_file():
        raise TaskError(f"{folder}: its tests/test.sh are made for a container of their own, which is not supported; write an evaluator.py")


# --- the candidate


def _programs(folder: Path, config: Config) -> tuple[dict[str, str], str]:
    """File -> text of all the candidate's files, and what of them the evaluator is given. Raises TaskError."""
    suffix, language = config.get("file_suffix", str), config.get("language", str)
    found = _initial(folder)
    if not found:
        names = ", ".join(f"{stem}.*" for stem in _STEMS[:2])
        raise TaskError(f"{folder}: there is an evaluator, but nothing to start from; write {names} beside it")
    named = [path for path in found if path.suffix == suffix] or [path for path in found if language_of(path.name)[1] == language]
    program = only(named or found, "write file_suffix in config.yaml")
    if program.is_dir():
        files = sorted(path for path in program.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)): read_text(path) for path in files}, str(program.relative_to(folder))
    name = str(program.relative_to(folder))
    return {name: read_text(program)}, f"candidate{suffix}" if suffix and suffix != program.suffix and program.suffix == "" else ""


def _initial(folder: Path) -> list[Path]:
    """What has a usual name: beside the evaluator, or the only one there whose name begins so, or the only one a folder below."""
    for stem in _STEMS:
        beside = [path for path in sorted(folder.glob(f"{stem}*")) if path.stem == stem and not path.name.endswith((".md", ".pyc"))]
        if beside:
            return beside
    called = [
        path for path in sorted(folder.glob("initial_*.*")) if path.is_file() and path.suffix not in (".md", ".pyc", ".yaml", ".json")
    ]
    if len(called) == 1:
        return called
    for stem in _STEMS:
        below = [path for path in sorted(folder.glob(f"*/{stem}.*")) if path.is_file()]
        if len(below) == 1:
            return below
    return []


# --- the evaluator


def _cascade(plan: Plan, config: Config, functions: set[str], inner: Path | None) -> int:
    """Sets the thresholds; how many stages there may be."""
    newer = inner is not None or config.get("diff_based_generation") is not None
    usual = [0.3, 0.6] if newer else [0.5, 0.75]
    thresholds: Sequence[Any] = config.get("evaluator.cascade_thresholds", list, usual)
    if not config.get("evaluator.cascade_evaluation", bool, True) or _STAGES[0] not in functions:
        return 1
    if not all(isinstance(threshold, int | float) for threshold in thresholds):
        raise TaskError(f"{config.path}: evaluator.cascade_thresholds is {thresholds!r}; it is to be a list of numbers")
    plan.thresholds = [float(threshold) for threshold in thresholds]
    return sum(stage in functions for stage in _STAGES[: len(thresholds) + 1])


def _run_in_place(plan: Plan, script: Path) -> None:
    """A shell script that is given the candidate and prints JSON, as in a container."""
    plan.kind = "reported"
    place = _workdir(script.parent)
    plan.words = ["bash", f"{place[0][1]}/{script.name}" if place else plan.evaluator, "{program}", "train"]


def _workdir(inner: Path) -> list[tuple[str, str]]:
    """The evaluator's folder is also found where its container would have it."""
    dockerfile = inner / "Dockerfile"
    if not dockerfile.is_file():
        return []
    named = re.findall(r"^\s*WORKDIR\s+(\S+)", read_text(dockerfile), re.MULTILINE | re.IGNORECASE)
    place = named[-1].rstrip("/") if named else _DEFAULT_WORKDIR
    usable = place.startswith("/") and place != "" and not any(place == top or place.startswith(f"{top}/") for top in _CLOSED)
    return [(str(inner), place)] if usable else []


# --- settings


def _measures(config: Config) -> list[Measure]:
    """One per dimension of the grid that the evaluator reports, from 0 to 1: nothing says how far they reach."""
    named = config.get("database.feature_dimensions", list, [])
    bins = config.get("database.feature_bins", (int, dict), 10)
    found: list[Measure] = []
    for name in named:
        if isinstance(name, str) and name not in _OF_THE_SYSTEM:
            found.append(Measure(name, 0.0, 1.0, bins if isinstance(bins, int) else int(bins.get(name, 10))))
    return found


def _models(config: Config) -> list[str]:
    """What to add to the command line to ask the models that the file names: nobody is asked, and paid, for being named in a file."""
    listed: list[Any] = config.get("llm.models", list, [])
    named = [cast("dict[str, Any]", model) for model in listed if isinstance(model, dict)]
    pairs = [(str(model["name"]), model.get("weight")) for model in named if model.get("name")]
    for kind in ("primary", "secondary"):
        name, weight = config.get(f"llm.{kind}_model", str), config.get(f"llm.{kind}_model_weight", (int, float))
        pairs += [(name, weight)] if name and not listed else []
    base = config.get("llm.api_base", str)
    if not pairs:
        return []
    spec = ",".join(f"openai:{name}" + (f"@{weight:g}" if weight and len(pairs) > 1 else "") for name, weight in pairs)
    address = f" --base-url {base}" if base and "api.openai.com" not in base else ""
    return [f"the folder's models are asked with --model {spec}{address}"]
