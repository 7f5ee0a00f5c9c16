from __future__ import annotations

from random import Random
from typing import Any

import pytest
from harness import Run, build, card, ids, proposal_ids
from problems import LINE, NUMBERS, code, distance, regression

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation
from agentopt.core.protocols import Exhausted, Wait
from agentopt.core.task import Parameter
from agentopt.optimizers.memetic import Memetic

TASK = card(code(LINE))


@pytest.mark.thorough
async def test_it_finds_structure_and_numbers() -> None:
    losses = [(await Run(build("memetic", TASK), TASK, regression, seed=seed).go(300)).best for seed in range(3)]
    assert sorted(loss or 0.0 for loss in losses)[1] < 4.0, losses
    task = card(code(NUMBERS))
    run = await Run(build("memetic", task), task, distance, seed=1).go(300)
    assert (run.best or 204.0) < 12.0


async def test_both_parts_work_and_their_names_stay_readable() -> None:
    run = await Run(build("memetic", TASK), TASK, regression, seed=1, workers=3).go(120)
    made = [entry.candidate.optimizer for entry, _ in run.history[1:]]
    assert set(made) == {"mutate", "tune"}
    assert min(made.count("mutate"), made.count("tune")) > 20


@pytest.mark.parametrize("workers", [1, 6])
async def test_a_run_is_determined_by_its_seed(workers: int) -> None:
    one, same, other = [await Run(build("memetic", TASK), TASK, regression, seed=seed, workers=workers).go(80) for seed in (7, 7, 8)]
    assert ids(one) == ids(same)
    assert ids(one) != ids(other)


@pytest.mark.parametrize("workers", [1, 5])
async def test_replay_at_any_point_goes_on_as_if_nothing_had_happened(workers: int) -> None:
    run = Run(build("memetic", TASK), TASK, regression, seed=3, workers=workers)
    for _ in range(30):
        await run.step()
        other = run.resumed(build("memetic", TASK))
        answers = [await which.optimizer.propose(which.view, 4, Random("ask")) for which in (run, other)]
        assert proposal_ids(answers[0], TASK) == proposal_ids(answers[1], TASK)
    resumed = run.resumed(build("memetic", TASK))
    assert ids(await run.go(50)) == ids(await resumed.go(50))


def result(optimizer: str, loss: float, number: int) -> Entry:
    candidate = Candidate.of(Proposal({"f": f"x = y{number}"}, (), optimizer), TASK.parameters)
    return Entry(candidate, Evaluation(candidate.id, (), {"train": Aggregate({"loss": loss}, 1, {})}))


def memetic(options: dict[str, Any]) -> Memetic:
    made = build("memetic", TASK, options)
    assert isinstance(made, Memetic)
    return made


def test_shares_follow_what_was_won() -> None:
    tuned, mutated, neither = memetic({}), memetic({}), memetic({})
    for number in range(50):
        for optimizer, winner in ((tuned, "tune"), (mutated, "mutate"), (neither, "")):
            optimizer.observe(result("tune", -number if winner == "tune" else 99.0, number), Admission("dominated"))
            optimizer.observe(result("mutate", -number if winner == "mutate" else 99.0, 100 + number), Admission("dominated"))
    assert mutated.tune_share < neither.tune_share < tuned.tune_share
    assert mutated.tune_share >= 0.2
    assert tuned.tune_share <= 0.8
    before = tuned.tune_share
    tuned.observe(result("tune", 99.0, 7), Admission("duplicate"))
    tuned.observe(result("someone", -1000.0, 8), Admission("admitted"))
    assert tuned.tune_share == before


def test_floor_weight_and_decay() -> None:
    assert memetic({"floor": 0.5}).tune_share == 0.5
    assert memetic({"weight": 1.0}).tune_share == pytest.approx(0.5)
    assert memetic({"weight": 0.1}).tune_share < memetic({}).tune_share
    shares = []
    for decay in (0.5, 1.0):
        optimizer = memetic({"decay": decay})
        for number in range(20):
            optimizer.observe(result("tune", float(-number), number), Admission("admitted"))
        for number in range(20):
            optimizer.observe(result("tune", 99.0, 100 + number), Admission("dominated"))
        shares.append(optimizer.tune_share)
    assert shares[0] < shares[1]


async def test_options_of_the_parts() -> None:
    run = await Run(build("memetic", TASK, {"tune.population": 13, "mutate.crossover": 1.0}), TASK, regression).go(60)
    candidates = [entry.candidate for entry, _ in run.history]
    assert {candidate.memo["plan"]["population"] for candidate in candidates if candidate.optimizer == "tune"} >= {13}
    assert any(candidate.operator == "crossover" for candidate in candidates)


@pytest.mark.parametrize(
    "options", [{"floor": 0.6}, {"weight": 0.0}, {"decay": 1.1}, {"nonsense": 1}, {"tune.nonsense": 1}, {"other.sigma": 1}]
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build("memetic", TASK, options)


async def test_without_numbers_mutate_does_all() -> None:
    task = card(Parameter("on", "config", {"a": True, "b": False, "c": True}))
    run = await Run(build("memetic", task), task, lambda values: float(sum(values["on"].values()))).go(30)
    assert run.best == 0.0
    assert {entry.candidate.optimizer for entry, _ in run.history[1:]} == {"mutate"}
    assert isinstance(run.answer, Exhausted)
    assert "mutate" in run.answer.why
    assert "tune" in run.answer.why


async def test_without_edits_tune_does_all() -> None:
    task = card(Parameter("n", "value", 3, space={"": (1, 4)}))
    optimizer = build("memetic", task, {"mutate.tries": 1})
    run = await Run(optimizer, task, lambda values: float((values["n"] - 2) ** 2), seed=4, workers=2).go(400)
    assert run.best == 0.0
    assert isinstance(run.answer, Exhausted)


async def test_nothing_to_do_while_something_is_pending_is_to_wait() -> None:
    task = card(Parameter("words", "prompt", "Be brief."))
    run = Run(build("memetic", task), task, lambda values: 1.0)
    run.view.pending.append(run.history[0][0].candidate)
    for seed in range(5):
        assert await run.optimizer.propose(run.view, 1, Random(seed)) == Wait()


async def test_part_of_a_batch_is_better_than_none() -> None:
    task = card(Parameter("n", "value", 3, space={"": (1, 4)}))
    optimizer = build("memetic", task, {"floor": 0.5, "mutate.tries": 50})
    run = Run(optimizer, task, lambda values: 1.0)
    sizes = set()
    for seed in range(20):
        answer = await optimizer.propose(run.view, 6, Random(seed))
        assert isinstance(answer, list)
        sizes.add(len(answer))
    assert min(sizes) >= 1
