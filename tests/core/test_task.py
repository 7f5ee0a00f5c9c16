from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from agentopt.core.errors import TaskError
from agentopt.core.task import NEEDS, Case, Limits, Measure, Objective, Parameter, Score, Task
from agentopt.testing import make_task

COST = Objective("cost", "min", ceiling=10.0)


class TestParameter:
    def test_entry_is_the_name_unless_said(self) -> None:
        assert Parameter("priority", "code", "").entry == "priority"
        assert Parameter("priority", "code", "", entry="main").entry == "main"
        assert Parameter("priority", "code", "", entry=None).entry is None

    def test_is_python(self) -> None:
        assert Parameter("f", "code", "").is_python
        assert not Parameter("f", "code", "", language="cuda").is_python
        assert not Parameter("f", "prompt", "").is_python

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("two words", "code", ""), "parameter name 'two words' is not a Python identifier; rename it"),
            (("f", "text", ""), "parameter 'f': kind 'text' is not one of prompt, code, config, value"),
            (("f", "code", 3), "parameter 'f': a code parameter needs text, not int"),
            (("f", "prompt", None), "parameter 'f': a prompt parameter needs text, not NoneType"),
            (("f", "config", [1]), "parameter 'f': a config parameter needs a mapping, not list"),
        ],
    )
    def test_refused(self, arguments: Any, message: str) -> None:
        with pytest.raises(TaskError, match=message):
            Parameter(*arguments)

    @pytest.mark.parametrize("value", [1, 2.5, True, "text"])
    def test_a_value_is_anything_plain(self, value: Any) -> None:
        assert Parameter("v", "value", value).initial == value


class TestObjective:
    def test_worst_is_the_bound_on_the_bad_side(self) -> None:
        assert Objective("a", "max", floor=0.0, ceiling=1.0).worst == 0.0
        assert Objective("a", "min", floor=0.0, ceiling=1.0).worst == 1.0
        assert Objective("a", "min", floor=0.0).worst is None

    def test_better(self) -> None:
        low, high = Objective("a", "min"), Objective("a", "max")
        assert (low.better(1, 2), low.better(2, 1), low.better(1, 1)) == (True, False, False)
        assert (high.better(1, 2), high.better(2, 1), high.better(1, 1)) == (False, True, False)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"name": "a b"}, "objective name 'a b' is not usable; take a Python identifier other than"),
            ({"name": "feedback"}, "objective name 'feedback' is not usable"),
            ({"name": "a", "direction": "up"}, "objective 'a': direction 'up' is not 'min' or 'max'"),
            ({"name": "a", "source": "inside"}, "objective 'a': source 'inside' is not 'scorer' or 'outside'"),
            ({"name": "a", "quantity": "watts"}, "objective 'a': quantity 'watts' is not 'wall', 'cpu' or 'peak_bytes'"),
        ],
    )
    def test_refused(self, given: Any, message: str) -> None:
        with pytest.raises(TaskError, match=message):
            Objective(**given)


class TestLimits:
    def test_default_and_given(self) -> None:
        assert Limits(seconds=0.5, memory_mb=10).seconds == 0.5

    @pytest.mark.parametrize("value", [0, -1, float("nan"), "10", True, None])
    def test_refused(self, value: Any) -> None:
        with pytest.raises(TaskError, match=r"limits.seconds is .*; it must be a number above 0"):
            Limits(seconds=value)


class TestScore:
    def test_holds_what_it_is_given(self) -> None:
        score = Score(cost=1.5, feedback="slow", measures={"size": 3.0})
        assert (score.scores, score.feedback, score.measures) == ({"cost": 1.5}, "slow", {"size": 3.0})
        assert Score().measures == {}

    def test_any_identifier_can_be_an_objective(self) -> None:
        assert Score(**{"self": 1.0}).scores == {"self": 1.0}

    def test_is_frozen(self) -> None:
        with pytest.raises(FrozenInstanceError):
            Score(cost=1.0).feedback = "x"


def complete(**changes: Any) -> Task:
    given: dict[str, Any] = {
        "name": "t",
        "parameters": {"f": Parameter("f", "code", "x = 1")},
        "objectives": [COST],
        "cases": {"train": [Case("a", 1)]},
        "functions": {"run": print, "score": print},
    }
    return Task(**{**given, **changes})


class TestCases:
    def test_a_table(self) -> None:
        cases = complete(cases={"train": [Case("a", 1)], "test": [], "validation": None}).make_cases()
        assert cases == {"train": (Case("a", 1),)}

    def test_a_function_has_a_stream_per_split(self) -> None:
        def draw(split: str, rng: Any) -> list[Case] | None:
            return None if split == "test" else [Case(f"{split}{k}", rng.random()) for k in range(3)]

        cases = complete(cases=draw).make_cases()
        assert list(cases) == ["train", "validation"]
        assert len({case.input for members in cases.values() for case in members}) == 6
        assert complete(cases=draw).make_cases() == cases
        assert complete(cases=draw, case_seed=1).make_cases() != cases

    def test_a_self_reported_task_needs_none(self) -> None:
        assert complete(cases=None, functions={"evaluate": print}).make_cases() == {"train": (Case("all", None),)}

    @pytest.mark.parametrize(
        ("cases", "message"),
        [
            (None, "task 't' has no train case"),
            ({}, "task 't' has no train case"),
            ({"validation": [Case("a", 1)]}, "task 't' has no train case"),
            ({"training": [Case("a", 1)]}, "cases has the unknown split 'training'; use train, validation, test"),
            ({"train": [3]}, "train holds a int; cases are agentopt.Case objects"),
            ({"train": [Case("a", 1)], "test": [Case("a", 2)]}, "two cases have the id 'a'; ids are unique over all splits"),
        ],
    )
    def test_refused(self, cases: Any, message: str) -> None:
        with pytest.raises(TaskError, match=message):
            complete(cases=cases).make_cases()


