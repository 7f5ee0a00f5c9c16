from __future__ import annotations

from typing import Any

from agentopt.core.arms import Arms
from agentopt.core.events import Event
from agentopt.core.fold import RunState


def test_what_models_took_is_of_the_arm_that_answered() -> None:
    arms = Arms()
    for ask, usd in ((0, 0.25), (1, 0.5)):
        arms.request({"ask": ask})
        arms.reply({"ask": ask, "tokens": 10, "usd": usd, "latency": 2.0})
    arms.request({"ask": 1})
    arms.reply({"ask": 1, "tokens": 5, "usd": 0.0})
    arms.answer("b", 1, new=True)
    arms.answer("a", 0, refused=True)
    arms.answer("free", 2, new=True)
    arms.answer("free", 2, new=True)
    arms.answer("free", 3)
    assert [arms.by_name["b"].calls, arms.by_name["b"].usd, arms.by_name["b"].tokens] == [2, 0.5, 15]
    assert [arms.by_name["a"].calls, arms.by_name["a"].refused, arms.by_name["a"].evals] == [1, 1, 0]
    free = arms.by_name["free"]
    assert (free.asks, free.evals, free.calls) == (2, 2, 0)
    assert list(arms.by_name) == ["b", "a", "free"]


def test_rates_where_there_is_something_to_divide_by() -> None:
    arms = Arms()
    arms.request({"ask": 0})
    arms.reply({"ask": 0, "tokens": 10, "usd": 0.5})
    arms.answer("a", 0, new=True)
    arms.evaluate("a", 4.0)
    arms.improve("a", 2.0)
    arms.answer("b", 1)
    found = arms.to_json()
    assert (found["a"]["gain_per_usd"], found["a"]["gain_per_second"], found["a"]["bests"]) == (4.0, 0.5, 1)
    assert (found["b"]["gain_per_usd"], found["b"]["gain_per_second"], found["b"]["usd"]) == (None, None, 0.0)
    arms.request({"ask": 2})
    arms.reply({"ask": 2})
    arms.answer("b", 2)
    assert arms.to_json()["b"]["usd"] is None, "unknown is not 0"


def log(*rows: tuple[str, dict[str, Any]]) -> RunState:
    state = RunState()
    objectives = [{"name": "error", "direction": "min"}]
    info = {"task": {"name": "t", "objectives": objectives}, "config": {"optimizer": {"name": "whole"}}, "budget": {}}
    for number, (kind, data) in enumerate([("run_started", info), *rows], 1):
        state.apply(Event(number, float(number), kind, data))
    return state


def candidate(key: str, index: int, optimizer: str, error: float, displaced: list[str]) -> list[tuple[str, dict[str, Any]]]:
    splits = {"train": {"scores": {"error": error}}}
    return [
        ("proposed", {"candidate": key, "index": index, "ticket": index, "optimizer": optimizer, "generation": 0}),
        ("rollout", {"candidate": key, "measured": [0.5, 0.5, 1]}),
        ("evaluated", {"candidate": key, "stage": "train", "splits": splits}),
        ("admitted", {"candidate": key, "status": "admitted", "displaced": displaced, "gain": 0.0}),
        ("rollout", {"candidate": key, "measured": [9.0, 9.0, 1]}),
    ]


def test_the_log_tells_what_each_arm_brought() -> None:
    state = log(
        *candidate("seed", -1, "", 5.0, []),
        *candidate("x", 0, "a", 3.0, ["seed"]),
        ("proposed", {"candidate": "x", "index": 1, "ticket": 1, "optimizer": "b", "generation": 0, "duplicate": True}),
        *candidate("y", 2, "b", 2.5, ["x"]),
        ("note", {"kind": "refused", "index": 3, "text": "empty", "memo": {"arm": "a"}}),
        ("note", {"kind": "refused", "index": 4, "text": "empty", "memo": {}}),
    )
    arms = state.summary()["arms"]
    assert list(arms) == ["a", "b", "whole"]
    assert (arms["a"]["gain"], arms["a"]["seconds"], arms["a"]["asks"], arms["a"]["evaluations"]) == (2.0, 0.5, 2, 1)
    assert (arms["b"]["gain"], arms["b"]["bests"], arms["b"]["asks"], arms["b"]["evaluations"]) == (0.5, 1, 2, 1)
    assert arms["whole"]["refused"] == 1
