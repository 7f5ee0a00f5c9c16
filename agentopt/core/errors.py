"""Every error agentopt raises on purpose, broad to narrow.

AgentoptError
├── UserError             bad input; the message is one sentence naming file, key and fix (exit code 2)
│   ├── TaskError         a task file or Task object that cannot be used
│   ├── ConfigError       a flag, a config key or a value
│   │   └── ConsentError  what was asked is possible, but the user has to say so
│   ├── SeedFailed        the seed candidate does not score
│   ├── StoreError        a run folder that cannot be opened, read or written
│   └── MissingExtra      an optional dependency that is not installed
├── RunFailed             the run cannot go on and it is not the input's fault (exit code 1)
├── BudgetSpent           the next call of a model does not fit the budget; the run ends when what is in flight is done
├── ModelError            a language model gave no reply; it says why and whether asking again may help (core/chat.py)
├── InfrastructureError   our process or the machine failed under a rollout; retried, never blamed on a candidate
└── Reject                raised by a task's score function: the output is invalid
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AgentoptError",
    "BudgetSpent",
    "ConfigError",
    "ConsentError",
    "InfrastructureError",
    "MissingExtra",
    "Reject",
    "RunFailed",
    "SeedFailed",
    "StoreError",
    "TaskError",
    "UserError",
]


class AgentoptError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UserError(AgentoptError):
    """The input is wrong; the message says what, where and how to mend it."""

    exit_code = 2


class TaskError(UserError):
    """The task cannot be used as it is written."""


class ConfigError(UserError):
    """An unknown key or an unusable value in flags, ``--set``, a config file or keyword arguments."""


class ConsentError(ConfigError):
    """Code from elsewhere would run behind weak walls; the message names the flag that allows it."""


class SeedFailed(UserError):
    """The seed candidate itself could not be scored; carries its own traceback in the message."""


class StoreError(UserError):
    """A run folder is missing, foreign, locked, damaged, read-only or out of space."""


class MissingExtra(UserError):
    """An optional package is needed; the message holds the install command."""


class RunFailed(AgentoptError):
    """The run stopped without a result for a reason that is not bad input. ``found`` is what there was by then, a ``Result``."""

    found: Any = None


class BudgetSpent(AgentoptError):
    """The most that the next request to a model can take does not fit what is left of the budget; it was not made."""


class InfrastructureError(AgentoptError):
    """A box, a scorer or the machine failed; the rollout is repeated."""


class Reject(AgentoptError):
    """Raise it in ``score`` when an output breaks the task's rules: the rollout fails as ``wrong``."""
