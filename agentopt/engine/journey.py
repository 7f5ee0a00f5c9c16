"""One candidate from its first rollout to its admission, and the test at the end."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, cast

from agentopt.core.candidate import Candidate
from agentopt.core.errors import ConfigError, InfrastructureError, RunFailed
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation, Failure, Provisional, Rollout
from agentopt.core.protocols import ManySession, RankingArchive, Session
from agentopt.core.rng import rollout_seed
from agentopt.engine.arena import Duel
from agentopt.engine.opened import Open, place, rescored
from agentopt.engine.replay import told
from agentopt.engine.run import Run
from agentopt.engine.schedule import Job
from agentopt.engine.stages import estimate, has_lead, stopping_rule

__all__ = ["Journey"]

_RETRIES = 3
"""Rollouts that fail by our own infrastructure are repeated this often."""


class _Box:
    """A session opened at the first rollout, so that a candidate with nothing left to run opens none."""

    def __init__(self, run: Run, candidate: Candidate) -> None:
        self._run, self._candidate = run, candidate
        self._session: Session | None = None

    async def __aenter__(self) -> _Box:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    async def rollouts(self, jobs: Sequence[tuple[str, int, int]]) -> Sequence[Rollout]:
        """The first of ``(case, repeat, rng_seed)``, and those after it that the session does at once.

        Retries what our own infrastructure spoiled, in a fresh box. Raises RunFailed when it keeps failing.
        """
        which = f"a rollout of candidate {self._candidate.id} on case {jobs[0][0]!r}"
        why = ""
        for _ in range(_RETRIES):
            try:
                if self._session is None:
                    self._session = await self._run.parts.executor.open(self._candidate)
                rollouts = await _do(self._session, jobs)
                self._run.take_notes()
            except InfrastructureError as error:
                why = str(error)
            else:
                failure = rollouts[0].failure
                if not failure or failure.kind != "infrastructure":
                    return rollouts
                why = failure.message
            await self.close()
            self._run.note_infrastructure(f"{which} is repeated, for our own processes failed under it (said once a run): {why}")
        raise RunFailed(f"{which} failed {_RETRIES} times by our own doing: {why}")


async def _do(session: Session, jobs: Sequence[tuple[str, int, int]]) -> Sequence[Rollout]:
    many = cast("ManySession | None", session if hasattr(session, "rollouts") else None)
    return await many.rollouts(jobs) if many else [await session.rollout(*jobs[0])]


class Journey:
    """Runs what a candidate lacks and spends the budget that was reserved for it."""

    def __init__(self, run: Run) -> None:
        self._run, self._parts = run, run.parts
        self._schedule = run.parts.schedule
        self._rules = self._schedule.rules
        self._most = self._schedule.most

    # --- reservations ----------------------------------------------------------------------------------------------

    def reserve(self) -> bool:
        """Promise one candidate's upper bound: an eval, and its rollouts on train and validation."""
        ledger = self._run.ledger
        if not ledger.reserve("evals", 1):
            return False
        if not ledger.reserve("rollouts", self._most):
            ledger.release("evals", 1)
            return False
        return True

    def reserve_rest(self, opened: Open) -> None:
        """What a candidate from an earlier process may still need; it was promised there."""
        self._run.ledger.reserve("rollouts", self._most - len(opened.rollouts) - opened.lent)

    def reserve_test(self) -> None:
        """Promise the test split for the seed and for the best, as far as they are not scored on it yet."""
        run = self._run
        if run.ledger.reserve("rollouts", run.left_on_test):
            return
        if not {run.state.seed_id, run.state.best_id} <= run.state.test.keys():
            raise ConfigError("budget: the rollouts left do not fit the test split; give more")
        # both are scored, and another best could not be: nothing more may start
        run.ledger.reserve("rollouts", run.ledger.left("rollouts"))

    def give_back(self) -> None:
        """The promise of ``reserve`` was not needed."""
        self._run.ledger.release("evals", 1)
        self._run.ledger.release("rollouts", self._most)

    # --- the way of a candidate ------------------------------------------------------------------------------------

    async def travel(self, opened: Open) -> None:
        """Train in its stages, ``evaluated``, its turn, validation or a duel if it would reach the front, ``confirmed``, ``admitted``."""
        run = self._run
        async with AsyncExitStack() as stack:
            async with _Box(run, opened.candidate) as box:
                if not opened.evaluated:
                    await self._search(box, opened)
                await run.order.turn(opened.ticket)
                if self._rules.duel:
                    await stack.enter_async_context(run.arena.lock)
                await self._confirm(box, opened)
            self._tell(opened)

    def _tell(self, opened: Open) -> None:
        run = self._run
        self._rescore_defender(opened)
        run.ledger.release("rollouts", self._most - len(opened.rollouts) - opened.lent)
        del run.open[opened.candidate.id]
        entry = told(self._parts, run.known, opened, run.state.told)
        admission = Admission("duplicate") if opened.same_as else place(self._parts.archive, entry, opened.duel)
        run.tell(entry, admission, opened.ticket, opened.provisional)

    def _entry(self, opened: Open) -> Entry:
        return opened.entry(self._parts.executor.sandbox)

    # --- search ----------------------------------------------------------------------------------------------------

    async def _search(self, box: _Box, opened: Open) -> None:
        """Stage after stage of the train rollouts, until all that it may have are done or a rule says that the rest is not worth it."""
        schedule, total = self._schedule, self._schedule.size("train")
        if opened.refused:
            refused = Evaluation(opened.candidate.id, failure=Failure("refused", opened.refused), sandbox=self._parts.executor.sandbox)
            self._log(opened, "evaluated", {**_evaluated(refused), "stage": "train"})
            opened.evaluated = True
            return
        jobs = schedule.jobs("train")
        looks = schedule.stages() if opened.incumbent or not self._rules.staged else [total]
        found: dict[str, Any] = {}
        for look in looks:
            await self._collect(box, opened.candidate, jobs[:look], opened.rollouts)
            if schedule.fail_fast and schedule.failure(opened.rollouts):
                break
            if found := self._saving(opened, look, total):
                break
        if not found or schedule.failure(opened.rollouts):
            evaluation = schedule.conclude(opened.candidate.id, opened.rollouts, self._parts.executor.sandbox)
            found = _evaluated(evaluation)
        self._log(opened, "evaluated", {**found, "stage": "train"})
        opened.evaluated = True

    def _saving(self, opened: Open, look: int, total: int) -> dict[str, Any]:
        """What an evaluation that ends at this look comes to; empty when it goes on or is complete."""
        schedule = self._schedule
        about = {"candidate": opened.candidate.id, "sandbox": self._parts.executor.sandbox}
        answers = schedule.answers(opened.rollouts) if look == schedule.stages()[0] else b""
        if twin := self._run.known.who_answered(answers, opened.seen):
            evaluation = self._run.known.evaluation(twin)
            assert evaluation
            provisional = {"provisional": evaluation.provisional.to_json()} if evaluation.provisional else {}
            return {**_evaluated(evaluation), **about, **provisional, "same_as": twin, "saved": total - look}
        if look == total or opened.parent is None or opened.incumbent is None:
            return {}
        # up to the first repeat of every case it has to keep up with its parent, beyond with the best
        reference = opened.parent if look <= total // schedule.repeats and look < schedule.trial else opened.incumbent
        entry = reference.held or self._run.entry(reference.id)
        assert entry
        done = opened.rollouts[:look]  # after a crash there may be more, which this look did not see
        estimated = about | {"splits": {"train": estimate(schedule, done, entry).to_json()}, "against": reference.id}
        if look == schedule.trial:
            return estimated
        rule = stopping_rule(schedule, done, entry, lead=self._rules.duel and reference.id == opened.incumbent.id)
        return estimated | {"provisional": {"rule": rule, "done": look, "of": total}} if rule else {}

    def _log(self, opened: Open, kind: str, data: Mapping[str, Any]) -> None:
        self._run.append(kind, data)
        opened.note(data)

    # --- confirmation ----------------------------------------------------------------------------------------------

    async def _confirm(self, box: _Box, opened: Open) -> None:
        entry = self._entry(opened)
        if opened.confirmed or opened.same_as or entry.failure or entry.provisional:
            return
        if self._rules.duel and self._run.state.best_id:
            await self._challenge(box, opened, entry)
        elif self._schedule.jobs("validation") and self._parts.archive.admits(entry):
            await self._collect(box, opened.candidate, self._schedule.jobs("validation"), opened.rollouts)
            evaluation = self._schedule.conclude(opened.candidate.id, opened.rollouts, self._parts.executor.sandbox)
            self._log(opened, "confirmed", _evaluated(evaluation, "validation"))

    async def _challenge(self, box: _Box, opened: Open, entry: Entry) -> None:
        """A duel, if the lead is worth one: only who wins it reaches the front."""
        schedule, admitted = self._schedule, self._parts.archive.admits(entry)
        incumbent = self._run.entry(self._run.state.best_id)
        assert incumbent
        search = [rollout for rollout in opened.rollouts if schedule.is_search(rollout)][: schedule.trial]
        if admitted and has_lead(schedule, search, incumbent):
            await self._fight(box, opened, incumbent)
        elif admitted or len(search) < schedule.size("train"):
            opened.provisional = Provisional("lead", len(search), schedule.size("train"))

    async def _fight(self, box: _Box, opened: Open, incumbent: Entry) -> None:
        """The challenger and the best on the same fresh rollouts, until it is clear whether the challenger is better."""
        schedule, arena = self._schedule, self._run.arena
        duel, kept = arena.duel(), None
        looks = iter(duel.looks)
        look = 0
        while kept is None:
            look = next(looks)
            await self._defend(box, opened, incumbent.candidate, duel.jobs(look))
            await self._collect(box, opened.candidate, duel.jobs(look), opened.rollouts)
            failed = schedule.fail_fast and schedule.failure(opened.rollouts)
            kept = False if failed else duel.kept(look, opened.rollouts, arena.rollouts)
        await self._end_duel(box, opened, incumbent, duel, look, kept)

    async def _defend(self, box: _Box, opened: Open, defender: Candidate, jobs: Sequence[Job]) -> None:
        """The rollouts that the best lacks, in a box of its own: a slot holds one at a time."""
        defended = list(self._run.arena.rollouts)
        if not self._lacking(jobs, defended):
            return
        await box.close()
        async with _Box(self._run, defender) as other:
            before = len(defended)
            await self._collect(other, defender, jobs, defended, {"for": opened.candidate.id})
            opened.lent += len(defended) - before

    async def _end_duel(self, box: _Box, opened: Open, incumbent: Entry, duel: Duel, look: int, kept: bool) -> None:
        schedule, split, arena = self._schedule, self._schedule.duel_split, self._run.arena
        jobs = set(duel.jobs(look))
        # who loses its place is scored on what it lost on, so that both scores are of the same rollouts
        shown = [rollout for rollout in arena.rollouts if rollout.key in jobs] if kept else arena.defence(incumbent)
        theirs, broken = schedule.conclude_on(shown)
        ours, failure = schedule.conclude_on([rollout for rollout in opened.rollouts if rollout.key in jobs])
        about: dict[str, Any] = {"against": incumbent.id, "defender": {} if broken else {split: theirs.to_json()}}
        about |= duel.describe(look, opened.rollouts, arena.rollouts) | {"scores": {split: ours.to_json()}}
        if kept:
            ours, failure = await self._score_winner(box, opened, duel, look)
        kept = kept and not failure
        fresh = sum(rollout.repeat >= schedule.repeats for rollout in opened.rollouts)
        about |= {"kept": kept, "rollouts": fresh + opened.lent}
        data = {"candidate": opened.candidate.id, "sandbox": self._parts.executor.sandbox, "duel": about}
        data |= {"splits": {}, "failure": failure.to_json()} if failure else {"splits": {split: ours.to_json()}}
        done = sum(map(schedule.is_search, opened.rollouts))
        lost = {} if kept else {"provisional": Provisional("duel", done, schedule.size("train")).to_json()}
        self._log(opened, "confirmed", data | lost)

    async def _score_winner(self, box: _Box, opened: Open, duel: Duel, look: int) -> tuple[Aggregate, Failure | None]:
        """It won with luck too. What is shown of it had no part in that: the rest of its search, and what it will defend its place with."""
        schedule, candidate = self._schedule, opened.candidate
        await self._collect(box, candidate, schedule.jobs("train"), opened.rollouts)
        ahead = duel.jobs_after(look)
        await self._collect(box, candidate, ahead, opened.rollouts, {"for": candidate.id})
        shown = {*schedule.unseen(), *ahead}
        return schedule.conclude_on([rollout for rollout in opened.rollouts if rollout.key in shown])

    def _rescore_defender(self, opened: Open) -> None:
        """Who was scored on fresh seeds is known better now. A process that died may have logged that already."""
        run, duel = self._run, opened.duel
        if duel is None or not duel["defender"] or run.arena.rescored_for == opened.candidate.id:
            return
        data = {"candidate": duel["against"], "splits": duel["defender"], "sandbox": self._parts.executor.sandbox}
        entry = run.entry(duel["against"])
        assert entry
        run.append("confirmed", data | {"for": opened.candidate.id})
        cast("RankingArchive", self._parts.archive).rescore(rescored(entry, duel["defender"]))

    # --- rollouts --------------------------------------------------------------------------------------------------

    def _lacking(self, jobs: Sequence[Job], done: Sequence[Rollout]) -> list[tuple[str, int, int]]:
        have = {rollout.key for rollout in done}
        seed = self._run.plan.rng_seed
        return [(case, repeat, rollout_seed(seed, case, repeat)) for case, repeat in jobs if (case, repeat) not in have]

    async def _collect(
        self, box: _Box, candidate: Candidate, wanted: Sequence[Job], done: list[Rollout], about: Mapping[str, str] | None = None
    ) -> None:
        """Each of the wanted that ``done`` lacks, logged and added to it; up to the failure that fails the candidate."""
        through = bool(about) or not self._schedule.fail_fast
        jobs = self._lacking(wanted, done)
        while jobs and (through or not self._schedule.failure(done)):
            landed = await box.rollouts(jobs)
            jobs = jobs[len(landed) :]
            for rollout in landed:
                self._run.append("rollout", {"candidate": candidate.id, **rollout.to_json(), **(about or {})})
                self._run.ledger.settle("rollouts", 1)
                done.append(rollout)
                if not through and rollout.failure:
                    return

    # --- test ------------------------------------------------------------------------------------------------------

    def tests(self) -> list[Coroutine[Any, Any, None]]:
        """The work of scoring seed and best on the test split, each once in the life of a run."""
        state = self._run.state
        if not self._schedule.size("test") or not state.best_id:
            return []
        return [self._test_one(key) for key in dict.fromkeys((state.seed_id, state.best_id)) if key not in state.test]

    async def _test_one(self, key: str) -> None:
        entry = self._run.entry(key)
        if entry is None:
            raise RunFailed(f"candidate {key} is not in the log")
        rollouts = self._run.left_test.get(key, [])
        async with self._run.slots, _Box(self._run, entry.candidate) as box:
            await self._collect(box, entry.candidate, self._schedule.jobs("test"), rollouts)
        evaluation = self._schedule.conclude(key, rollouts, self._parts.executor.sandbox)
        cases = self._schedule.case_means(rollouts)
        self._run.append("evaluated", {**_evaluated(evaluation), "stage": "test", "cases": cases})


def _evaluated(evaluation: Evaluation, *only: str) -> dict[str, Any]:
    splits = {split: found.to_json() for split, found in evaluation.splits.items() if not only or split in only}
    data: dict[str, Any] = {"candidate": evaluation.candidate_id, "splits": splits, "sandbox": evaluation.sandbox}
    return data | ({"failure": evaluation.failure.to_json()} if evaluation.failure else {})
