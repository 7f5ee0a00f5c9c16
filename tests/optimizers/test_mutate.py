from __future__ import annotations

from random import Random
from typing import Any

import pytest
from harness import ListView, Run, build, card, ids, proposal_ids
from problems import LINE, SETTINGS, SPACE, code, regression, settings_loss

from agentopt.core.candidate import Candidate, Proposal, candidate_id
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Exhausted, Optimizer, Wait
from agentopt.core.task import Parameter
from agentopt.edits.source import parse, survey

TASK = card(code(LINE))


async def test_it_finds_structure_that_fits() -> None:
    losses = [(await Run(build("mutate", TASK), TASK, regression, seed=seed).go(200)).best for seed in range(3)]
    assert sorted(loss or 0.0 for loss in losses)[1] < 4.0, losses  # no line is better than 4.5


async def test_it_improves_a_config_inside_its_space() -> None:
    task = card(Parameter("settings", "config", SETTINGS, space=SPACE))
    run = await Run(build("mutate", task), task, settings_loss, seed=1).go(200)
    assert run.best is not None
    assert run.best < 0.1
    for entry, _ in run.history:
        config = entry.candidate.values["settings"]
        assert 1e-5 <= config["rate"] <= 1.0
        assert 1 <= config["depth"] <= 20
        assert isinstance(config["depth"], int)


async def test_it_maximises_when_told_to() -> None:
    task = card(Parameter("x", "value", 1.0, space={"": (0.0, 9.0)}), direction="max")
    run = await Run(build("mutate", task), task, lambda values: values["x"], seed=1).go(60)
    assert -(run.best or 0.0) > 8.5
    assert "crossover" not in {entry.candidate.operator for entry, _ in run.history}


@pytest.mark.parametrize("workers", [1, 4])
async def test_a_run_is_determined_by_its_seed(workers: int) -> None:
    one, same, other = [await Run(build("mutate", TASK), TASK, regression, seed=seed, workers=workers).go(60) for seed in (7, 7, 8)]
    assert ids(one) == ids(same)
    assert ids(one) != ids(other)


async def test_replay_proposes_what_the_uninterrupted_run_would() -> None:
    run = Run(build("mutate", TASK), TASK, regression, seed=3, workers=3)
    for _ in range(40):
        await run.step()
        other = run.resumed(build("mutate", TASK))
        answers = [await which.optimizer.propose(which.view, 2, Random("ask")) for which in (run, other)]
        assert proposal_ids(answers[0], TASK) == proposal_ids(answers[1], TASK)


async def test_nothing_is_proposed_twice() -> None:
    run = await Run(build("mutate", TASK), TASK, regression, seed=2, workers=4).go(200)
    assert len(set(ids(run))) == len(ids(run))
    assert not any(admission.status == "duplicate" for _, admission in run.history)


async def test_lineage_can_be_read() -> None:
    run = await Run(build("mutate", TASK, {"crossover": 0.5}), TASK, regression, seed=2).go(80)
    children = [entry.candidate for entry, _ in run.history[1:]]
    assert all(child.optimizer == "mutate" for child in children)
    assert all(parent in run.view.entries for child in children for parent in child.parents)
    assert {len(child.parents) for child in children if child.operator == "crossover"} == {2}
    assert all("+".join(child.memo["operators"]) == child.operator for child in children)


async def test_one_of_several_parameters_at_a_time() -> None:
    task = card(
        code(LINE),
        Parameter("rate", "value", 0.5),
        Parameter("fixed", "value", 0.5, trainable=False),
        Parameter("words", "prompt", "Be brief: 1.0"),
        Parameter("other", "code", "int main() { return 1; }", language="c"),
    )
    run = await Run(build("mutate", task), task, lambda values: 1.0, seed=1).go(40)
    changed = {
        tuple(
            name
            for name in task.parameters
            if entry.candidate.values[name] != run.view.entries[entry.candidate.parents[0]].candidate.values[name]
        )
        for entry, _ in run.history[1:]
    }
    assert changed == {("f",), ("rate",)}


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter("words", "prompt", "Be brief."),
        Parameter("fixed", "value", 1.0, trainable=False),
        Parameter("c", "code", "int x = 1;", language="c"),
        Parameter("name", "value", "text"),
    ],
)
async def test_nothing_editable_is_said(parameter: Parameter) -> None:
    task = card(parameter)
    answer = await build("mutate", task).propose(Run(build("mutate", task), task, lambda values: 1.0).view, 1, Random(0))
    assert isinstance(answer, Exhausted)
    assert "no trainable one" in answer.why


async def test_an_exhausted_space_is_said_once_nothing_is_pending() -> None:
    task = card(Parameter("on", "value", True))
    run = await Run(build("mutate", task, {"tries": 5}), task, lambda values: float(values["on"])).go(10)
    assert len(run.history) == 2
    assert run.answer == Exhausted("mutate found nothing new in 5 tries")
    run.view.pending.append(run.history[0][0].candidate)
    assert await run.optimizer.propose(run.view, 1, Random(0)) == Wait()


async def test_without_a_parent_it_says_so() -> None:
    answer = await build("mutate", TASK).propose(ListView(TASK), 1, Random(0))
    assert answer == Exhausted("no candidate has a score to start from")


