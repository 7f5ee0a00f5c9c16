"""One candidate from its first rollout to its admission, and the test at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from types import TracebackType
from typing import Any, cast

from agentopt.core.candidate import Candidate
from agentopt.core.errors import ConfigError, InfrastructureError, RunFailed
from agentopt.core.evaluation import Entry, Evaluation, Rollout
from agentopt.core.protocols import ManySession, Session
from agentopt.core.rng import rollout_seed
from agentopt.engine.replay import Open
from agentopt.engine.run import Run

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
        self._most = self._schedule.size("train") + self._schedule.size("validation")

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
        self._run.ledger.reserve("rollouts", self._most - len(opened.rollouts))

    def reserve_test(self) -> None:
        """Promise the test split for the seed and for the best, as far as they are not scored on it yet."""
        run = self._run
        passes = 1 + (run.state.seed_id not in run.state.test)
        done = sum(len(rollouts) for key, rollouts in run.left_test.items() if key not in run.state.test)
        if run.ledger.reserve("rollouts", passes * self._schedule.size("test") - done):
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
        """Train, ``evaluated``, its turn, validation if it would reach the front, ``confirmed``, ``admitted``."""
        run, candidate = self._run, opened.candidate
        async with _Box(self._run, candidate) as box:
            evaluation = await self._measure(box, opened)
        run.ledger.release("rollouts", self._most - len(opened.rollouts))
        del run.open[candidate.id]
        entry = Entry(candidate, evaluation)
        run.known.settle(entry)
        run.tell(entry, self._parts.archive.add(entry), opened.ticket)

    async def _measure(self, box: _Box, opened: Open) -> Evaluation:
        await self._collect(box, opened, "train")
        evaluation = self._conclude(opened)
        if not opened.evaluated:
            self._run.append("evaluated", {**_evaluated(evaluation), "stage": "train"})
            opened.evaluated = True
        await self._run.order.turn(opened.ticket)
        if not self._wants_confirmation(Entry(opened.candidate, evaluation), opened):
            return evaluation
        await self._collect(box, opened, "validation")
        evaluation = self._conclude(opened)
        self._run.append("confirmed", _evaluated(evaluation, "validation"))
        opened.confirmed = True
        return evaluation

    def _wants_confirmation(self, entry: Entry, opened: Open) -> bool:
        if opened.confirmed or entry.failure or not self._schedule.size("validation"):
            return False
        return self._parts.archive.admits(entry)

    def _conclude(self, opened: Open) -> Evaluation:
        return self._schedule.conclude(opened.candidate.id, opened.rollouts, self._parts.executor.sandbox)

    async def _collect(self, box: _Box, opened: Open, split: str) -> None:
        """Run the jobs of ``split`` that are missing; stops at the failure that fails the candidate."""
        done = [rollout for rollout in opened.rollouts if rollout.split == split]
        async for rollout in self._all(box, opened.candidate, split, done):
            opened.rollouts.append(rollout)

    async def _all(self, box: _Box, candidate: Candidate, split: str, done: list[Rollout]) -> AsyncIterator[Rollout]:
        """Each rollout that ``done`` lacks, logged, and added to it; up to the failure that fails the candidate."""
        jobs = [(case, repeat, self._seed(case, repeat)) for case, repeat in self._schedule.missing(split, (r.key for r in done))]
        while jobs and not (self._schedule.fail_fast and self._schedule.failure(done)):
            landed = await box.rollouts(jobs)
            jobs = jobs[len(landed) :]
            for rollout in landed:
                self._run.append("rollout", {"candidate": candidate.id, **rollout.to_json()})
                self._run.ledger.settle("rollouts", 1)
                done.append(rollout)
                yield rollout
                if self._schedule.fail_fast and self._schedule.failure(done):
                    return

    def _seed(self, case: str, repeat: int) -> int:
        return rollout_seed(self._run.plan.rng_seed, case, repeat)

    # --- test ------------------------------------------------------------------------------------------------------

    def tests(self) -> list[Coroutine[Any, Any, None]]:
        """The work of scoring seed and best on the test split, each once in the life of a run."""
        state = self._run.state
        if not self._schedule.size("test"):
            return []
        return [self._test_one(key) for key in dict.fromkeys((state.seed_id, state.best_id)) if key not in state.test]

    async def _test_one(self, key: str) -> None:
        entry = self._run.entry(key)
        if entry is None:
            raise RunFailed(f"candidate {key} is not in the log")
        rollouts = self._run.left_test.get(key, [])
        async with self._run.slots, _Box(self._run, entry.candidate) as box:
            async for _ in self._all(box, entry.candidate, "test", rollouts):
                pass
        evaluation = self._schedule.conclude(key, rollouts, self._parts.executor.sandbox)
        cases = self._schedule.case_means(rollouts)
        self._run.append("evaluated", {**_evaluated(evaluation), "stage": "test", "cases": cases})


def _evaluated(evaluation: Evaluation, *only: str) -> dict[str, Any]:
    splits = {split: found.to_json() for split, found in evaluation.splits.items() if not only or split in only}
    data: dict[str, Any] = {"candidate": evaluation.candidate_id, "splits": splits, "sandbox": evaluation.sandbox}
    return data | ({"failure": evaluation.failure.to_json()} if evaluation.failure else {})
