from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from statistics import linear_regression
from typing import Any

import pytest
from harness import ListView, Run, build, card, ids, proposal_ids
from problems import LINE, NUMBERS, SETTINGS, SPACE, XS, code, distance, parabola, regression, settings_loss

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation
from agentopt.core.protocols import Exhausted, Wait
from agentopt.core.task import Parameter

TASK = card(code(NUMBERS))


def foreign(source: str, loss: float) -> Entry:
    candidate = Candidate.of(Proposal({"f": source}, (), "somebody"), TASK.parameters)
    return Entry(candidate, Evaluation(candidate.id, (), {"train": Aggregate({"loss": loss}, 1, {})}))


def bouts(run: Run) -> list[dict[str, Any]]:
    plans = {
        entry.candidate.memo["plan"]["bout"]: entry.candidate.memo["plan"] for entry, _ in run.history if "plan" in entry.candidate.memo
    }
    return [plans[number] for number in sorted(plans)]


@pytest.mark.parametrize("workers", [1, 5])
async def test_it_finds_the_constants(workers: int) -> None:
    run = await Run(build("tune", TASK), TASK, distance, seed=1, workers=workers).go(500)
    assert run.best is not None
    assert run.best < 0.5  # from 204
    best = run.view.ranked()[0].candidate
    assert (best.optimizer, best.operator) == ("tune", "tune")
    assert isinstance(eval(best.values["f"].split("return")[1])[5], int)


async def test_it_maximises_when_told_to() -> None:
    task = card(Parameter("x", "value", 1.0), direction="max")
    run = await Run(build("tune", task), task, lambda values: -((values["x"] - 4.0) ** 2), seed=1).go(80)
    assert -(run.best or -9.0) > -1e-2


async def test_config_fields_are_searched_on_their_own_scale() -> None:
    task = card(Parameter("settings", "config", {**SETTINGS, "kind": "fast"}, space=SPACE))
    run = await Run(build("tune", task), task, settings_loss, seed=1).go(120)
    assert (run.best or 9.0) < 0.02
    assert {entry.candidate.values["settings"]["kind"] for entry, _ in run.history} == {"fast"}


@pytest.mark.thorough
async def test_many_numbers_are_searched_with_variances_only() -> None:
    source = "def f():\n    return [" + ", ".join(["1.0"] * 60) + "]\n"

    def loss(values: Mapping[str, Any]) -> float:
        namespace: dict[str, Any] = {}
        exec(values["f"], namespace)
        return sum((number - 2.0) ** 2 for number in namespace["f"]())

    task = card(code(source))
    run = await Run(build("tune", task), task, loss, seed=1).go(300)
    full = await Run(build("tune", task, {"diagonal_above": 60}), task, loss, seed=1).go(300)
    assert (run.best or 60.0) < 45.0
    assert ids(run) != ids(full)


@pytest.mark.parametrize("workers", [1, 4, 30])
async def test_a_run_is_determined_by_its_seed(workers: int) -> None:
    one, same, other = [await Run(build("tune", TASK), TASK, distance, seed=seed, workers=workers).go(60) for seed in (7, 7, 8)]
    assert ids(one) == ids(same)
    assert ids(one) != ids(other)


@pytest.mark.parametrize(("workers", "options"), [(1, {}), (4, {}), (12, {"stagnation": 1}), (3, {"population": 4, "generations": 2})])
async def test_replay_at_any_point_goes_on_as_if_nothing_had_happened(workers: int, options: dict[str, Any]) -> None:
    run = Run(build("tune", TASK, options), TASK, distance, seed=3, workers=workers)
    for _ in range(60):
        await run.step()
        other = run.resumed(build("tune", TASK, options))
        answers = [await which.optimizer.propose(which.view, 3, Random("ask")) for which in (run, other)]
        assert proposal_ids(answers[0], TASK) == proposal_ids(answers[1], TASK)
        memos = [[proposal.memo for proposal in answer] if isinstance(answer, list) else [] for answer in answers]
        assert memos[0] == memos[1]
    resumed = run.resumed(build("tune", TASK, options))
    assert ids(await run.go(90)) == ids(await resumed.go(90))


