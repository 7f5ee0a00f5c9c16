"""Duels on fresh seeds: who defends, with which rollouts, and what a challenger's mean.

All of it is folded from the log, and a duel's end is a pure function of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from agentopt.core.evaluation import Entry, Rollout
from agentopt.core.events import Event
from agentopt.engine.racing import chance_of_no_lead, discovery_level, least_lead, limit_at_end, spend
from agentopt.engine.schedule import Job, Schedule, doubled

__all__ = ["Arena", "Duel"]


class Arena:
    """The state of a run's duels.

    The defender's rollouts are those that followed its win: none that it won with, for these were lucky. They are used for
    ``duel_reuse`` duels; then others, with fresh seeds, take their place.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.lock = asyncio.Lock()
        """One duel at a time: who wins is the one to beat for the next."""
        self.rollouts: list[Rollout] = []
        self.first = schedule.repeats
        """The first repeat of the duels now."""
        self.rescored_for = ""
        """The challenger of the last duel whose scores of the defender are in the log."""
        self._schedule = schedule
        self._next = schedule.repeats
        self._defender = ""
        self._reign: list[Rollout] = []
        """All that the defender did since it won, and the rollouts before that had no part in it."""
        self._own: dict[str, list[Rollout]] = {}
        """Of those who won and are not admitted yet: what they will defend their place with."""
        self._used = 0
        self._held = 0
        self._wins: list[int] = []

    def feed(self, event: Event, best_id: str) -> None:
        """Every event of the run; ``best_id`` as it is after it."""
        data = event.data
        if event.kind == "rollout" and data["repeat"] >= self._schedule.repeats:
            self._next = max(self._next, data["repeat"] + 1)
            if "for" in data:
                ahead = data["for"] == data["candidate"]
                rollout = Rollout.from_json(data)
                if ahead:
                    self._own.setdefault(data["candidate"], []).append(rollout)
                else:
                    self.rollouts.append(rollout)
                    self._reign.append(rollout)
        elif event.kind == "confirmed":
            self.rescored_for = data.get("for", self.rescored_for)
            if "duel" in data:
                self._count(data["duel"])
        elif event.kind == "admitted" and best_id != self._defender:
            self._defender = best_id
            self._reign = self._own.pop(best_id, [])
            self._renew(list(self._reign))
            self._own.clear()

    def _count(self, duel: Mapping[str, Any]) -> None:
        self._held += 1
        self._used += 1
        if duel["kept"]:
            self._wins.append(self._held)
        if self._used >= self._schedule.rules.duel_reuse:
            self._renew([])

    def _renew(self, rollouts: list[Rollout]) -> None:
        self.rollouts, self._used = rollouts, 0
        self.first = min((rollout.repeat for rollout in rollouts), default=self._next)

    def defence(self, defender: Entry) -> list[Rollout]:
        """All rollouts of the defender that had no part in its being the best: what it is scored by."""
        schedule = self._schedule
        rollouts = defender.evaluation.rollouts if defender.evaluation else ()
        # as long as nobody won, it is the seed, which nobody chose
        unseen = set(schedule.unseen() if self._wins else schedule.jobs(schedule.duel_split))
        return [*(rollout for rollout in rollouts if rollout.key in unseen), *self._reign]

    def duel(self) -> Duel:
        """The next one."""
        level = discovery_level(self._held + 1, self._wins, self._schedule.rules.false_kept)
        return Duel(self._schedule, self.first, level)


class Duel:
    """One duel: after how many fresh repeats there is a look, and what is seen there."""

    def __init__(self, schedule: Schedule, first: int, level: float) -> None:
        rules, cases = schedule.rules, len(schedule.cases[schedule.duel_split])
        self.level = level
        self.looks = [*doubled(-(-rules.first_stage // cases), rules.duel_repeats), rules.duel_repeats]
        self._schedule, self._first = schedule, first
        self._total = cases * rules.duel_repeats
        pairs = [cases * look for look in self.looks]
        # where even equal signs could not say enough, nothing is spent
        able = [n for n in pairs if 2.0**-n <= level]
        self._shares = [0.0] * (len(pairs) - len(able)) + spend(able, self._total, level)
        self._risks = spend(pairs, self._total, rules.risk)

    def jobs(self, look: int) -> list[Job]:
        """The rollouts that both sides have after so many repeats."""
        return self._schedule.fresh(self._first, look)

    def jobs_after(self, look: int) -> list[Job]:
        """Behind those of the duel: with the unseen ones of the search as many as a full evaluation has."""
        schedule = self._schedule
        unseen = len(schedule.unseen()) // len(schedule.cases["train"])
        return schedule.fresh(self._first + look, schedule.repeats - unseen)

    def kept(self, look: int, challenger: Sequence[Rollout], defender: Sequence[Rollout]) -> bool | None:
        """Whether the challenger won; None while it is open. Pairs in which the defender failed say nothing."""
        differences, place = self.differences(look, challenger, defender), self.looks.index(look)
        if chance_of_no_lead(differences) <= self._shares[place]:
            return True
        if look == self.looks[-1] or len(differences) < 2 or not self._shares[-1]:
            return False
        hopeless = limit_at_end(differences, self._total, self._risks[place]) < least_lead(differences, self._total, self._shares[-1])
        return False if hopeless else None

    def differences(self, look: int, challenger: Sequence[Rollout], defender: Sequence[Rollout]) -> list[float]:
        objective = self._schedule.objectives[0]
        ours, theirs = self._schedule.values(challenger, objective), self._schedule.values(defender, objective)
        return [ours[job] - theirs[job] for job in self.jobs(look) if job in ours and job in theirs]

    def describe(self, look: int, challenger: Sequence[Rollout], defender: Sequence[Rollout]) -> dict[str, Any]:
        """What of it is logged."""
        differences = self.differences(look, challenger, defender)
        mean = sum(differences) / len(differences) if differences else 0.0
        return {"pairs": len(differences), "lead": mean, "chance": chance_of_no_lead(differences), "level": self.level}
