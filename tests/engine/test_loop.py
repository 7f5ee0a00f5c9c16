"""The loop: order, resuming, budgets, stopping."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agentopt import Case, Objective, Proposal, RunFailed
from agentopt.core.candidate import Candidate
from agentopt.core.errors import ConfigError, SeedFailed
from agentopt.core.evaluation import Admission, Entry, Failure, Rollout
from agentopt.core.fold import fold
from agentopt.core.protocols import Exhausted, Refused, Wait
from agentopt.engine.plan import Plan
from agentopt.engine.run import Run
from agentopt.engine.stopping import Stopping
from agentopt.engine.view import RunView
from tests.engine.world import Climber, Forgetful, Kill, ListStore, World, make_task, parabola


async def test_finds_the_top_and_says_why_it_ended():
    world = World(budget={"evals": 200})
    state = await world.run()
    assert state.status == "budget"
    assert state.evals == 200
    assert state.best is not None
    assert state.best.scores["score"] > -1.0
    assert set(state.test) == {state.seed_id, state.best_id}
    assert fold(world.store.read()).summary() == state.summary()


async def test_log_tells_the_journey_in_order():
    world = World(budget={"evals": 2})
    await world.run()
    kinds = [event.kind for event in world.store.events]
    seed = ["proposed", "rollout", "rollout", "evaluated", "rollout", "confirmed", "admitted"]
    assert kinds[: len(seed) + 1] == ["run_started", *seed]
    assert kinds[len(seed) + 1 : len(seed) + 3] == ["asked", "proposed"]
    assert kinds[-1] == "stopped"


@pytest.mark.parametrize(("repeats", "optimizer"), [(1, Climber), (2, Climber), (1, Forgetful)])
async def test_kill_anywhere_and_resume_gives_the_identical_log(repeats: int, optimizer: type[Climber]):
    whole = World(make_task(repeats=repeats), budget={"evals": 9}, optimizer=optimizer())
    await whole.run()
    length = len(whole.store.events)
    for cut in range(1, length):
        dead = World(make_task(repeats=repeats), budget={"evals": 9}, store=ListStore(die_after=cut), optimizer=optimizer())
        with pytest.raises(Kill):
            await dead.run()
        assert len(dead.store.events) == cut
        dead.store.die_after, before = None, dead.store.last_words
        again = World(make_task(repeats=repeats), budget={"evals": 9}, store=dead.store, optimizer=optimizer())
        await again.run()
        assert again.log == whole.log, f"cut after event {cut}"
        assert again.optimizer.seen == whole.optimizer.seen
        repeated = before + len(again.executor.rollouts) - len(whole.executor.rollouts)
        assert repeated <= 1
        assert again.executor.opened == again.executor.closed


async def test_deterministic_with_several_workers_tells_in_order_of_proposals():
    def slow_first(values: Any, case: str) -> float:
        return Random(f"{values['x']}{case}").random() * 0.01

    plan = Plan(deterministic=True, look_ahead=2)
    logs = []
    for delay in (lambda v, c: 0.0, slow_first, lambda v, c: 0.003):
        world = World(budget={"evals": 25}, capacity=3, plan=plan, delay=delay)
        await world.run()
        logs.append([row for row in world.log if row[0] in ("asked", "proposed", "admitted")])
        tickets = [row[1]["ticket"] for row in world.log if row[0] == "admitted"]
        assert tickets == sorted(tickets)
    assert logs[0] == logs[1] == logs[2]


async def test_workers_overlap_without_a_barrier():
    world = World(budget={"evals": 40}, capacity=4, plan=Plan(deterministic=False, look_ahead=1), delay=lambda v, c: 0.002)
    state = await world.run()
    assert world.executor.most_open == 4
    assert state.evals == 40
    assert state.told == state.evals + state.duplicates


async def test_a_slow_ask_does_not_hold_back_a_finished_evaluation():
    class Slow(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            if len(self.seen) == 2:
                await asyncio.sleep(0.2)
            return await super().propose(view, n, rng)

    told: list[float] = []
    clock = asyncio.get_running_loop().time
    world = World(
        budget={"evals": 5},
        capacity=2,
        plan=Plan(deterministic=False, look_ahead=0),
        optimizer=Slow(),
        delay=lambda v, c: 0.01,
        on_event=lambda event, state: told.append(clock()) if event.kind == "admitted" else None,
    )
    await world.run()
    assert told[2] - told[1] < 0.15


async def test_rollout_budget_is_never_overshot():
    for limit in range(14, 40):
        world = World(budget={"rollouts": limit}, capacity=2, plan=Plan(deterministic=False))
        state = await world.run()
        assert state.rollouts <= limit
        assert len(world.executor.rollouts) == state.rollouts
        assert state.status == "budget"
        assert set(state.test) == {state.seed_id, state.best_id}


async def test_a_run_that_died_after_its_last_test_has_nothing_left_to_reserve():
    world = World(budget={"rollouts": 20})
    state = await world.run()
    assert world.store.events[-1].kind == "stopped"
    for last in range(len(world.store.events) - 6, len(world.store.events)):
        again = World(budget={"rollouts": 20}, store=ListStore(world.store.events[:last]))
        again.store.blobs = world.store.blobs
        assert (await again.run()).summary()["spent"]["rollouts"] == state.rollouts
        assert again.log == world.log


async def test_rollouts_that_do_not_fit_the_test_are_refused():
    with pytest.raises(ConfigError, match="test split"):
        await World(budget={"rollouts": 3}).run()
    with pytest.raises(ConfigError, match="seed"):
        await World(budget={"rollouts": 5}).run()


async def test_wall_time_budget_cancels_what_is_in_flight():
    clock = asyncio.get_running_loop().time
    begun = clock()
    world = World(
        make_task(cases={"train": [Case("a", 1)]}),
        budget={"seconds": 0.3},
        delay=lambda values, case: 0.0 if values["x"] == 0 else 30.0 if values["x"] > 4 else 0.01,
    )
    state = await world.run()
    assert clock() - begun < 1.0
    assert state.status == "budget"
    assert len(state.open) == 1, "the cancelled candidate stays pending"
    assert not state.failures
    assert world.executor.opened == world.executor.closed


async def test_a_wall_time_that_cannot_fit_seed_and_test_is_bad_input():
    world = World(budget={"seconds": 0.25}, delay=lambda v, c: 0.05)
    with pytest.raises(ConfigError, match="cannot fit seed and test"):
        await world.run()
    with pytest.raises(ConfigError, match="cannot fit seed and test"):
        await World(budget={"seconds": 0.05}, delay=lambda v, c: 0.3).run()


async def test_the_test_split_is_cut_at_the_end_of_the_time():
    def delay(values: Any, case: str) -> float:
        return 5.0 if case in "tu" else 0.001

    clock = asyncio.get_running_loop().time
    begun = clock()
    world = World(budget={"seconds": 0.8}, delay=delay)
    state = await world.run()
    assert clock() - begun < 1.5
    assert not state.test
    assert any(event.kind == "note" and event.data["kind"] == "test_cut" for event in world.store.events)


async def test_duplicates_cost_nothing_and_a_barren_optimizer_ends():
    class Same(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            return [Proposal({"x": len(self.seen) % 3})]

    world = World(budget={"evals": 50}, optimizer=Same())
    state = await world.run()
    assert state.status == "exhausted"
    assert "no new candidate" in state.why
    assert state.evals == 3
    assert state.duplicates == 1000
    assert len(world.executor.rollouts) == state.rollouts


async def test_a_duplicate_is_answered_with_the_known_scores_or_failure():
    entries: list[Any] = []

    class Repeating(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            return [Proposal({"x": [1, 1, -7, -7, 2][len(self.seen) - 1]})]

        def observe(self, entry: Any, admission: Any) -> None:
            super().observe(entry, admission)
            entries.append(entry)

    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "boom") if values["x"] < 0 else parabola(values, case, repeat)

    state = await World(budget={"evals": 4}, optimizer=Repeating(), judge=judge).run()
    assert entries[2].scores == entries[1].scores != {}
    assert entries[4].failure.kind == "crash"
    assert state.failures == {"crash": 1}
    assert state.duplicates == 2


async def test_target_and_patience_end_the_run():
    state = await World(budget={"evals": 500}, plan=Plan(target=-5.0)).run()
    assert state.status == "target"
    assert state.best is not None
    assert state.best.confirmed["score"] >= -5.0
    state = await World(budget={"evals": 500}, plan=Plan(patience=25)).run()
    assert state.status == "exhausted"
    assert state.why == "no better candidate in 25 evaluations"


async def test_wait_exhausted_and_refused():
    class Scripted(Climber):
        def __init__(self, *answers: Any) -> None:
            super().__init__()
            self.answers = list(answers)

        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            return self.answers.pop(0)

    with pytest.raises(RunFailed, match="waits although nothing is pending"):
        await World(optimizer=Scripted(Wait())).run()
    state = await World(optimizer=Scripted([Proposal({"x": 1})], Exhausted("all tried"))).run()
    assert (state.status, state.why) == ("exhausted", "all tried")
    world = World(optimizer=Scripted(Refused("empty", {"a": 1}), [Proposal({"x": 1})], Exhausted("done")))
    state = await world.run()
    assert state.failures == {"refused": 1}
    content = [*(Refused("no_change" if number % 2 else "unchanged") for number in range(8))]
    state = await World(optimizer=Scripted([Proposal({"x": 1})], *content[1:], Refused("empty"), *content)).run()
    assert (state.status, state.why) == ("exhausted", "the last 8 asks left everything as it was")
    with pytest.raises(RunFailed, match="must propose, wait"):
        await World(optimizer=Scripted(None)).run()
    with pytest.raises(RunFailed, match="parameter 'y'"):
        await World(optimizer=Scripted([Proposal({"x": 1, "y": 2})])).run()
    plan = Plan(deterministic=True, look_ahead=1)
    waiting = Scripted([Proposal({"x": 1})], Wait(), [Proposal({"x": 2})], Wait(), Exhausted("end"))
    state = await World(optimizer=waiting, plan=plan, capacity=2).run()
    assert (state.evals, state.why) == (3, "end")


async def test_a_wait_that_was_overtaken_by_a_result_is_asked_again_at_once():
    class Late(Climber):
        waited = 0

        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            if view.pending and self.waited < 2:
                self.waited += 1
                await asyncio.sleep(0.05)
                return Wait()
            return [Proposal({"x": len(self.seen) + 10 * self.waited})]

    world = World(budget={"evals": 6}, optimizer=Late(), capacity=2, plan=Plan(deterministic=False), delay=lambda v, c: 0.005)
    state = await world.run()
    assert (state.status, state.evals) == ("budget", 6)
    asked = [event.data["index"] for event in world.store.events if event.kind == "asked"]
    assert len(asked) == len(set(asked)) + 2, "the asks that waited were asked again with their own index"


async def test_several_proposals_in_one_answer():
    class Batch(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            return [Proposal({"x": 100 * len(self.seen) + k + 1}) for k in range(n)]

    world = World(budget={"evals": 11}, optimizer=Batch(), capacity=4, plan=Plan(deterministic=False))
    state = await world.run()
    assert state.evals == 11


async def test_proposals_beyond_the_budget_are_not_taken():
    class Greedy(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            return [Proposal({"x": 100 * len(self.seen) + k + 1}) for k in range(10)]

    world = World(budget={"evals": 5}, optimizer=Greedy())
    state = await world.run()
    assert state.evals == 5


async def test_interrupt_before_the_seed_is_scored_and_during_the_test():
    world = World(on_event=lambda event, state: world.loop.interrupt() if event.kind == "proposed" else None)
    state = await world.run()
    assert (state.status, state.told) == ("interrupted", 0)
    again = World(store=world.store, on_event=lambda event, state: stop_in_test(event))

    def stop_in_test(event: Any) -> None:
        if event.kind == "rollout" and event.data["split"] == "test":
            again.loop.interrupt()

    assert (await again.run()).status == "interrupted"
    last = World(store=again.store)
    state = await last.run()
    assert (state.status, set(state.test)) == ("budget", {state.seed_id, state.best_id})
    whole = World()
    await whole.run()
    assert last.log == whole.log


async def test_a_failing_test_case_is_said_and_ends_that_test():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "boom") if values["x"] and case == "t" else parabola(values, case, repeat)

    state = await World(judge=judge).run()
    assert state.test[state.best_id]["failure"]["kind"] == "crash"
    assert state.test[state.best_id]["splits"] == {}
    assert state.summary()["best"]["test"] is None


async def test_on_case_failure_worst_counts_a_failed_case_as_the_floor():
    objectives = [Objective("score", "max", floor=-100.0)]

    def judge(values: Any, case: str, repeat: int) -> Any:
        if values["x"] and case == "a":
            return Failure("crash", "boom")
        return parabola(values, case, repeat)

    world = World(make_task(objectives=objectives, on_case_failure="worst"), judge=judge, budget={"evals": 4})
    state = await world.run()
    assert not state.failures
    children = [event.data for event in world.store.events if event.kind == "evaluated"][1:4]
    assert all(-70 < child["splits"]["train"]["scores"]["score"] < -50 for child in children)

    def all_fail(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "all") if values["x"] else 1.0

    world = World(make_task(objectives=objectives, on_case_failure="worst"), judge=all_fail)
    assert (await world.run()).failures["crash"] == 11


@pytest.mark.parametrize("failing", ["t", "tu"])
async def test_a_seed_that_fails_on_test_counts_as_the_floor_there_and_is_compared(failing: str):
    objectives = [Objective("score", "max", floor=-1000.0)]

    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "boom") if not values["x"] and case in failing else parabola(values, case, repeat)

    state = await World(make_task(objectives=objectives, on_case_failure="worst"), judge=judge).run()
    seed = state.test[state.seed_id]
    assert {case: scores["score"] == -1000.0 for case, scores in seed["cases"].items()} == {"t": True, "u": "u" in failing}
    assert seed["splits"]["test"]["scores"]["score"] < -500.0
    assert "failure" not in seed


@pytest.mark.parametrize("broken", [lambda cases: {"score": float("nan")}, lambda cases: {}, lambda cases: 1 / 0])
async def test_a_broken_aggregate_is_the_tasks_fault_and_said(broken: Any):
    with pytest.raises(SeedFailed, match="the task's aggregate function failed"):
        await World(make_task(aggregate=broken)).run()


async def test_the_tasks_own_aggregate_decides():
    world = World(make_task(aggregate=lambda cases: {"score": min(case["score"] for case in cases)}), budget={"evals": 3})
    state = await world.run()
    assert state.seed is not None
    assert state.seed.scores == {"score": -20.0}


async def test_an_archive_that_takes_nothing_is_said():
    world = World()
    world.archive.add = lambda entry: Admission("infeasible")  # type: ignore[method-assign]
    with pytest.raises(SeedFailed, match="its scores are incomplete"):
        await world.run()


async def test_a_candidate_that_is_not_in_the_log_cannot_be_tested():
    world = World(budget={"evals": 2})
    read = world.store.read

    def lossy(after: int = 0, subject: str | None = None) -> Any:
        return iter(()) if subject else read(after, subject)

    world.store.read = lossy  # type: ignore[method-assign]
    with pytest.raises(RunFailed, match="is not in the log"):
        await world.run()


async def test_interrupt_keeps_the_best_and_resumes_to_the_same_end():
    whole = World(budget={"evals": 12})
    await whole.run()

    def stop(event: Any, state: Any) -> None:
        if state.evals == 6 and event.kind == "rollout":
            world.loop.interrupt()

    world = World(budget={"evals": 12}, on_event=stop)
    state = await world.run()
    assert state.status == "interrupted"
    assert state.best_id
    again = World(budget={"evals": 12}, store=world.store)
    await again.run()
    assert again.log == whole.log


async def test_a_failing_seed_is_bad_input():
    with pytest.raises(SeedFailed, match=r"crash.*boom"):
        await World(judge=lambda v, c, r: Failure("crash", "boom")).run()


async def test_no_scored_child_is_a_failed_run():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return 0.0 if values["x"] == 0 else Failure("timeout", "too slow")

    state = await World(judge=judge, budget={"evals": 4}).run()
    assert state.status == "failed"
    assert state.why == "no child could be scored: timeout 3"


async def test_a_broken_scorer_stops_the_run_loudly():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return 0.0 if values["x"] == 0 else Failure("wrong", "KeyError", scorer_error=True)

    world = World(judge=judge, budget={"evals": 100})
    with pytest.raises(RunFailed, match=r"raised on 9 of 10 candidates"):
        await world.run()
    assert world.store.events[-1].kind == "stopped"
    assert fold(world.store.read()).status == "failed"


async def test_our_own_failures_are_repeated_and_never_blamed():
    whole = World(budget={"evals": 5})
    await whole.run()
    world = World(budget={"evals": 5})
    world.executor.broken = 2
    state = await world.run()
    assert world.log == whole.log
    assert not state.failures
    (said,) = state.warnings
    assert re.fullmatch(r"a rollout of candidate \w+ on case 'a' is repeated, .* \(said once a run\): the box is gone", said)
    assert [event.data["text"] for event in world.store.events if event.kind == "note"] == [said]
    world = World(budget={"evals": 5})
    world.executor.broken = 10
    with pytest.raises(RunFailed, match="3 times by our own doing"):
        await world.run()


@pytest.mark.parametrize("at_once", [2, 5])
async def test_rollouts_at_once_give_the_log_of_one_by_one(at_once: int):
    whole = World(budget={"evals": 8}, task=make_task(repeats=3))
    await whole.run()
    world = World(budget={"evals": 8}, task=make_task(repeats=3))
    world.executor.at_once = at_once
    state = await world.run()
    assert world.log == whole.log
    assert state.rollouts == sum(event.kind == "rollout" for event in world.store.events)


async def test_what_was_done_at_once_with_a_failure_is_dropped():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("wrong", "boom") if values["x"] and case == "a" else 1.0

    whole, world = World(judge=judge, budget={"evals": 3, "rollouts": 40}), World(judge=judge, budget={"evals": 3, "rollouts": 40})
    world.executor.at_once = 9
    await whole.run()
    await world.run()
    assert world.log == whole.log
    assert len(world.executor.rollouts) > len(whole.executor.rollouts)


async def test_rollouts_at_once_are_retried_from_the_one_we_spoiled():
    world = World(budget={"evals": 5})
    world.executor.at_once, world.executor.broken = 3, 2
    state = await world.run()
    assert not state.failures


async def test_one_failing_case_fails_the_candidate_and_saves_the_rest():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "boom") if values["x"] and case == "a" else 1.0

    world = World(judge=judge, budget={"evals": 3})
    state = await world.run()
    assert state.failures == {"crash": 2}
    assert not [job for job in world.executor.rollouts if job[0] != state.seed_id and job[1] == "b"]


async def test_view_reads_any_candidate_from_the_log():
    looked: list[Any] = []

    class Looking(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            looked.append((view.entry(self.seen[0][0]), view.entry("nobody"), view.pending, dict(view.budget_left), view.front()))
            assert view.task.name == "toy"
            return await super().propose(view, n, rng)

    await World(budget={"evals": 5, "seconds": 60}, optimizer=Looking()).run()
    entry, nobody, pending, left, front = looked[-1]
    assert entry.candidate.values == {"x": 0}
    assert entry.scores == {"score": -19.5}
    assert len(entry.evaluation.rollouts) == 3
    assert nobody is None
    assert pending == []
    assert left["evals"] == 1
    assert 50 < left["seconds"] < 60
    assert len(front) == 1


async def test_view_gives_the_texts_that_rollouts_left_behind():
    seen: list[Mapping[str, str]] = []

    class Reading(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            seen.append(view.texts(view.entry(self.seen[-1][0]), 100))
            return await super().propose(view, n, rng)

    world = World(budget={"evals": 4}, optimizer=Reading())
    put = world.store.put

    def leave(rollout: Rollout) -> Rollout:
        if rollout.case == "a":
            return replace(rollout, printed=put(b"not shown"))
        artifacts = {"profile": put(b"x" * 200), "picture": put(b"\xff\xfe"), "empty": put(b"")}
        return replace(rollout, printed=put(b"hello\x07"), artifacts=artifacts)

    world.executor.leave = leave
    await world.run()
    assert seen[0]["printed"] == "hello"
    assert set(seen[0]) == {"printed", "profile"}
    assert len(seen[0]["profile"]) <= 100
    assert RunView(world.run_, Stopping(world.run_)).texts(Entry(Candidate("nobody", {}), None), 10) == {}


async def test_refusals_are_observed_and_replayed_in_their_place():
    class Refusing(Climber):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[Any] = []

        def observe(self, entry: Entry, admission: Admission) -> None:
            super().observe(entry, admission)
            self.heard.append(entry.id)

        def observe_refusal(self, refused: Refused) -> None:
            self.heard.append((refused.kind, dict(refused.memo)))

        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            return Refused("empty", {"told": len(self.seen)}) if rng.random() < 0.4 else await super().propose(view, n, rng)

    first = Refusing()
    world = World(optimizer=first, budget={"evals": 12})
    await world.run()
    assert any(isinstance(item, tuple) for item in first.heard)
    second = Refusing()
    again = World(optimizer=second, budget={"evals": 12}, store=world.store)
    for _ in Run(again.parts, Plan()).restore():
        pass
    assert second.heard == first.heard