async def test_source_that_cannot_be_edited_is_given_up() -> None:
    task = card(code("def f(:"))
    run = await Run(build("mutate", task, {"tries": 3}), task, lambda values: 1.0).go(5)
    assert isinstance(run.answer, Exhausted)


def told(optimizer: Optimizer, operator: str, loss: float | None, status: Any, number: int) -> None:
    from agentopt.core.evaluation import Aggregate, Evaluation, Failure

    proposal = Proposal({"f": f"x = {number}"}, ("seed",), "mutate", operator, memo={"operators": [operator], "parent_score": 5.0})
    candidate = Candidate.of(proposal, TASK.parameters)
    splits = {} if loss is None else {"train": Aggregate({"loss": loss}, 1, {})}
    optimizer.observe(Entry(candidate, Evaluation(candidate.id, (), splits, Failure("crash") if loss is None else None)), Admission(status))


async def shares(optimizer: Optimizer, names: tuple[str, ...]) -> list[int]:
    view = Run(build("mutate", TASK), TASK, regression).view
    operators = []
    for seed in range(120):
        answer = await optimizer.propose(view, 1, Random(seed))
        assert isinstance(answer, list)
        operators += answer[0].memo["operators"]
    return [operators.count(name) for name in names]


async def test_operators_that_pay_are_used_more() -> None:
    optimizer = build("mutate", TASK, {"crossover": 0.0})
    before = await shares(optimizer, ("scale", "add", "hoist"))
    for number in range(60):
        told(optimizer, "scale", 1.0, "admitted", number)
        told(optimizer, "add", 9.0, "dominated", number + 100)
        told(optimizer, "hoist", None, "failed", number + 200)
        told(optimizer, "unknown to this version", 1.0, "admitted", number + 300)
    after = await shares(optimizer, ("scale", "add", "hoist"))
    assert after[0] > 2 * before[0]
    assert 0 < after[1] < before[1]
    assert 0 < after[2] < before[2]


async def test_entering_the_front_pays_half() -> None:
    optimizer = build("mutate", TASK, {"crossover": 0.0, "floor": 0.0, "decay": 1.0})
    for number in range(100):
        told(optimizer, "scale", 9.0, "admitted", number)
        told(optimizer, "add", 1.0, "admitted", number + 100)
        told(optimizer, "hoist", 1.0, "duplicate", number + 200)
    scale, add, hoist = await shares(optimizer, ("scale", "add", "hoist"))
    assert add > scale > hoist


# -- options


async def test_stacked() -> None:
    for stacked in (1, 4):
        run = await Run(build("mutate", TASK, {"stacked": stacked}), TASK, regression).go(80)
        most = max(len(entry.candidate.memo["operators"]) for entry, _ in run.history[1:])
        assert (most == 1) if stacked == 1 else (1 < most <= 4)


async def test_crossover() -> None:
    for share in (0.0, 1.0):
        run = await Run(build("mutate", TASK, {"crossover": share}), TASK, regression).go(60)
        crossed = sum(entry.candidate.operator == "crossover" for entry, _ in run.history)
        assert (crossed == 0) if share == 0.0 else (crossed > 20)


async def test_max_nodes() -> None:
    run = await Run(build("mutate", TASK, {"max_nodes": 30}), TASK, regression).go(100)
    assert max(survey(parse(entry.candidate.values["f"])).size for entry, _ in run.history) <= 30


async def test_floor_and_decay() -> None:
    for options, lively in (({"floor": 1.0}, True), ({"floor": 0.0}, False), ({"floor": 0.0, "decay": 0.0}, True)):
        optimizer = build("mutate", TASK, {"crossover": 0.0, **options})
        for number in range(300):
            told(optimizer, "add", 9.0, "dominated", number)
        (add,) = await shares(optimizer, ("add",))
        assert (add > 3) == lively, options


async def test_remembered() -> None:
    task = card(Parameter("on", "value", True))
    for remembered, expected in ((10, Exhausted), (1, list)):
        run = Run(build("mutate", task, {"remembered": remembered}), task, lambda values: float(values["on"]))
        for _ in range(2):
            await run.step()
        run.observe(run.history[0][0], Admission("duplicate"))
        answer = await run.optimizer.propose(run.view, 1, Random(0))
        assert isinstance(answer, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"stacked": 0},
        {"tries": 0},
        {"max_nodes": 0},
        {"remembered": 0},
        {"crossover": 1.5},
        {"floor": -0.1},
        {"decay": 2.0},
        {"nonsense": 1},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        build("mutate", TASK, options)


def test_the_harness_names_candidates_as_the_core_does() -> None:
    assert candidate_id({"f": LINE}, TASK.parameters) == ids(Run(build("mutate", TASK), TASK, regression))[0]


async def test_a_parent_without_a_score_leaves_no_score_to_beat() -> None:
    run = Run(build("mutate", TASK), TASK, lambda values: None)
    run.view.sample = lambda n, rng: [run.history[0][0]] * n  # type: ignore[method-assign]
    answer = await run.optimizer.propose(run.view, 1, Random(0))
    assert isinstance(answer, list)
    assert "parent_score" not in answer[0].memo
    run.tell(Candidate.of(answer[0], TASK.parameters))
    assert run.history[-1][1].status == "failed"
