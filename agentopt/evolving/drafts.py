"""Answers that a model gave in one round and that are tried one by one: the first proposal's memo holds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentopt.core.task import Values

__all__ = ["Draft", "Drafts"]


@dataclass(frozen=True)
class Draft:
    """Answer number ``place`` of a round: the new ``values`` of some parameters of the candidate ``start``, and why."""

    round: str
    place: int
    start: str
    values: Values
    reasoning: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"place": self.place, "start": self.start, "values": dict(self.values), "reasoning": self.reasoning}


class Drafts:
    """What was answered and what of it was proposed, as far as told memos say."""

    def __init__(self) -> None:
        self._open: dict[str, list[Draft]] = {}
        self._proposed: set[tuple[str, int]] = set()

    def add(self, memo: Mapping[str, Any]) -> None:
        """Of a proposal that was told. A round is forgotten when all of it was."""
        _note(memo, self._open, self._proposed)
        name = str(memo.get("round"))
        if name in self._open and all((name, draft.place) in self._proposed for draft in self._open[name]):
            self._proposed -= {(name, draft.place) for draft in self._open.pop(name)}
        elif name not in self._open and "drafts" not in memo:
            self._proposed.discard((name, int(memo.get("draft", 0))))

    def waiting(self, pending: Sequence[Mapping[str, Any]]) -> list[Draft]:
        """Those that nobody has proposed yet; ``pending`` are the memos of proposals that are not told."""
        rounds, proposed = dict(self._open), set(self._proposed)
        for memo in pending:
            _note(memo, rounds, proposed)
        return [draft for drafts in rounds.values() for draft in drafts if (draft.round, draft.place) not in proposed]


def _note(memo: Mapping[str, Any], rounds: dict[str, list[Draft]], proposed: set[tuple[str, int]]) -> None:
    name = str(memo.get("round"))
    proposed.add((name, int(memo.get("draft", 0))))
    if "drafts" in memo:
        rounds[name] = [Draft(name, data["place"], data["start"], data["values"], data["reasoning"]) for data in memo["drafts"]]
