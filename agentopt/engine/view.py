"""What optimizers see of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Entry, Rollout
from agentopt.core.protocols import TaskCard
from agentopt.core.text import clean_text
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
        state = self._run.state
        kept: dict[str, float] = {"rollouts": 2 * self._run.parts.schedule.size("test")}
        kept |= self._run.parts.meter.kept if self._run.parts.meter else {}
        left = {
            unit: max(0.0, limit - state.counted[unit] - kept.get(unit, 0)) for unit, limit in state.limits.items() if unit != "seconds"
        }
        seconds = self._stopping.search_seconds_left()
        return left if seconds is None else left | {"seconds": seconds}

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        return self._run.parts.archive.sample(n, rng)

    def front(self) -> Sequence[Entry]:
        return self._run.parts.archive.front()

    def entry(self, candidate_id: str) -> Entry | None:
        return self._run.entry(candidate_id)

    def texts(self, entry: Entry, limit: int) -> Mapping[str, str]:
        rollouts = [rollout for rollout in entry.evaluation.rollouts if rollout.split == "train"] if entry.evaluation else []
        told = next((rollout for rollout in rollouts if rollout.failure), rollouts[-1] if rollouts else None)
        if told is None:
            return {}
        digests = {**told.artifacts, **({"printed": told.printed} if told.printed else {})}
        read = {name: self._text(digest, limit) for name, digest in digests.items()}
        return {name: text for name, text in read.items() if text}

    def traces(self, entry: Entry) -> Iterator[tuple[Rollout, bytes]]:
        for rollout in entry.evaluation.rollouts if entry.evaluation else ():
            if rollout.split == "train" and rollout.trace:
                yield rollout, self._run.store.get(rollout.trace)

    def _text(self, digest: str, limit: int) -> str:
        try:
            return clean_text(self._run.store.get(digest).decode(), limit)
        except UnicodeDecodeError:
            return ""
