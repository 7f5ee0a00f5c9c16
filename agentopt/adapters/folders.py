"""A folder -> the task that it holds for another system, or None."""

from __future__ import annotations

from pathlib import Path

from agentopt.adapters import declared, evaluators, reevo, shinka
from agentopt.adapters.plan import make_task
from agentopt.core.task import Task

__all__ = ["load"]


def load(path: Path) -> Task | None:
    """None for what no adapter knows. Raises TaskError for a folder that one knows and cannot use."""
    if not path.is_dir():
        return None
    for read in (declared.read, evaluators.read, shinka.read, reevo.read):
        if (plan := read(path.resolve())) is not None:
            plan.fork_free = plan.fork_free or declared.is_fork_free(path)
            return make_task(plan)
    return None
