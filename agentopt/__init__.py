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
    from agentopt.core.task import Case, Limits, Measure, Objective, Parameter, Score, Task
    from agentopt.loading import load_task
    from agentopt.pipeline.optimize import optimize
    from agentopt.pipeline.stepper import Stepper
    from agentopt.results import Result
    from agentopt.trace.params import param
    from agentopt.trace.recorder import record
    from agentopt.trace.traced import traced
    from agentopt.trainables import trainable

__version__ = "0.1.0"

_HOMES = {
    "AgentoptError": "core.errors",
    "Candidate": "core.candidate",
    "Case": "core.task",
    "Limits": "core.task",
    "Measure": "core.task",
    "Objective": "core.task",
    "Parameter": "core.task",
    "Proposal": "core.candidate",
    "Reject": "core.errors",
    "Result": "results",
    "RunFailed": "core.errors",
    "Score": "core.task",
    "Stepper": "pipeline.stepper",
    "Task": "core.task",
    "UserError": "core.errors",
    "aevolve": "api",
    "evolve": "api",
    "load_run": "api",
    "load_task": "loading",
    "optimize": "pipeline.optimize",
    "param": "trace.params",
    "record": "trace.recorder",
    "resume": "api",
    "traced": "trace.traced",
    "trainable": "trainables",
}

__all__ = [
    "AgentoptError",
    "Candidate",
    "Case",
    "Limits",
    "Measure",
    "Objective",
    "Parameter",
    "Proposal",
    "Reject",
    "Result",
    "RunFailed",
    "Score",
    "Stepper",
    "Task",
    "UserError",
    "aevolve",
    "evolve",
    "load_run",
    "load_task",
    "optimize",
    "param",
    "record",
    "resume",
    "traced",
    "trainable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'agentopt' has no attribute {name!r}")
    value = getattr(import_module(f"agentopt.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
