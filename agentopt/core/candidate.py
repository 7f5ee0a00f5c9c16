"""Proposals, candidates and what makes two candidates the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentopt.core.normalise import normalise_python
from agentopt.core.task import Parameter, Value, Values

__all__ = ["Candidate", "Proposal", "candidate_id"]


@dataclass(frozen=True)
class Proposal:
    """A candidate-to-be. ``memo`` is JSON that comes back to the optimizer with the entry."""

    values: Values
    parents: tuple[str, ...] = ()
    optimizer: str = ""
    operator: str = ""
    rationale: str = ""
    memo: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Candidate:
    """A full assignment of the task's parameters. ``id`` is a hash of the normalised values (12 hex digits)."""

    id: str
    values: Values
    parents: tuple[str, ...] = ()
    optimizer: str = ""
    operator: str = ""
    rationale: str = ""
    generation: int = 0
    memo: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, proposal: Proposal, parameters: Mapping[str, Parameter], generation: int = 0) -> Candidate:
        return cls(
            candidate_id(proposal.values, parameters),
            dict(proposal.values),
            tuple(proposal.parents),
            proposal.optimizer,
            proposal.operator,
            proposal.rationale,
            generation,
            dict(proposal.memo),
        )


def candidate_id(values: Values, parameters: Mapping[str, Parameter]) -> str:
    """Hash of the normalised values: what a comment, layout or a local's name changes is the same candidate."""
    normal = [(name, _normalise(values[name], parameters[name])) for name in sorted(parameters)]
    return hashlib.sha256(json.dumps(normal, sort_keys=True).encode()).hexdigest()[:12]


def _normalise(value: Value, parameter: Parameter) -> Value:
    return normalise_python(value) if parameter.is_python else value
