"""ShinkaEvolve: ``initial.<suffix>`` and ``evaluate.py --program_path P --results_dir D``, which writes metrics.json and correct.json."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentopt.adapters.config import Config, find_config, seconds_of
from agentopt.adapters.plan import Plan, only, read_text
from agentopt.core.errors import TaskError

__all__ = ["read"]

_SECONDS = 600.0
_CALLS = ("EvolutionConfig", "LocalJobConfig")
_KNOWN = (
    *("evo_config.init_program_path", "evo_config.task_sys_msg", "evo_config.num_generations", "evo_config.llm_models"),
    *("evo_config.language", "evo_config.job_type", "evo_config.results_dir", "job_config.time", "job_config.extra_cmd_args"),
)


def read(folder: Path) -> Plan | None:
    """Raises TaskError for a folder that has such an evaluator and cannot be used."""
    script = folder / "evaluate.py"
    if not script.is_file() or "results_dir" not in (text := read_text(script)) or "program_path" not in text:
        return None
    said = _said_in_python(folder)
    config = find_config(folder, (*_named_in_python(folder), "shinka.yaml", "config.yaml", "shinka*.y*ml"))
    for key in _KNOWN:
        config.get(key)
    initial = _initial(folder, str(said.get("init_program_path") or config.get("evo_config.init_program_path", str, "")))
    plan = Plan(folder, "results", script.name, {initial.name: read_text(initial)}, seconds=_SECONDS)
    plan.goal = str(said.get("task_sys_msg") or config.get("evo_config.task_sys_msg", str, "")).strip()
    time = str(said.get("time") or config.get("job_config.time", (str, int), ""))
    plan.seconds = seconds_of(time) or _SECONDS
    extra: Any = said.get("extra_cmd_args") or config.get("job_config.extra_cmd_args", dict, {})
    plan.words = [word for key, value in extra.items() for word in (f"--{key}", str(value))]
    generations = said.get("num_generations") or config.get("evo_config.num_generations", int)
    plan.budget = f"{int(generations) + 1}evals" if generations else None
    plan.hidden = ["private"]
    plan.notes = [*_models(said, config), *config.notes()]
    return plan


def _initial(folder: Path, named: str) -> Path:
    for path in [folder / Path(named).name] if named else []:
        if path.is_file():
            return path
    found = sorted(path for path in folder.glob("initial.*") if path.is_file() and path.suffix not in (".md", ".pyc"))
    if not found:
        raise TaskError(f"{folder}: evaluate.py is there, but nothing to start from; write initial.py beside it")
    return only(found, "name it as init_program_path in run_evo.py")


def _named_in_python(folder: Path) -> list[str]:
    """The YAML files of the folder that its scripts name."""
    scripts = "\n".join(read_text(path) for path in sorted(folder.glob("*.py")))
    return [path.name for path in sorted(folder.glob("*.y*ml")) if path.name in scripts]


def _said_in_python(folder: Path) -> Mapping[str, Any]:
    """Literals given to the configurations in the scripts of the folder, by keyword. Nothing of them is run."""
    said: dict[str, Any] = {}
    for path in sorted(folder.glob("*.py")):
        text = read_text(path)
        if not any(f"{name}(" in text for name in _CALLS):
            continue
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        constants = {
            target.id: value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and (value := _literal(node.value, {})) is not None
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            said |= _keywords(node, constants)
    return said


def _keywords(node: ast.AST, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Of a call of a configuration, or of ``config["evo_config"]["key"] = value``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        pairs = [(keyword.arg, _literal(keyword.value, constants)) for keyword in node.keywords]
        return {name: value for name, value in pairs if name and value is not None}
    if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Subscript) and isinstance(target.value, ast.Subscript):
        key, value = _literal(target.slice, {}), _literal(node.value, constants)
        return {key: value} if isinstance(key, str) and value is not None else {}
    return {}


def _literal(node: ast.AST, constants: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _models(said: Mapping[str, Any], config: Config) -> list[str]:
    names: Any = said.get("llm_models") or config.get("evo_config.llm_models", list, [])
    named = [str(name) for name in names if isinstance(name, str)]
    return [f"the folder names the models {', '.join(named)}; name those to ask with --model"] if named else []
