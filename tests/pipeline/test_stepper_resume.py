"""A process may die anywhere: the same program, started again on the same folder, goes on where it was."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentopt.core.errors import ConfigError, StoreError
from agentopt.core.events import Event, canonical
from agentopt.pipeline.stepper import Stepper
from agentopt.store.sqlite import SqliteStore
from agentopt.testing.scripted import ScriptedModel
from agentopt.trace.params import Param
from tests.children import start
from tests.pipeline.worlds import Asking, Counting, answer, params


def events(folder: Path) -> list[Event]:
    with SqliteStore.open(folder, read_only=True) as store:
        return list(store.read())


def program(folder: Path, **options: Any) -> list[Any]:
    """What a user writes: the values that were tried in this process, and those at the end."""
    prompt, k = params()
    tried: list[Any] = []
    given: dict[str, Any] = {"optimizer": Asking, "model": ScriptedModel(answer), "budget": "6evals,9calls", "out": folder}
    with Stepper([prompt, k], **(given | options)) as opt:
        while not opt.done:
            opt.zero_feedback()
            tried.append(k.value)
            opt.backward(None, f"{k.value} is off", -abs(float(k.value) - 3.0))
            opt.step()
        return [*tried, k.value]


def killed_after(number: int, work: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """The status of a child that is killed with its ``number``-th event in the log."""

    def action() -> None:
        appended = SqliteStore.append
        count = 0

        def append(self: SqliteStore, kind: str, data: Any) -> Event:
            nonlocal count
            event = appended(self, kind, data)
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return event

        monkeypatch.setattr(SqliteStore, "append", append)
        work()

    _, status = os.waitpid(start(action), 0)
    return status


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.thorough)])
def test_wherever_it_dies_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int):
    assert program(tmp_path / "whole") == [0, 1, 2, 3, 4, 5, 3]
    whole = canonical(events(tmp_path / "whole"))
    last = len(events(tmp_path / "whole"))
    for number in range(1, last - 1, every):
        folder = tmp_path / f"killed-{number}"
        status = killed_after(number, lambda folder=folder: program(folder), monkeypatch)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        paid = len([event for event in events(folder) if "text" in event.data])
        model = ScriptedModel(answer)
        assert program(folder, model=model)[-1] == 3
        asked = len(model.requests)
        assert canonical(events(folder)) == whole, f"after event {number}"
        assert asked == 5 - paid, "nothing that was answered is asked again"


def test_the_candidate_that_was_tried_is_applied_again(tmp_path: Path):
    folder = tmp_path / "run"
    with Stepper(params(), optimizer=Counting, budget="9evals", out=folder) as opt:
        for score in (1.0, 3.0, 2.0):
            opt.backward(None, "", score)
            opt.step()
    prompt, k = params()
    k.set(77)
    with Stepper([prompt, k], optimizer=Counting, out=folder) as opt:
        assert k.value == 3
        assert opt.best
        assert (opt.best.values["k"], opt.best.scores) == (1, {"score": 3.0})
        opt.backward(None, "", 0.5)
        step = opt.step()
        assert (step.number, step.status, k.value) == (4, "dominated", 4)
        opt.backward(None, "", {"other": 1.0})
        with pytest.raises(ValueError, match="the score 'other' is none of this run's"):
            opt.step()


def test_a_run_that_ended_gives_its_best_and_more_budget_goes_on(tmp_path: Path):
    folder = tmp_path / "run"
    program(folder, budget="2evals,9calls")
    count = len(events(folder))
    prompt, k = params()
    with Stepper([prompt, k], optimizer=Asking, model=ScriptedModel(answer), budget="2evals,9calls", out=folder) as opt:
        assert (opt.done, k.value) == ("the budget is spent", 1)
        assert opt.step().done == opt.done
    assert len(events(folder)) == count, "nothing happened"
    assert program(folder, budget="4evals,9calls") == [2, 3, 3]
    assert sum(event.kind == "proposed" for event in events(folder)) == 4, "the budget is that of the whole run"
    assert program(folder, budget="9evals,3calls") == [3], "three calls were made"


def test_a_run_without_scores_goes_on_counting(tmp_path: Path):
    folder = tmp_path / "run"
    for _ in range(2):
        with Stepper(params(), optimizer=Counting, out=folder) as opt:
            for _ in range(2):
                opt.backward(None, "worse")
                opt.step()
    scores = [event.data["scores"]["step"] for event in events(folder) if event.kind == "rollout"]
    assert scores == [1.0, 2.0, 3.0, 4.0]


def test_a_folder_of_another_run_is_refused(tmp_path: Path):
    folder = tmp_path / "run"
    program(folder, budget="2evals,9calls")
    prompt, _ = params()
    model = ScriptedModel(answer)
    with pytest.raises(ConfigError, match=r"has the parameters prompt \(prompt\), k \(value\), not prompt \(prompt\), n \(value\)"):
        Stepper([prompt, Param(1, "n")], optimizer=Asking, model=model, out=folder)
    for optimizer, name in (("tune", "tune"), ({"name": "mutate"}, "mutate"), (Counting, "object Counting")):
        with pytest.raises(ConfigError, match=f"was begun with the optimizer object Asking, not {name}"):
            Stepper(params(), optimizer=optimizer, model=model, out=folder)
    with pytest.raises(ConfigError, match="asked object scripted, not openai:other"):
        Stepper(params(), optimizer=Asking, model="openai:other", out=folder)
    with pytest.raises(StoreError, match="the run asked object scripted; give the same"):
        Stepper(params(), optimizer=Asking, budget="9evals,9calls", out=folder)
    (tmp_path / "empty").mkdir()
    SqliteStore.create(tmp_path / "empty").close()
    with pytest.raises(StoreError, match="the run ended before it began"):
        Stepper(params(), out=tmp_path / "empty")
    with SqliteStore.open(folder), pytest.raises(StoreError, match="is being worked on by this process"):
        Stepper(params(), optimizer=Asking, model=model, out=folder)
