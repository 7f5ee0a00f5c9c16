"""What was told: how many proposals there were, the best of them, what failed and why, which plan is followed. All of it is bounded."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentopt.core.evaluation import Admission, Entry, Failure
from agentopt.core.selection import rank_key
from agentopt.core.task import Objective
from agentopt.evolving.forms import Forms
from agentopt.evolving.isles import rank_of
from agentopt.evolving.options import NAME, EvolveOptions
from agentopt.evolving.plans import Plan, plan_in

__all__ = ["Attempt", "Memory", "Tally"]

_BROKEN = 3
"""So many failed programs wait for being mended."""
_MENDABLE = ("syntax", "build", "timeout", "memory", "crash", "wrong", "oversize", "nonfinite")
_MENDED = 3
"""At most every so many proposals one mends."""
_PARENTS = 64
"""Failed edits are remembered of so many parents."""


@dataclass(frozen=True)
class Attempt:
    """``idea`` in the model's words, ``edit`` a few lines of difference, and what came of it: ``was`` and ``scores``, or ``failure``.

    ``effect`` is ``better``, ``worse`` or ``no better``, by the first objective, ties by the next.
    """

    idea: str
    edit: str
    was: Mapping[str, float]
    scores: Mapping[str, float]
    failure: str = ""
    effect: str = ""


class Memory:
    """What ``evolve`` knows of the run, from ``observe`` and ``observe_refusal`` alone."""

    def __init__(self, options: EvolveOptions, objectives: Sequence[Objective]) -> None:
        self._options, self._objectives = options, objectives
        self.seed: Entry | None = None
        self.counts: Counter[str] = Counter()
        """Proposals told by their step, refused ones too."""
        self.forms = Forms()
        self.failures: deque[Failure] = deque(maxlen=options.failures)
        self.attempts: deque[Attempt] = deque(maxlen=options.attempts)
        self.broken: deque[Entry] = deque(maxlen=_BROKEN)
        """Programs written anew that failed, and that nobody mended yet."""
        self.stalled = 0
        """Proposals since the best got better, or since paradigms were asked for."""
        self.repeated = 0
        """Proposals told that were asked to be made different."""
        self.plan = Plan()
        self.followed: Counter[int] = Counter()
        """How many proposals followed a plan, by its round; of the newest rounds."""
        self._top: list[Entry] = []
        self._failed: OrderedDict[str, deque[Attempt]] = OrderedDict()

    # --- told

    def add(self, entry: Entry, admission: Admission, better: bool) -> None:
        """``better``: it is the best so far."""
        self.seed = self.seed or entry
        if admission.status != "duplicate":
            self._rank(entry)
            failure = entry.failure
            if failure and failure not in self.failures and failure.kind != "infrastructure":
                self.failures.append(failure)
        self.stalled = 0 if better else self.stalled + (entry.candidate.optimizer == NAME)
        if entry.candidate.optimizer == NAME:
            self._add_own(entry, admission)

    def add_refused(self, memo: Mapping[str, Any]) -> None:
        self.stalled += 1
        self._count(memo)
        self.forms.add(str(memo.get("form")), won=False, scored=False)

    def _add_own(self, entry: Entry, admission: Admission) -> None:
        memo = entry.candidate.memo
        self._count(memo)
        was: Mapping[str, float] = memo.get("was") or {}
        fresh = admission.status != "duplicate"
        won = fresh and (self._effect(entry, was) == "better" or admission.gain > 0.0)
        self.forms.add(str(memo.get("form")), won, fresh and bool(entry.scores))
        failure = _why(entry) if fresh else "the same as a program that was tried before"
        said = str(memo.get("idea", "")), str(memo.get("edit", ""))
        attempt = Attempt(*said, was, {} if failure else dict(entry.scores), failure, self._effect(entry, was))
        self.attempts.append(attempt)
        if fresh and entry.failure and entry.failure.kind in _MENDABLE and _is_new(memo):
            self.broken.append(entry)
        if not won and attempt.edit and self._options.failed_edits:
            for parent in entry.candidate.parents[:1]:
                self._fail(parent, attempt)

    def _count(self, memo: Mapping[str, Any]) -> None:
        self.counts[str(memo.get("step"))] += 1
        self.repeated += "known" in memo
        for entry in [entry for entry in self.broken if entry.id == memo.get("mends")]:
            self.broken.remove(entry)
        plan = plan_in(memo)
        if plan and plan.round > self.plan.round:
            self.plan = plan
            if plan.kind == "paradigms":
                self.stalled = 0
        if follows := memo.get("follows"):
            self.followed[int(follows)] += 1
        for old in [number for number in self.followed if number < self.plan.round]:
            del self.followed[old]

    def _effect(self, entry: Entry, was: Mapping[str, float]) -> str:
        """By the first objective, a tie by the next."""
        if not entry.scores:
            return ""
        before = rank_key(was, self._objectives) if was else (math.inf,)
        after = rank_key(entry.scores, self._objectives)
        return "better" if after < before else "worse" if before < after else "no better"

    def _rank(self, entry: Entry) -> None:
        if entry.scores and all(entry.id != other.id for other in self._top):
            kept = sorted([*self._top, entry], key=lambda other: rank_of(other, self._objectives))
            self._top = kept[: self._options.top_programs + 1]

    def _fail(self, parent: str, attempt: Attempt) -> None:
        self._failed.setdefault(parent, deque(maxlen=self._options.failed_edits)).append(attempt)
        self._failed.move_to_end(parent)
        while len(self._failed) > _PARENTS:
            self._failed.popitem(last=False)

    # --- asked

    @property
    def may_repeat(self) -> bool:
        """Whether one more proposal may be asked to be made different: a model that cannot is not asked for ever."""
        share = self._options.extra_calls
        return share > 0.0 and self.repeated < 2 + share * self.counts.total()

    def top(self, without: set[str]) -> list[Entry]:
        """The best by the first objective."""
        return [entry for entry in self._top if entry.id not in without][: self._options.top_programs]

    def failed_edits(self, parents: Iterable[str]) -> list[Attempt]:
        """Of these parents, the first of them first and the newest last."""
        found = [attempt for parent in parents for attempt in self._failed.get(parent, ())]
        return found[: self._options.failed_edits]


def _is_new(memo: Mapping[str, Any]) -> bool:
    """Written as a whole: much is lost with it. An edit that failed is as soon made anew, and what was mended once is left."""
    return memo.get("step") != "mend" and memo.get("form") != "diff"


def _why(entry: Entry) -> str:
    failure = entry.failure
    if failure is None:
        return "" if entry.scores else "no score"
    return f"{failure.kind}: {' '.join(failure.message.split())[-200:]}".rstrip(": ")


class Tally:
    """What was told and what is out: ``out`` are the memos of proposals that are pending or being made."""

    def __init__(self, memory: Memory, out: Sequence[Mapping[str, Any]]) -> None:
        self._memory = memory
        self.counts = memory.counts + Counter(str(memo.get("step")) for memo in out)
        self.islands = Counter(int(memo["island"]) for memo in out if "island" in memo)
        self.asking = any(memo.get("asks") for memo in out)
        """Whether another ask makes a plan right now."""
        self.plan = max([memory.plan, *filter(None, map(plan_in, out))], key=lambda plan: plan.round)
        self._out = out

    @property
    def made(self) -> int:
        return self.counts.total()

    @property
    def place(self) -> int:
        """In the newest plan: how many proposals follow it."""
        return self._memory.followed[self.plan.round] + sum(memo.get("follows") == self.plan.round for memo in self._out)

    def broken(self) -> Entry | None:
        """The next program to mend, if it is time."""
        if self.counts["mend"] * _MENDED >= self.made:
            return None
        taken = {memo.get("mends") for memo in self._out}
        return next((entry for entry in self._memory.broken if entry.id not in taken), None)

    def wants(self, options: EvolveOptions) -> str:
        """The kind of plan that is to be asked for now; empty for none."""
        extra = self.plan.round
        if self.asking or extra + 1 > options.extra_calls * (self.made + 1 + extra + 1):
            return ""
        told = self.plan.round == self._memory.plan.round
        if options.stall and self._memory.stalled >= options.stall and (told or self.plan.kind != "paradigms"):
            return "paradigms"
        rest = 2 * options.directions if extra else options.initial + 2
        rested = self.made - self.plan.at >= rest and self.place >= len(self.plan.items)
        return "directions" if options.directions and rested else ""
