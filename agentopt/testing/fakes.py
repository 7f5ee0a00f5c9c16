"""Small stand-ins for what surrounds an optimizer, an archive or an executor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Aggregate, Entry, Evaluation, Failure, FailureKind, Rollout
from agentopt.core.protocols import TaskCard
from agentopt.core.task import Case, Objective, Parameter, Score, Task

__all__ = ["FakeView", "make_entry", "make_task", "task_card"]

_CODE = '''\
def shrink(point):
    """Move a point towards where it should be."""
    offset = 0.75
    rate = 0.5
    moved = []
    for value in point:
        if value > offset:
            value = value - rate * (value - offset)
        moved.append(value)
    return moved
'''


def make_task(*, code: bool = True, config: bool = True, objectives: Sequence[Objective] | None = None) -> Task:
    """A sphere in two dimensions: ``start`` (a config with numbers) says where to begin, ``shrink`` (Python) moves the point.

    ``score`` is the objective ``distance`` (min), the squared distance to the case's ``expected`` point. Two train cases, one for
    validation, one for test. Functions that a task file would hold are closures here, so that they travel by value.
    """
    parameters: dict[str, Parameter] = {}
    if config:
        space = {"x": (-2.0, 2.0), "y": (-2.0, 2.0)}
        parameters["start"] = Parameter("start", "config", {"x": 1.5, "y": -0.5}, description="where to begin", space=space)
    if code:
        parameters["shrink"] = Parameter("shrink", "code", _CODE, description="moves a point")
    cases = {
        "train": [Case("a", [0.25, 0.5], [0.0, 0.0]), Case("b", [-0.5, 1.0], [0.25, 0.25])],
        "validation": [Case("c", [0.5, -0.5], [0.0, 0.25])],
        "test": [Case("d", [1.0, 1.0], [0.25, 0.0])],
    }
    task = Task(
        name="sphere", goal="Bring the point close to the target.", parameters=parameters, objectives=objectives or [_DISTANCE], cases=cases
    )

    @task.run
    def run(program: Any, input: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        point = [input[0] + program.start["x"], input[1] + program.start["y"]] if config else list(input)
        return [float(value) for value in (program.shrink(point) if code else point)]

    @task.score
    def score(case: Any, output: Any, measured: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        return Score(
            distance=sum((a - b) ** 2 for a, b in zip(output, case.expected, strict=True)), feedback=f"the point ended at {output}"
        )

    return task


_DISTANCE = Objective("distance", "min")


def task_card(task: Task) -> TaskCard:
    """What an optimizer would be told of ``task``."""
    train = task.make_cases()["train"]
    inputs, ids = tuple(case.input for case in train), tuple(case.id for case in train)
    described = (task.name, task.goal, task.resolved, tuple(task.objectives), tuple(task.measures))
    return TaskCard(*described, inputs, task.limits, tuple(task.imports), ids)


def make_entry(
    name: str | Candidate,
    scores: Mapping[str, float] | None = None,
    *,
    validation: Mapping[str, float] | None = None,
    failure: FailureKind | None = None,
) -> Entry:
    """An entry as the engine would build it; ``name`` is a candidate or becomes one's id.

    With neither scores nor failure it is a duplicate of a candidate that is still being evaluated.
    """
    candidate = name if isinstance(name, Candidate) else Candidate(name, {})
    if scores is None and failure is None:
        return Entry(candidate, None)
    splits = {"train": scores, "validation": validation}
    aggregates = {split: Aggregate(given, 1, dict.fromkeys(given, 0.0)) for split, given in splits.items() if given is not None}
    failed = Failure(failure, "made to fail") if failure else None
    return Entry(candidate, Evaluation(candidate.id, (), {} if failed else aggregates, failed, "L0"))


class FakeView:
    """``core.protocols.View`` over lists. ``entries`` are told ones, the seed first; ``pending`` are not told yet.

    ``traces`` are blobs by digest, as rollouts name them.
    """

    def __init__(
        self,
        task: TaskCard,
        entries: Sequence[Entry],
        pending: Sequence[Candidate] = (),
        budget_left: Mapping[str, float] | None = None,
        traces: Mapping[str, bytes] | None = None,
    ) -> None:
        self.task = task
        self._traces = traces or {}
        self.pending = pending
        self.budget_left: Mapping[str, float] = {"evals": 1000.0} if budget_left is None else budget_left
        self._entries = {entry.id: entry for entry in entries}

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        """Any scored entries, with repetition."""
        scored = [entry for entry in self._entries.values() if entry.scores]
        return [rng.choice(scored) for _ in range(n)] if scored else []

    def front(self) -> Sequence[Entry]:
        """The entry with the best first objective."""
        first = self.task.objectives[0]
        sign = 1.0 if first.direction == "min" else -1.0
        scored = [entry for entry in self._entries.values() if entry.scores]
        return [min(scored, key=lambda entry: sign * entry.scores[first.name])] if scored else []

    def entry(self, candidate_id: str) -> Entry | None:
        return self._entries.get(candidate_id)

    def texts(self, entry: Entry, limit: int) -> Mapping[str, str]:
        """Nothing: made-up rollouts leave nothing behind."""
        return {}

    def traces(self, entry: Entry) -> Iterator[tuple[Rollout, bytes]]:
        """Of its train rollouts those whose ``trace`` is a key of the given ``traces``."""
        for rollout in entry.evaluation.rollouts if entry.evaluation else ():
            if rollout.split == "train" and rollout.trace in self._traces:
                yield rollout, self._traces[rollout.trace]