async def test_the_order_of_results_within_a_generation_does_not_matter() -> None:
    first, second = [build("tune", TASK, {"population": 6}) for _ in range(2)]
    run = Run(first, TASK, distance)
    second.observe(*run.history[0])
    answer = await first.propose(run.view, 6, Random(0))
    assert isinstance(answer, list)
    results = []
    for proposal in answer:
        run.tell(Candidate.of(proposal, TASK.parameters))
        results.append(run.history[-1])
    for entry, admission in reversed(results):
        second.observe(entry, admission)
    nexts = [await optimizer.propose(run.view, 6, Random(1)) for optimizer in (first, second)]
    assert proposal_ids(nexts[0], TASK) == proposal_ids(nexts[1], TASK)


async def test_it_waits_for_a_generation_and_asks_again_for_what_was_lost() -> None:
    run = Run(build("tune", TASK, {"population": 5}), TASK, distance)
    answer = await run.optimizer.propose(run.view, 9, Random(0))
    assert isinstance(answer, list)
    assert [proposal.memo["slot"] for proposal in answer] == [0, 1, 2, 3, 4]
    run.view.pending = [Candidate.of(proposal, TASK.parameters) for proposal in answer]
    assert await run.optimizer.propose(run.view, 1, Random(1)) == Wait()
    lost = run.view.pending.pop(2)
    again = await run.optimizer.propose(run.view, 9, Random(2))
    assert proposal_ids(again, TASK) == [lost.id]


async def test_failures_count_as_worst() -> None:
    def half(values: Mapping[str, Any]) -> float | None:
        loss = distance(values)
        return loss if loss is not None and loss < 210.0 else None

    run = await Run(build("tune", TASK), TASK, half, seed=1).go(400)
    assert any(admission.status == "failed" for _, admission in run.history)
    assert (run.best or 204.0) < 5.0


async def test_foreign_results_move_the_incumbent_and_leave_the_bout_alone() -> None:
    runs = [Run(build("tune", TASK, {"population": 6}), TASK, distance) for _ in range(2)]
    for step in range(20):
        for run in runs:
            await run.step()
        runs[1].observe(foreign(f"def f():\n    return [1, 2, 3, 4, {step}.5]\n", 1000.0 + step), Admission("dominated"))
    assert ids(runs[0]) == [name for name in ids(runs[1]) if name in runs[0].view.entries]


async def test_a_better_structure_takes_over() -> None:
    for follow, patient in ((1, False), (60, True)):
        run = await Run(build("tune", TASK, {"population": 6, "follow": follow, "stagnation": 60}), TASK, lambda values: 100.0).go(13)
        entry = foreign("def f():\n    return [1.0, 2.0]\n", 50.0)
        run.view.entries[entry.id] = entry
        run.observe(entry, Admission("admitted"))
        await run.go(60)
        assert (bouts(run)[-1]["base"] == run.history[0][0].id) == patient


async def test_bouts_of_a_structure_grow() -> None:
    run = await Run(build("tune", TASK, {"population": 4, "generations": 1, "sigma": 0.2}), TASK, lambda values: 1.0).go(60)
    plans = bouts(run)
    assert [plan["population"] for plan in plans[:4]] == [4, 8, 16, 32]
    assert [plan["sigma"] for plan in plans[:4]] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert len({plan["zero_scale"] for plan in plans[:4]}) == 4
    assert len({plan["seed"] for plan in plans}) == len(plans)


async def test_other_good_structures_get_their_turn() -> None:
    optimizer = build("tune", TASK, {"population": 4, "generations": 1})
    run = Run(optimizer, TASK, lambda values: 100.0)
    for index in range(3):
        entry = foreign(f"def f():\n    return [1.0{', 2.0' * index}]\n", 101.0 + index)
        run.view.entries[entry.id] = entry
        run.observe(entry, Admission("dominated"))
    await run.go(120)
    assert len({plan["structure"] for plan in bouts(run)}) == 4


async def test_equal_scores_keep_the_shorter_program() -> None:
    for first, second, kept in ((NUMBERS, "def f():\n    return [1.0]\n", 1), ("def f():\n    return [1.0]\n", NUMBERS, 1)):
        optimizer = build("tune", TASK)
        view = ListView(TASK)
        for source in (first, second):
            entry = foreign(source, 5.0)
            view.entries[entry.id] = entry
            optimizer.observe(entry, Admission("dominated"))
        answer = await optimizer.propose(view, 1, Random(0))
        assert isinstance(answer, list)
        assert answer[0].memo["plan"]["dimension"] == kept


async def test_a_space_of_few_settings_is_exhausted() -> None:
    task = card(Parameter("n", "value", 3, space={"": (1, 4)}))
    run = await Run(build("tune", task), task, lambda values: float((values["n"] - 2) ** 2)).go(2000)
    assert run.best == 0.0
    assert run.answer == Exhausted("tune has tried every setting of the numbers it can reach")
    assert len(run.history) < 1000


