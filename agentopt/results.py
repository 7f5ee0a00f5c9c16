"""A run as plain objects: what ``evolve`` returns and ``load_run`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from agentopt.core.errors import MissingExtra
from agentopt.core.fold import CurvePoint, RunState
from agentopt.core.protocols import Store
from agentopt.core.task import Value, Values
from agentopt.engine.replay import read_entry
from agentopt.scoring.interval import paired_interval

__all__ = ["Comparison", "Found", "Result", "compare_on_test", "describe", "read_result", "value_text"]


@dataclass(frozen=True)
class Comparison:
    """best - seed per test case on one objective: mean and 95 % interval of the paired differences, in the objective's unit."""

    objective: str
    direction: str
    n: int
    mean: float
    low: float
    high: float

    @property
    def proven(self) -> bool:
        """The interval excludes zero on the better side."""
        return self.high < 0 if self.direction == "min" else self.low > 0

    @property
    def verdict(self) -> str:
        if self.proven:
            return "better"
        return "worse" if self.low > 0 or self.high < 0 else "not proven"


@dataclass(frozen=True)
class Found:
    """A member of the front: ``scores`` are the confirmed ones, ``train`` those of the search, ``test`` None unless scored there."""

    id: str
    values: Values
    scores: Mapping[str, float]
    train: Mapping[str, float]
    test: Mapping[str, float] | None
    generation: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A run, finished or not."""

    run: Path | None
    status: str
    why: str
    seed: Found | None
    best: Found | None
    front: list[Found]
    evaluations: int
    failures: Mapping[str, int]
    spent: Mapping[str, float]
    sandbox: str
    curve: list[CurvePoint]
    comparisons: list[Comparison]
    cases: Mapping[str, int] = field(default_factory=dict[str, int])
    """Number of cases per split of the task."""
    summary: Mapping[str, Any] = field(repr=False, default_factory=dict[str, Any])

    def report(self) -> str:
        """A few lines of text: status, best against seed, held-out proof."""
        lines = [f"{self.status}: {self.why} ({self.evaluations} evaluations, {self.spent.get('seconds', 0):.1f} s)"]
        if self.best and self.seed:
            for name, value in self.best.scores.items():
                lines.append(f"{name}: {self.seed.scores.get(name, float('nan')):.6g} -> {value:.6g}")
        lines += [describe(comparison) for comparison in self.comparisons]
        return "\n".join(lines)

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with one row per member of the front. Raises MissingExtra without pandas."""
        try:
            pandas: Any = import_module("pandas")
        except ImportError:
            raise MissingExtra("to_dataframe needs pandas; install it with: pip install pandas") from None
        rows = [{"id": found.id, "generation": found.generation, **found.scores} for found in self.front]
        return pandas.DataFrame(rows)


def describe(comparison: Comparison) -> str:
    """One line: the paired difference on test and whether it is proven."""
    return (
        f"test {comparison.objective}: best - seed = {comparison.mean:+.6g} "
        f"(95 % interval {comparison.low:+.6g} to {comparison.high:+.6g}, {comparison.n} paired cases): {comparison.verdict}"
    )


def compare_on_test(state: RunState) -> list[Comparison]:
    """Paired differences over the test cases that both seed and best scored; empty when there are fewer than two."""
    seed, best = state.test.get(state.seed_id, {}), state.test.get(state.best_id, {})
    cases = [case for case in seed.get("cases", {}) if case in best.get("cases", {})]
    found: list[Comparison] = []
    if state.seed_id == state.best_id:
        return found
    for objective in state.ranking:
        name = objective.name
        interval = paired_interval([best["cases"][case][name] - seed["cases"][case][name] for case in cases])
        if interval:
            found.append(Comparison(name, objective.direction, len(cases), *interval))
    return found


def value_text(value: Value) -> str:
    """A parameter's value as the text of a file: itself, or JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2) + "\n"


def read_result(state: RunState, store: Store, folder: Path | None) -> Result:
    """The objects behind a folded log."""
    summary = state.summary()

    def found(key: str) -> Found | None:
        entry = read_entry(store.read(subject=key), store.get) if key else None
        if entry is None:
            return None
        test = state.test.get(key, {}).get("splits", {}).get("test", {}).get("scores")
        candidate = entry.candidate
        return Found(key, candidate.values, entry.confirmed, entry.scores, test, candidate.generation, candidate.parents)

    return Result(
        run=folder,
        status=state.status,
        why=state.why,
        seed=found(state.seed_id),
        best=found(state.best_id),
        front=[member for key in state.front if (member := found(key))],
        evaluations=state.evals,
        failures=dict(state.failures),
        spent=state.spent,
        sandbox=str(state.info.get("sandbox", "")),
        curve=list(state.curve),
        comparisons=compare_on_test(state),
        cases=state.info.get("task", {}).get("cases", {}),
        summary=summary,
    )
