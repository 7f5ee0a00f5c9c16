"""A candidate between ``proposed`` and ``admitted``, and who it is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation, Failure, Provisional, Rollout
from agentopt.core.fold import RunState
from agentopt.core.protocols import Archive, RankingArchive
from agentopt.engine.known import Known
from agentopt.engine.rules import Rules

__all__ = ["Open", "Reference", "open_candidate", "place", "rescored"]


@dataclass(frozen=True)
class Reference:
    """Another candidate as it stood when this one was proposed; ``held`` by the archive then, or else as the log has it."""

    id: str
    held: Entry | None


@dataclass
class Open:
    """What is known of a candidate under way and what is already logged."""

    candidate: Candidate
    ticket: int
    seen: int = 0
    """Candidates told when this one was proposed: what was told later must not matter for it."""
    parent: Reference | None = None
    incumbent: Reference | None = None
    rollouts: list[Rollout] = field(default_factory=list[Rollout])
    lent: int = 0
    """Rollouts of the incumbent that its duel took."""
    evaluated: bool = False
    confirmed: bool = False
    splits: dict[str, Aggregate] = field(default_factory=dict[str, Aggregate])
    failure: Failure | None = None
    provisional: Provisional | None = None
    same_as: str = ""
    refused: str = ""
    """Why its values may not be tried, if they may not."""
    duel: Mapping[str, Any] | None = None

    def note(self, data: Mapping[str, Any]) -> None:
        """Take over an ``evaluated`` or ``confirmed`` event."""
        self.splits |= {split: Aggregate.from_json(found) for split, found in data["splits"].items()}
        self.failure = Failure.from_json(data["failure"]) if "failure" in data else None
        self.provisional = Provisional.from_json(data.get("provisional"))
        self.same_as = data.get("same_as", "")
        self.duel = data.get("duel")

    def entry(self, sandbox: str) -> Entry:
        splits = {} if self.failure else dict(self.splits)
        return Entry(self.candidate, Evaluation(self.candidate.id, tuple(self.rollouts), splits, self.failure, sandbox, self.provisional))


def open_candidate(candidate: Candidate, ticket: int, state: RunState, known: Known, archive: Archive, rules: Rules) -> Open:
    """A candidate that was just proposed. Called at the same place of the log live and in a replay, so it finds the same."""
    opened = Open(candidate, ticket, state.told)
    if rules.staged and state.best_id:
        parent = next((key for key in candidate.parents if known.is_full(key)), state.best_id)
        opened.parent = Reference(parent, archive.get(parent))
        opened.incumbent = Reference(state.best_id, archive.get(state.best_id))
    return opened


def place(archive: Archive, entry: Entry, duel: Mapping[str, Any] | None = None) -> Admission:
    """Add the entry; a provisional one only to an archive that can keep it off its front.

    Who won a duel is added with the scores of that, which are of the same rollouts as those of who lost it; then its own are shown.
    """
    if entry.provisional is None and duel and entry.failure is None:
        admission = archive.add(rescored(entry, duel["scores"]))
        cast("RankingArchive", archive).rescore(entry)
        return admission
    if entry.provisional is None or entry.failure:
        return archive.add(entry)
    if hasattr(archive, "shelve"):
        cast("RankingArchive", archive).shelve(entry)
    return Admission("dominated")


def rescored(entry: Entry, scores: Mapping[str, Any]) -> Entry:
    """The entry with other aggregates, as they are in the log, for some splits."""
    assert entry.evaluation
    splits = {split: Aggregate.from_json(found) for split, found in scores.items()}
    return Entry(entry.candidate, replace(entry.evaluation, splits={**entry.evaluation.splits, **splits}))
