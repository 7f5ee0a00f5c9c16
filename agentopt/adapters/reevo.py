"""ReEvo: ``problems/NAME`` with ``eval.py``, beside ``prompts/NAME`` and ``cfg/problem/NAME.yaml`` two folders above."""

from __future__ import annotations

import re
from pathlib import Path

from agentopt.adapters.config import Config, find_config
from agentopt.adapters.plan import Plan, read_text
from agentopt.core.errors import TaskError

__all__ = ["read"]

_SECONDS, _TIMES = 20.0, 3  # what the first run writes for those after it is made anew for each candidate
_FENCED = re.compile(r"```python(.*?)```", re.DOTALL)
_PACKAGES = {"np": "import numpy as np", "torch": "import torch"}


def read(folder: Path) -> Plan | None:
    """Raises TaskError for a problem whose description is not complete."""
    root = folder.parent.parent
    texts = root / "prompts" / folder.name
    if not (folder / "eval.py").is_file() or not ((root / "cfg" / "problem").is_dir() or texts.is_dir()):
        return None
    config = find_config(root / "cfg" / "problem", (f"{folder.name}.yaml",))
    if config.path is None:
        raise TaskError(f"{folder}: its settings are not at {root / 'cfg' / 'problem' / (folder.name + '.yaml')}; write problem_size there")
    size = config.get("problem_size", (int, float, str), 0)
    direction = config.get("obj_type", str, "min")
    if direction not in ("min", "max"):
        raise TaskError(f"{config.path}: obj_type is {direction!r}; it is 'min' or 'max'")
    plan = Plan(folder, "printed", "eval.py", {"gpt.py": _seed(folder, texts)}, in_place=True, up=2)
    plan.words = [str(size), "{root}", "train"]
    plan.objectives = {"score": direction}
    plan.goal = _goal(config, texts)
    for key in ("problem_name", "problem_type", "func_name"):
        config.get(key)
    run = find_config(root / "cfg", ("config.yaml",))
    plan.seconds = _TIMES * float(run.get("timeout", (int, float), _SECONDS))
    evaluations = run.get("max_fe", int)
    plan.budget = f"{evaluations + 1}evals" if evaluations else None
    plan.notes = [*config.notes(), *_left(run)]
    return plan


def _left(run: Config) -> list[str]:
    run.get("defaults")
    run.get("hydra")
    return run.notes()


def _seed(folder: Path, texts: Path) -> str:
    """``gpt.py`` if there is one; else the seed function, as the evaluators import it: as its second version, with its packages."""
    if (folder / "gpt.py").is_file():
        return read_text(folder / "gpt.py")
    path = texts / "seed_func.txt"
    if not path.is_file():
        raise TaskError(f"{folder}: there is no gpt.py, and no {path} to make it from; write one of them")
    text = read_text(path)
    fenced = _FENCED.search(text)
    code = (fenced[1] if fenced else text).strip().replace("v1", "v2")
    needed = [line for word, line in _PACKAGES.items() if re.search(rf"\b{word}\b", code) and line not in code]
    return "\n".join([*needed, *([""] if needed else []), code, ""])


def _goal(config: Config, texts: Path) -> str:
    described = [config.get("description", str, "")]
    described += [read_text(path) for name in ("func_desc.txt", "external_knowledge.txt") if (path := texts / name).is_file()]
    return "\n".join(text.strip() for text in described if text.strip())
