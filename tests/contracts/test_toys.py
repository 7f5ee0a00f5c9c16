"""The contracts themselves: toys written from the protocols alone pass, and each way of breaking one is noticed."""

from __future__ import annotations

import inspect
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentopt.core.candidate import Candidate
from agentopt.core.errors import StoreError
from agentopt.core.evaluation import Admission, Entry, Rollout
from agentopt.core.events import Event
from agentopt.core.protocols import Exhausted, OptimizerContext, Refused, Wait
from agentopt.core.task import Parameter
from agentopt.testing import ArchiveContract, ExecutorContract, OptimizerContract, StoreContract, make_task
from tests.contracts.toys import ToyArchive, ToyExecutor, ToyOptimizer, ToySession, ToyStore


class TestToyOptimizer(OptimizerContract):
    def make(self, context: OptimizerContext) -> Any:
        return ToyOptimizer(context)


class TestToyArchive(ArchiveContract):
    def make(self, context: Any) -> Any:
        return ToyArchive(context)


class TestToyExecutor(ExecutorContract):
    def make(self, context: Any) -> Any:
        return ToyExecutor(context)


class TestToyStore(StoreContract):
    def make(self, folder: Path) -> Any:
        return ToyStore(folder / "log")

    def reopen(self, folder: Path) -> Any:
        return ToyStore(folder / "log")


def broken(contract: Any, make: Callable[..., Any]) -> set[str]:
    """The names of the contract's tests that ``make``'s product fails."""
    subject = type("Subject", (contract,), {"make": lambda self, given: make(given)})()
    failed: set[str] = set()
    for name, test in inspect.getmembers(subject, inspect.ismethod):
        if name.startswith("test_"):
            with tempfile.TemporaryDirectory() as folder:
                arguments = [Path(folder)] if inspect.signature(test).parameters else []
                try:
                    test(*arguments)
                except Exception:
                    failed.add(name)
    return failed