@pytest.mark.parametrize("source", ["def f(x):\n    return x\n", "def f(x):\n    return x[1] ** 2\n", "def f(:"])
async def test_no_numbers_are_said(source: str) -> None:
    task = card(code(source))
    run = await Run(build("tune", task), task, lambda values: 1.0).go(5)
    assert run.answer == Exhausted("tune found no candidate with a score and numbers to tune")


async def test_it_waits_for_the_first_score() -> None:
    view = ListView(TASK)
    view.pending.append(Candidate.of(Proposal({"f": NUMBERS}), TASK.parameters))
    assert await build("tune", TASK).propose(view, 1, Random(0)) == Wait()


async def test_duplicates_of_pending_twins_count_as_the_parent() -> None:
    run = Run(build("tune", TASK, {"population": 4}), TASK, distance)
    answer = await run.optimizer.propose(run.view, 4, Random(0))
    assert isinstance(answer, list)
    for proposal in answer:
        candidate = Candidate.of(proposal, TASK.parameters)
        run.observe(Entry(candidate, None), Admission("duplicate"))
    # a generation of nothing but duplicates ends the bout
    following = await run.optimizer.propose(run.view, 1, Random(1))
    assert isinstance(following, list)
    assert following[0].memo["plan"]["bout"] == 2


async def test_a_late_result_of_an_old_bout_is_no_part_of_the_new_one() -> None:
    run = await Run(build("tune", TASK, {"population": 4, "generations": 1}), TASK, distance).go(6)
    late = run.history[2][0]
    before = await run.optimizer.propose(run.view, 9, Random(0))
    run.optimizer.observe(late, Admission("dominated"))
    assert await run.optimizer.propose(run.view, 9, Random(0)) == before


async def test_a_base_that_is_gone_is_our_error() -> None:
    run = Run(build("tune", TASK), TASK, distance)
    run.view.entries.clear()
    with pytest.raises(RuntimeError, match="gone"):
        await run.optimizer.propose(run.view, 1, Random(0))


# -- options


async def test_sigma() -> None:
    spread = {}
    for sigma in (0.01, 1.0):
        run = await Run(build("tune", TASK, {"sigma": sigma}), TASK, distance).go(9)
        spread[sigma] = max(abs(step) for entry, _ in run.history[1:] for step in entry.candidate.memo["x"])
    assert spread[0.01] < 0.06 < spread[1.0]


async def test_population_default_follows_the_dimension() -> None:
    run = await Run(build("tune", TASK), TASK, distance).go(3)
    assert bouts(run)[0]["population"] == 4 + int(3 * math.log(6))


async def test_stagnation() -> None:
    for stagnation in (1, 3):
        run = await Run(build("tune", TASK, {"population": 4, "stagnation": stagnation}), TASK, lambda values: 1.0).go(60)
        assert sum(entry.candidate.memo.get("plan", {}).get("bout") == 1 for entry, _ in run.history) == 4 * (stagnation + 1)


async def test_structures() -> None:
    for structures, expected in ((1, 1), (8, 4)):
        optimizer = build("tune", TASK, {"structures": structures, "population": 4, "generations": 1})
        run = Run(optimizer, TASK, lambda values: 100.0)
        for index in range(3):
            entry = foreign(f"def f():\n    return [1.0{', 2.0' * index}]\n", 101.0 + index)
            run.view.entries[entry.id] = entry
            run.observe(entry, Admission("dominated"))
        await run.go(120)
        assert len({plan["structure"] for plan in bouts(run)}) == expected


async def test_max_numbers() -> None:
    run = await Run(build("tune", TASK, {"max_numbers": 5}), TASK, distance).go(3)
    assert isinstance(run.answer, Exhausted)


@pytest.mark.parametrize(
    "options",
    [
        *({"sigma": 0.0}, {"population": 3}, {"population": -1}, {"nonsense": 1}),
        *({name: 0} for name in ("stagnation", "follow", "generations", "diagonal_above", "structures", "max_numbers")),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        build("tune", TASK, options)


async def test_a_line_is_fitted_exactly() -> None:
    task = card(code(LINE))
    run = await Run(build("tune", task), task, regression, seed=2).go(200)
    slope, intercept = linear_regression(XS, [parabola(x) for x in XS])
    assert run.best == pytest.approx(regression({"f": f"def f(x):\n    return {slope} * x + {intercept}\n"}), rel=1e-3)
