"""agentopt improves prompts, code, heuristics and hyperparameters, and proves the improvement.

The public names are resolved on first use, so that ``import agentopt`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentopt.api import aevolve, evolve, load_run, resume
    from agentopt.core.candidate import Candidate, Proposal
    from agentopt.core.errors import AgentoptError, Reject, RunFailed, UserError
    from agentopt.core.evaluation import Admission, Entry, Evaluation
    from agentopt.core.protocols import Exhausted, Refused, Wait
    from agentopt.core.task import Case, Limits, Measure, Objective, Parameter, Score, Task
    from agentopt.loading import load_task
    from agentopt.results import Result

__version__ = "0.1.0"

_HOMES = {
    "Admission": "core.evaluation",
    "AgentoptError": "core.errors",
    "Candidate": "core.candidate",
    "Case": "core.task",
    "Entry": "core.evaluation",
    "Evaluation": "core.evaluation",
    "Exhausted": "core.protocols",
    "Limits": "core.task",
    "Measure": "core.task",
    "Objective": "core.task",
    "Parameter": "core.task",
    "Proposal": "core.candidate",
    "Refused": "core.protocols",
    "Reject": "core.errors",
    "Result": "results",
    "RunFailed": "core.errors",
    "Score": "core.task",
    "Task": "core.task",
    "UserError": "core.errors",
    "Wait": "core.protocols",
    "aevolve": "api",
    "evolve": "api",
    "load_run": "api",
    "load_task": "loading",
    "resume": "api",
}

__all__ = [
    "Admission",
    "AgentoptError",
    "Candidate",
    "Case",
    "Entry",
    "Evaluation",
    "Exhausted",
    "Limits",
    "Measure",
    "Objective",
    "Parameter",
    "Proposal",
    "Refused",
    "Reject",
    "Result",
    "RunFailed",
    "Score",
    "Task",
    "UserError",
    "Wait",
    "aevolve",
    "evolve",
    "load_run",
    "load_task",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'agentopt' has no attribute {name!r}")
    value = getattr(import_module(f"agentopt.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
