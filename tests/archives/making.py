"""Contexts and entries for tests of archives that look at cases and measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentopt import plugins
from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Aggregate, Entry, Evaluation, Failure, Rollout
from agentopt.core.protocols import Archive, ArchiveContext
from agentopt.core.task import Measure, Objective

__all__ = ["context", "ids", "scored"]


def context(directions: Sequence[Any] = ("min",), measures: Sequence[Measure] = (), **options: Any) -> ArchiveContext:
    """Objectives o0, o1, ...; ``child`` builds agentopt's own archives."""
    objectives = tuple(Objective(f"o{k}", direction) for k, direction in enumerate(directions))

    def child(name: str, given: Mapping[str, Any]) -> Archive:
        return plugins.resolve("archives", name)(ArchiveContext(objectives, tuple(measures), given, child))

    return ArchiveContext(objectives, tuple(measures), options, child)


def scored(
    name: object,
    *cases: float | tuple[float, ...] | None,
    measures: Sequence[Mapping[str, float]] = (),
    validation: float | None = None,
    parents: Sequence[str] = (),
    operator: str = "",
    memo: Mapping[str, Any] | None = None,
) -> Entry:
    """An entry with a rollout per case: its score (or scores), or None for a failed one, which counts 99."""
    rows = [None if case is None else case if isinstance(case, tuple) else (case,) for case in cases]
    rollouts = [
        Rollout(f"case-{k}", "train", 0, k, {} if row is None else {f"o{j}": value for j, value in enumerate(row)})
        if row is not None
        else Rollout(f"case-{k}", "train", 0, k, failure=Failure("crash"))
        for k, row in enumerate(rows)
    ]
    for k, given in enumerate(measures):
        rollouts[k] = Rollout(**{**vars(rollouts[k]), "measures": given})
    rollouts.append(Rollout("held-out", "validation", 0, 0, {"o0": 0.0}, {measure: 1e9 for given in measures for measure in given}))
    width = max(len(row) for row in rows if row is not None)
    means = {f"o{j}": sum(99.0 if row is None else row[j] for row in rows) / len(rows) for j in range(width)}
    splits = {"train": Aggregate(means, len(rows), dict.fromkeys(means, 0.0))}
    if validation is not None:
        splits["validation"] = Aggregate({"o0": validation}, 1, {"o0": 0.0})
    candidate = Candidate(str(name), {}, tuple(parents), operator=operator, memo=dict(memo or {}))
    return Entry(candidate, Evaluation(candidate.id, tuple(rollouts), splits))


def ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.id for entry in entries]