class TestTask:
    def test_decorators_register_and_give_back(self) -> None:
        task = Task("t")

        @task.run
        def run(program: Any, input: Any) -> Any:
            return input

        @task.score
        def score(case: Any, output: Any, measured: Any) -> Any:
            return Score(cost=output)

        assert task.functions == {"run": run, "score": score}
        assert run(None, 3) == 3
        assert not task.self_reported

    def test_warm_is_no_function_of_its_own(self) -> None:
        task = complete()

        @task.warm
        def warm() -> None: ...

        assert task.functions["warm"] is warm
        task.check()
        for functions in ({"warm": warm}, {"warm": warm, "run": print}):
            with pytest.raises(TaskError, match=r"has neither run nor score|has run but no score"):
                complete(functions=functions).check()
        complete(functions={"warm": warm, "evaluate": print}).check()

    def test_evaluate_makes_it_self_reported(self) -> None:
        task = Task("t")

        @task.evaluate
        def evaluate(program: Any) -> Any:
            return {"cost": 1.0}

        assert task.self_reported
        assert task.functions == {"evaluate": evaluate}

    def test_resolved_parameters(self) -> None:
        task = complete()
        assert task.seed_values == {"f": "x = 1"}
        assert task.has_code
        assert not complete(parameters={"p": Parameter("p", "prompt", "")}).has_code

    def test_unresolved_parameters(self) -> None:
        with pytest.raises(TaskError, match=r"parameter 'f' was not resolved; load the task with agentopt.load_task"):
            complete(parameters={"f": "seed.py"}).seed_values  # noqa: B018

    def test_the_complete_one_passes(self) -> None:
        complete().check()
        complete(on_case_failure="worst", measures=[Measure("size", 0.0, 1.0)]).check()
        complete(functions={"score": print}).check()
        complete(needs=NEEDS).check()
        complete(functions={"evaluate": print}).check()
        complete(functions={"score": print}, command=["./f"], build=("g++", "-o", "f", "f.cpp")).check()
        make_task().check()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"name": ""}, "the task's name is ''; give it a non-empty string"),
            ({"name": 3}, "the task's name is 3"),
            ({"parameters": {}}, "has no parameters; give parameters="),
            ({"objectives": []}, "has no objectives; give objectives="),
            ({"objectives": ["cost"]}, "objectives holds a str; use agentopt.Objective"),
            ({"objectives": [COST, COST]}, "two objectives have one name; names are unique"),
            ({"limits": {"seconds": 1}}, "limits is a dict; use agentopt.Limits"),
            (
                {"needs": ("no_network", "no_sound")},
                "needs names 'no_sound'; a task may need tree_kill, memory_bound",
            ),
            ({"repeats": 0}, "repeats is 0; it must be a whole number of at least 1"),
            ({"repeats": 1.5}, r"repeats is 1.5; it must be"),
            ({"on_case_failure": "skip"}, "on_case_failure is 'skip'; it is 'fail' or 'worst'"),
            ({"on_case_failure": "worst", "objectives": [Objective("cost", "min")]}, "needs a floor .* or ceiling .* on every objective"),
            ({"functions": {}}, "has neither run nor score"),
            ({"functions": {"evaluate": print, "run": print}}, "has evaluate beside run or score"),
            ({"functions": {"run": print}}, "has run but no score"),
            ({"functions": {"score": print}, "build": ["cc"]}, r"has build but no command; name the program that is built: command="),
            ({"functions": {"score": print}, "command": "./f"}, r"command is './f'; give a list of words, none of them empty"),
            (
                {"functions": {"score": print}, "command": ["./f", ""]},
                r"command is \['./f', ''\]; give a list of words, none of them empty",
            ),
            ({"functions": {"score": print}, "command": ["./f", 3]}, "command is .*; give a list of words"),
            ({"functions": {"score": print}, "command": ["./f"], "build": ["c\0c"]}, "build is .*; give a list of words"),
            ({"functions": {}, "command": ["./f"]}, "has command but no score"),
            ({"functions": {"run": print, "score": print}, "command": ["./f"]}, "has run beside command; the program is what runs"),
            ({"functions": {"evaluate": print}, "command": ["./f"]}, "has evaluate beside command"),
            ({"functions": {"warm": print, "score": print}, "command": ["./f"]}, "has warm beside command"),
            ({"functions": {"score": print}, "command": ["./f"], "imports": ["numpy"]}, "has imports beside command"),
            ({"functions": {"score": print}, "command": ["./f"], "sees": ["/usr", "data"]}, "sees names 'data'; give absolute paths"),
            ({"functions": {"score": print}, "command": ["./f"], "sees": [("data", "/data")]}, "sees names 'data'; give absolute paths"),
        ],
    )
    def test_refused(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(TaskError, match=message):
            complete(**changes).check()
