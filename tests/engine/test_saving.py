"""Stages, races, duels and equal answers in the loop: what is saved, what is kept, and the same log after any kill."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agentopt import Case, Objective, Proposal
from agentopt.archives.pareto import Pareto
from agentopt.core.evaluation import Admission, Entry, Failure, Rollout
from agentopt.core.fold import fold
from agentopt.core.protocols import ArchiveContext
from agentopt.engine.plan import Plan
from agentopt.engine.replay import read_entry
from agentopt.engine.rules import Rules
from agentopt.engine.schedule import Schedule
from tests.engine.world import BestArchive, Climber, Kill, ListStore, World, make_task, parabola

TRAIN = [Case(name, name) for name in "abcdefgh"]
ALL = Rules(cascade=True, race=True, duel=True, duel_repeats=4, duel_reuse=2)


class Steps(Climber):
    """Children of the best, some better, some worse, some the same but for a name."""

    def __init__(self, steps: tuple[float, ...] = (-4.0, -1.0, 0.0, 3.0, 6.0)) -> None:
        super().__init__()
        self.steps = steps
        self.entries: list[tuple[Entry, Admission]] = []

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        parent = rng.choice([*view.front(), *view.sample(2, rng)])
        x = parent.candidate.values["x"] + rng.choice(self.steps) + 1e-6 * (len(self.seen) + len(view.pending))
        return [Proposal({"x": x}, (parent.id,), "steps", "step")]

    def observe(self, entry: Entry, admission: Admission) -> None:
        super().observe(entry, admission)
        self.entries.append((entry, admission))


def noisy(values: Mapping[str, Any], case: str, repeat: int) -> float:
    """The truth is x; the noise is that of the rollout alone."""
    return values["x"] + ord(case) + Random(f"{values['x']}{case}{repeat}").gauss(0, 2)


def world_of(rules: Rules = ALL, *, validation: bool = False, repeats: int = 2, cases: int = 8, **more: Any) -> World:
    table = {"train": TRAIN[:cases], "test": [Case("t", 1)]} | (
        {"validation": [Case("v", 1), Case("w", 1), Case("x", 1)]} if validation else {}
    )
    task = make_task(cases=table, repeats=repeats, **more.pop("task", {}))
    archive = Pareto(ArchiveContext(tuple(task.objectives)))
    return World(task, **({"judge": noisy, "rules": rules, "archive": archive, "optimizer": Steps(), "budget": {"evals": 14}} | more))


def of_kind(world: World, kind: str) -> list[Mapping[str, Any]]:
    return [event.data for event in world.store.events if event.kind == kind]


KILLED = [({"evals": 7}, False), ({"evals": 7}, True), ({"rollouts": 100}, False)]


@pytest.mark.thorough
@pytest.mark.parametrize(("budget", "validation"), KILLED)
async def test_kill_anywhere_and_resume_gives_the_identical_log(budget: dict[str, float], validation: bool):
    def make_world(**more: Any) -> World:
        rules, optimizer = replace(ALL, first_stage=2, duel_repeats=3), Steps((-4.0, 0.0, 3.0, 9.0))
        return world_of(rules, validation=validation, budget=budget, plan=Plan(rng_seed=67), optimizer=optimizer, cases=4, **more)

    whole = make_world()
    state = await whole.run()
    assert state.duels["won"]
    assert state.duels["held"] > state.duels["won"]
    assert state.saved["raced"]
    for cut in range(1, len(whole.store.events)):
        dead = make_world(store=ListStore(die_after=cut))
        with pytest.raises(Kill):
            await dead.run()
        dead.store.die_after, before = None, dead.store.last_words
        again = make_world(store=dead.store)
        await again.run()
        assert again.log == whole.log, f"cut after event {cut}"
        assert again.optimizer.seen == whole.optimizer.seen
        assert [entry for entry, _ in again.optimizer.entries] == [entry for entry, _ in whole.optimizer.entries]
        assert again.archive.front() == whole.archive.front()
        assert before + len(again.executor.rollouts) - len(whole.executor.rollouts) <= 1
        assert min(again.run_.ledger.reserved.values()) >= 0
        assert again.executor.opened == again.executor.closed


async def test_several_workers_in_order_give_one_log_however_fast_they_are():
    def slow(values: Any, case: str) -> float:
        return Random(f"{values['x']}{case}").random() * 0.004

    plan, logs = Plan(deterministic=True, look_ahead=2), list[Any]()
    for delay in (lambda v, c: 0.0, slow):
        world = world_of(budget={"evals": 20}, capacity=3, plan=plan, delay=delay)
        await world.run()
        logs.append([row for row in world.log if row[0] in ("asked", "proposed", "confirmed", "admitted")])
        assert world.executor.most_open <= 3
    assert logs[0] == logs[1]


async def test_several_workers_without_an_order_hold_one_duel_at_a_time_and_keep_the_budget():
    for limit in (150, 333, 700):
        world = world_of(budget={"rollouts": limit}, capacity=3, plan=Plan(deterministic=False, look_ahead=1), delay=lambda v, c: 1e-4)
        state = await world.run()
        assert state.rollouts == len(world.executor.rollouts) <= limit
        assert world.executor.most_open <= 3
        assert all(math.isclose(amount, 0, abs_tol=1e-9) for amount in world.run_.ledger.reserved.values())
        assert fold(world.store.read()).summary() == state.summary()


async def test_what_lost_a_race_is_told_as_an_estimate_and_never_reaches_a_front():
    world = world_of(replace(ALL, duel=False), optimizer=Steps((-30.0, 1.0)))
    state = await world.run()
    cut = [entry for entry, _ in world.optimizer.entries if entry.provisional]
    assert cut
    for entry in cut:
        assert entry.provisional
        assert entry.evaluation
        assert (entry.provisional.rule, entry.provisional.done, entry.provisional.of) == ("raced", 4, 16)
        assert entry.evaluation.splits["train"].n == len(entry.evaluation.rollouts) == 4
        truth = entry.candidate.values["x"] + 100.5
        assert abs(entry.scores["score"] - truth) < 4, "the estimate is that of all cases, not of those that were done"
        assert entry.id not in state.front
        assert world.archive.get(entry.id) == entry, "it stays to breed from"
        assert read_entry(world.store.read(subject=entry.id), world.store.get) == entry
    assert state.saved["raced"] == 12 * len(cut)
    assert state.summary()["saved"] == {"raced": 12 * len(cut)}


async def test_an_archive_that_cannot_keep_them_off_its_front_is_never_told():
    archive = BestArchive()
    world = world_of(replace(ALL, duel=False), archive=archive, optimizer=Steps((-30.0,)))
    state = await world.run()
    assert len(archive.entries) == 1
    assert state.saved["raced"]
    assert {status for _, status in world.optimizer.seen[1:]} == {"dominated"}


async def test_cheap_cases_go_first_and_every_case_before_a_second_repeat():
    cases = {"train": [Case("dear", 1, cost=9.0), Case("a", 1), Case("b", 1), Case("cheap", 1, cost=0.5)]}
    for order in ("first", "again"):
        world = World(make_task(cases=cases, repeats=2), budget={"evals": 2}, rules=Rules(cascade=True), judge=lambda v, c, r: 1.0)
        await world.run()
        jobs = [(data["case"], data["repeat"]) for data in of_kind(world, "rollout")][:8]
        assert [repeat for _, repeat in jobs] == [0] * 4 + [1] * 4, order
        assert jobs[0][0] == "cheap"
        assert {jobs[1][0], jobs[2][0]} == {"a", "b"}
        assert jobs[3][0] == "dear"


@pytest.mark.parametrize(("direction", "sign"), [("max", 1.0), ("min", -1.0)])
async def test_who_cannot_reach_the_parent_even_with_the_best_scores_is_stopped(direction: Any, sign: float):
    objective = Objective("score", direction, ceiling=1.0, floor=-1.0)

    def judge(values: Any, case: str, repeat: int) -> float:
        return sign * (0.9 if values["x"] == 0 or values["x"] > 50 else 0.0)

    world = world_of(Rules(cascade=True), task={"objectives": [objective]}, judge=judge, optimizer=Steps((1.0, 60.0)))
    state = await world.run()
    assert state.saved["bound"]
    assert set(state.saved) == {"bound"}
    stopped = [entry for entry, _ in world.optimizer.entries if entry.provisional]
    assert all(entry.provisional and entry.provisional.rule == "bound" and entry.provisional.done == 4 for entry in stopped)
    assert all(entry.scores["score"] == 0.0 for entry in stopped)
    open_ended = world_of(Rules(cascade=True), judge=judge, optimizer=Steps((1.0, 60.0)))
    assert not (await open_ended.run()).saved


async def test_a_race_needs_all_objectives_to_be_lost():
    task = {"objectives": [Objective("score", "max"), Objective("other", "min")]}
    world = world_of(Rules(race=True), task=task, optimizer=Steps((-30.0,)), budget={"evals": 4})
    world.executor.leave = lambda rollout: replace(rollout, scores={**rollout.scores, "other": rollout.scores["score"]})
    assert not (await world.run()).saved
    world = world_of(Rules(race=True), task=task, optimizer=Steps((-30.0,)), budget={"evals": 4})
    world.executor.leave = lambda rollout: replace(rollout, scores={**rollout.scores, "other": -rollout.scores["score"]})
    assert (await world.run()).saved == {"raced": 3 * 12}


async def test_failures_count_as_the_worst_or_end_it():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "boom") if values["x"] < -20 else noisy(values, case, repeat)

    world = world_of(judge=judge, optimizer=Steps((-30.0,)), budget={"evals": 3})
    state = await world.run()
    assert state.failures == {"crash": 2}
    assert not state.saved
    worst = {"objectives": [Objective("score", "max", floor=-1000.0)], "on_case_failure": "worst"}
    world = world_of(judge=judge, optimizer=Steps((-30.0,)), budget={"evals": 3}, task=worst)
    state = await world.run()
    assert state.failures == {"crash": 2}, "all cases of the stage failed"


async def test_a_duel_keeps_the_better_and_shows_fresh_scores():
    world = world_of(optimizer=Steps((8.0,)), budget={"evals": 4}, task={})
    state = await world.run()
    won = [data for data in of_kind(world, "confirmed") if data.get("duel", {}).get("kept")]
    assert won
    for data in won:
        duel = data["duel"]
        assert duel["scores"]["train"]["scores"]["score"] - duel["defender"]["train"]["scores"]["score"] == pytest.approx(duel["lead"])
        assert duel["chance"] <= duel["level"] < 0.05
        own = [row for row in of_kind(world, "rollout") if row["candidate"] == data["candidate"] and row["split"] == "train"]
        in_duel = [row for row in own if row["repeat"] >= 2 and "for" not in row]
        assert len(in_duel) == duel["pairs"]
        ahead = [row for row in own if row.get("for") == data["candidate"]]
        assert len(ahead) == 8
        unseen = [row for row in own if row["repeat"] == 1] + ahead
        assert data["splits"]["train"]["n"] == len(unseen) == 16
        shown = sum(row["scores"]["score"] for row in unseen) / 16
        assert data["splits"]["train"]["scores"]["score"] == pytest.approx(shown), "what it won with is not what is shown"
    assert state.best
    assert state.best.scores == state.best.confirmed == won[-1]["splits"]["train"]["scores"]
    assert world.archive.front()[0].scores == state.best.scores
    assert read_entry(world.store.read(subject=state.best_id), world.store.get) == world.archive.front()[0]


async def test_the_defender_is_scored_again_with_fresh_seeds_when_it_was_used_often():
    def lucky_in_the_search(values: Mapping[str, Any], case: str, repeat: int) -> float:
        return noisy(values, case, repeat) + (4.0 if values["x"] and repeat < 2 else 0.0)

    world = world_of(replace(ALL, duel_reuse=1), optimizer=Steps((0.0,)), budget={"evals": 12}, judge=lucky_in_the_search)
    state = await world.run()
    assert state.best_id == state.seed_id
    assert state.best
    assert abs(state.best.scores["score"] - 100.5) < 0.8, "many fresh rollouts say what it is worth"
    assert state.seed == state.best
    duels = [data for data in of_kind(world, "confirmed") if "duel" in data]
    lent = [row for row in of_kind(world, "rollout") if row.get("for", row["candidate"]) != row["candidate"]]
    most = max({data["duel"]["against"] for data in duels}, key=lambda key: sum(data["duel"]["against"] == key for data in duels))
    theirs = [data["candidate"] for data in duels if data["duel"]["against"] == most]
    assert len(theirs) > 2
    windows = [sorted({row["repeat"] for row in lent if row["for"] == key}) for key in theirs]
    flat = [repeat for window in windows for repeat in window]
    assert flat == sorted(set(flat)), "no duel of one defender shares a seed with another"


async def test_a_challenger_that_crashes_in_its_duel_has_failed():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "only now") if values["x"] and repeat >= 2 and case == "c" else noisy(values, case, repeat)

    world = world_of(judge=judge, optimizer=Steps((20.0,)), budget={"evals": 3})
    state = await world.run()
    assert state.failures == {"crash": 2}
    assert state.best_id == state.seed_id
    assert not world.optimizer.entries[1][0].scores


async def test_a_defender_that_crashes_on_fresh_seeds_is_compared_where_it_did_not():
    def judge(values: Any, case: str, repeat: int) -> Any:
        return Failure("crash", "now and then") if not values["x"] and repeat >= 2 and case in more else noisy(values, case, repeat)

    more = "c"
    world = world_of(judge=judge, optimizer=Steps((20.0,)), budget={"evals": 2})
    state = await world.run()
    (duel,) = [data["duel"] for data in of_kind(world, "confirmed") if "duel" in data]
    assert (duel["kept"], duel["pairs"], duel["defender"]) == (True, 14, {})
    assert state.best_id != state.seed_id
    more = "abcdefgh"
    world = world_of(judge=judge, optimizer=Steps((20.0,)), budget={"evals": 2})
    state = await world.run()
    assert state.best_id == state.seed_id


async def test_a_lead_that_may_be_chance_is_not_worth_a_duel():
    world = world_of(Rules(duel=True), optimizer=Steps((0.2,)), budget={"evals": 12})
    state = await world.run()
    rules = [entry.provisional.rule for entry, _ in world.optimizer.entries if entry.provisional]
    assert "lead" in rules
    assert state.best_id == state.seed_id
    assert len(state.front) == 1


async def test_one_case_has_no_spread_to_judge_a_lead_by():
    cases = {"train": [Case("a", 1)]}
    for repeats, kept in ((1, False), (8, True)):
        archive = Pareto(ArchiveContext((Objective("score", "max"),)))
        rules = Rules(duel=True, duel_repeats=repeats)
        world = World(make_task(cases=cases), judge=noisy, rules=rules, archive=archive, optimizer=Steps((40.0,)), budget={"evals": 2})
        state = await world.run()
        assert state.duels["held"] == 1
        assert bool(state.duels["won"]) is kept


async def test_who_had_all_its_rollouts_and_does_not_lead_is_an_entry_like_any_other():
    world = world_of(Rules(duel=True), repeats=1, optimizer=Steps((-30.0,)), budget={"evals": 3})
    await world.run()
    assert {admission.status for _, admission in world.optimizer.entries[1:]} == {"dominated"}
    assert not any(entry.provisional for entry, _ in world.optimizer.entries)
    assert all(len(entry.evaluation.rollouts) == 8 for entry, _ in world.optimizer.entries if entry.evaluation)


def test_a_plan_names_what_is_missing_in_its_order():
    schedule = Schedule.of(make_task(repeats=2), make_task().make_cases())
    assert schedule.missing("train", [("a", 1)]) == [("a", 0), ("b", 0), ("b", 1)]
    assert schedule.missing("nowhere", []) == []


# --- equal answers -------------------------------------------------------------------------------------------------


def answering(rollout: Rollout) -> Rollout:
    return replace(rollout, output=f"{rollout.case}:{rollout.scores['score']:.3f}")


def same_world(**more: Any) -> World:
    world = world_of(Rules(same_output=True), judge=parabola, optimizer=Steps((0.0, 0.0, 3.0)), **more)
    world.executor.leave = answering
    return world


async def test_who_answers_like_an_earlier_one_is_its_duplicate():
    world = same_world()
    state = await world.run()
    twins = [data for data in of_kind(world, "evaluated") if "same_as" in data]
    assert twins
    assert state.duplicates == len(twins)
    assert state.saved == {"duplicates": 12 * len(twins)}
    assert not state.open
    for data in twins:
        entry, admission = next(pair for pair in world.optimizer.entries if pair[0].id == data["candidate"])
        first = next(other for other, _ in world.optimizer.entries if other.id == data["same_as"])
        assert admission.status == "duplicate"
        assert entry.scores == first.scores
        assert not world.run_.known.is_full(entry.id)
        assert read_entry(world.store.read(subject=entry.id), world.store.get).scores == first.scores  # type: ignore[union-attr]


@pytest.mark.thorough
async def test_equal_answers_after_any_kill():
    whole = same_world(budget={"evals": 7})
    await whole.run()
    for cut in range(1, len(whole.store.events)):
        dead = same_world(budget={"evals": 7}, store=ListStore(die_after=cut))
        with pytest.raises(Kill):
            await dead.run()
        dead.store.die_after = None
        again = same_world(budget={"evals": 7}, store=dead.store)
        await again.run()
        assert again.log == whole.log, f"cut after event {cut}"
        assert again.optimizer.entries == whole.optimizer.entries


async def test_the_twin_of_one_that_was_raced_is_as_provisional():
    world = world_of(Rules(same_output=True, race=True), judge=parabola, optimizer=Steps((-30.0, 0.0)), budget={"evals": 20})
    world.executor.leave = answering
    await world.run()
    twins = [entry for entry, admission in world.optimizer.entries if admission.status == "duplicate" and entry.provisional]
    assert all(entry.provisional and entry.provisional.rule == "raced" for entry in twins)
    assert twins


async def test_without_outputs_nobody_is_a_twin():
    world = world_of(Rules(same_output=True), judge=parabola, optimizer=Steps((0.0,)))
    state = await world.run()
    assert not state.saved
    assert not state.duplicates