class OptimizerBreaks:
    class Incomplete(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            answer = await super().propose(view, n, rng)
            return [replace(proposal, values={"start": proposal.values["start"]}) for proposal in answer]

    class WrongType(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            answer = await super().propose(view, n, rng)
            return [replace(proposal, values={**proposal.values, "shrink": 3}) for proposal in answer]

    class MemoIsNoJson(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            answer = await super().propose(view, n, rng)
            return [replace(proposal, memo={"step": (1, 2)}) for proposal in answer]

    class TooMany(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return await super().propose(view, n + 1, rng)

    class Silent(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return []

    class GivesUp(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return Exhausted("")

    class Stranger(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return [replace(proposal, parents=("nobody",)) for proposal in await super().propose(view, n, rng)]

    class GlobalRandom(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return await super().propose(view, n, random)

    class RemembersAsking(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            self.failures += 1
            return await super().propose(view, n, rng)

    class WaitsForever(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return Wait()

    class ChokesOnDuplicates(ToyOptimizer):
        def observe(self, entry: Entry, admission: Admission) -> None:
            assert entry.evaluation is not None

    class EditsItsParent(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            answer = await super().propose(view, n, rng)
            view.sample(1, rng)[0].candidate.values["start"]["x"] += 1
            return answer


OPTIMIZERS = {
    OptimizerBreaks.Incomplete: "test_proposals_are_complete",
    OptimizerBreaks.WrongType: "test_proposals_are_complete",
    OptimizerBreaks.MemoIsNoJson: "test_proposals_are_complete",
    OptimizerBreaks.TooMany: "test_at_most_n",
    OptimizerBreaks.Silent: "test_goes_on_for_many_rounds",
    OptimizerBreaks.GivesUp: "test_it_proposes",
    OptimizerBreaks.Stranger: "test_parents_were_told",
    OptimizerBreaks.GlobalRandom: "test_equal_histories_give_equal_proposals",
    OptimizerBreaks.RemembersAsking: "test_replay_restores_it",
    OptimizerBreaks.WaitsForever: "test_never_waits_for_nothing",
    OptimizerBreaks.ChokesOnDuplicates: "test_takes_duplicates",
    OptimizerBreaks.EditsItsParent: "test_told_entries_are_left_alone",
}


@pytest.mark.parametrize(("kind", "test"), OPTIMIZERS.items(), ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_optimizer_is_noticed(kind: type, test: str) -> None:
    assert test in broken(OptimizerContract, kind)


def test_a_waiting_optimizer_passes() -> None:
    """Generations: two proposals, then Wait until both were told."""

    class Generations(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return Wait() if len(view.pending) >= 2 else await super().propose(view, n, rng)

    assert not broken(OptimizerContract, Generations)


def test_a_refused_reply_is_a_legal_answer() -> None:
    class Refuses(ToyOptimizer):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return Refused("no code in it") if rng.random() < 0.3 else await super().propose(view, n, rng)

    assert not broken(OptimizerContract, Refuses)


def test_parameters_that_are_not_trainable_stay() -> None:
    class Fixed(OptimizerContract):
        def make(self, context: OptimizerContext) -> Any:
            return ToyOptimizer(context)

        def task(self) -> Any:
            task = make_task()
            start: Parameter = task.resolved["start"]
            task.parameters = {**task.resolved, "start": replace(start, trainable=False)}
            return task

    with pytest.raises(AssertionError, match="'start' is not trainable and was changed"):
        Fixed().test_proposals_are_complete()


class ArchiveBreaks:
    class KeepsTheWorst(ToyArchive):
        def covers(self, a: Any, b: Any) -> bool:
            return super().covers(b, a)

    class TrustsSearchScores(ToyArchive):
        def add(self, entry: Entry) -> Admission:
            evaluation = entry.evaluation
            if evaluation is not None:
                splits = {split: given for split, given in evaluation.splits.items() if split == "train"}
                entry = replace(entry, evaluation=replace(evaluation, splits=splits))
            return super().add(entry)

    class AdmitsAll(ToyArchive):
        def admits(self, entry: Entry) -> bool:
            return True

    class OwnDice(ToyArchive):
        def sample(self, n: int, rng: Any) -> Any:
            return super().sample(n, random)

    class NeverDisplaces(ToyArchive):
        def add(self, entry: Entry) -> Admission:
            return replace(super().add(entry), displaced=())


ARCHIVES = {
    ArchiveBreaks.KeepsTheWorst: "test_better_displaces",
    ArchiveBreaks.TrustsSearchScores: "test_validation_decides",
    ArchiveBreaks.AdmitsAll: "test_admits_foretells_add",
    ArchiveBreaks.OwnDice: "test_sample_is_drawn_from_rng_alone",
    ArchiveBreaks.NeverDisplaces: "test_front_follows_admissions",
}


@pytest.mark.parametrize(("kind", "test"), ARCHIVES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_archive_is_noticed(kind: type, test: str) -> None:
    assert test in broken(ArchiveContract, kind)


def executor_with(session: type[ToySession]) -> type[ToyExecutor]:
    class Broken(ToyExecutor):
        async def open(self, candidate: Candidate) -> Any:
            return session(self.context, candidate)

    return Broken


class SessionBreaks:
    class Raises(ToySession):
        def solve(self, case: Any, rng_seed: int) -> Any:
            kind, result = super().solve(case, rng_seed)
            if kind == "crash":
                raise result
            return kind, result

    class NoSeed(ToySession):
        async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
            return replace(await super().rollout(case_id, repeat, 0), rng_seed=rng_seed)

    class SeedKeptFromScore(ToySession):
        def solve(self, case: Any, rng_seed: int) -> Any:
            return super().solve(case, 0)

    class TakesAnyCase(ToySession):
        async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
            try:
                return await super().rollout(case_id, repeat, rng_seed)
            except RuntimeError:
                return Rollout(case_id, "train", repeat, rng_seed)

    class AlwaysZero(ToySession):
        def solve(self, case: Any, rng_seed: int) -> Any:
            kind, result = super().solve(case, rng_seed)
            return kind, result if kind else replace_scores(result)

    class CloseOnce(ToySession):
        async def close(self) -> None:
            assert not vars(self).get("closed")
            self.closed = True


def replace_scores(score: Any) -> Any:
    return type(score)(distance=0.0, feedback=score.feedback)


EXECUTORS = {
    SessionBreaks.Raises: "test_failing_candidates_are_data",
    SessionBreaks.NoSeed: "test_rng_seed_makes_rollouts_repeatable",
    SessionBreaks.SeedKeptFromScore: "test_score_is_told_the_rng_seed",
    SessionBreaks.TakesAnyCase: "test_unknown_case_raises",
    SessionBreaks.AlwaysZero: "test_score_is_right",
    SessionBreaks.CloseOnce: "test_close_twice",
}


@pytest.mark.parametrize(("session", "test"), EXECUTORS.items(), ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_executor_is_noticed(session: Any, test: str) -> None:
    assert test in broken(ExecutorContract, executor_with(session))


class StoreBreaks:
    class Forgets(ToyStore):
        def append(self, kind: str, data: Mapping[str, Any]) -> Event:
            event = super().append(kind, data)
            if event.seq == 3:
                self.path.write_text("")
            return event

    class NoAfter(ToyStore):
        def read(self, after: int = 0, subject: str | None = None) -> Iterator[Event]:
            return super().read(0, subject)

    class MutableView(ToyStore):
        def append(self, kind: str, data: Mapping[str, Any]) -> Event:
            return replace(super().append(kind, data), data=data)

    class InventsBytes(ToyStore):
        def get(self, digest: str) -> bytes:
            try:
                return super().get(digest)
            except StoreError:
                return b""

    class AnyKind(ToyStore):
        def append(self, kind: str, data: Mapping[str, Any]) -> Event:
            return super().append("note" if kind == "gossip" else kind, data)


STORES = {
    StoreBreaks.Forgets: "test_read_after",
    StoreBreaks.NoAfter: "test_read_after",
    StoreBreaks.MutableView: "test_append_answers_the_event",
    StoreBreaks.InventsBytes: "test_blobs",
    StoreBreaks.AnyKind: "test_refuses_what_it_could_not_read",
}


@pytest.mark.parametrize(("kind", "test"), STORES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_store_is_noticed(kind: Any, test: str) -> None:
    assert test in broken(StoreContract, lambda folder: kind(folder / "log"))


@pytest.mark.parametrize("contract", [OptimizerContract, ArchiveContract, ExecutorContract, StoreContract])
def test_a_contract_without_make_says_so(contract: Any) -> None:
    with pytest.raises(NotImplementedError, match="return"):
        contract().make(None)


def test_a_composed_optimizer_needs_child() -> None:
    with pytest.raises(NotImplementedError, match="'mutate': give child"):
        OptimizerContract().child("mutate", {}, None)
