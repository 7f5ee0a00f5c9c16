"""The traces that a run kept."""

from __future__ import annotations

from agentopt.cli.reading import RunLog
from agentopt.core.errors import StoreError, UserError
from agentopt.core.evaluation import Rollout
from agentopt.trace.graph import Graph
from agentopt.trace.jsonl import load

__all__ = ["saved_trace", "traced_rollouts"]


def traced_rollouts(log: RunLog, key: str) -> list[Rollout]:
    """Those of one candidate of which a trace was kept, in the order of the log."""
    evaluation = log.entry(key).evaluation
    return [rollout for rollout in evaluation.rollouts if rollout.trace] if evaluation else []


def saved_trace(log: RunLog, key: str, rollout: Rollout) -> Graph:
    """Raises StoreError for one that cannot be read."""
    try:
        return load(log.store.get(rollout.trace))
    except UserError as error:
        raise StoreError(f"{log.folder}: the trace of candidate {key} on {rollout.case} cannot be shown: {error}") from None
