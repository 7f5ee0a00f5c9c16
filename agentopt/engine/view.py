"""What optimizers see of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Entry
from agentopt.core.protocols import TaskCard
from agentopt.engine.run import Run
from agentopt.engine.stopping import Stopping

__all__ = ["RunView"]


class RunView:
    """Read-only; satisfies ``core.protocols.View``."""

    def __init__(self, run: Run, stopping: Stopping) -> None:
        self._run, self._stopping = run, stopping

    @property
    def task(self) -> TaskCard:
        return self._run.parts.card

    @property
    def pending(self) -> Sequence[Candidate]:
        return [opened.candidate for opened in self._run.open.values()]

    @property
    def budget_left(self) -> Mapping[str, float]:
        left = {unit: self._run.ledger.left(unit) for unit in self._run.state.limits if unit != "seconds"}
        seconds = self._stopping.search_seconds_left()
        return left if seconds is None else left | {"seconds": seconds}

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        return self._run.parts.archive.sample(n, rng)

    def front(self) -> Sequence[Entry]:
        return self._run.parts.archive.front()

    def entry(self, candidate_id: str) -> Entry | None:
        return self._run.entry(candidate_id)
