"""Islands: whose turn it is, whom they breed from, and when they are filled anew."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from agentopt import plugins
from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Entry
from agentopt.core.protocols import Archive, ArchiveContext
from agentopt.core.task import Objective
from agentopt.evolving.isles import Isles, key_of
from agentopt.evolving.options import EvolveOptions
from agentopt.testing import make_entry

EXCESS = (Objective("excess", "min"),)


def isles(objectives: tuple[Objective, ...] = EXCESS, **options: Any) -> Isles:
    def build(name: str, given: Mapping[str, Any]) -> Archive:
        return plugins.resolve("archives", name)(ArchiveContext(objectives, (), given, build))

    return Isles(EvolveOptions(**({"migrate_every": 0} | options)), objectives, build, "pareto")


def entry(name: str, score: float | None, island: int | None = None, *parents: str) -> Entry:
    operator = "seed" if name == "seed" else "improve"
    candidate = Candidate(name, {"f": name}, parents, "evolve", operator, memo={} if island is None else {"island": island})
    return make_entry(candidate, {"excess": score}) if score is not None else make_entry(candidate, failure="crash")


def parents(islands: Isles, index: int, draws: int = 300) -> dict[str, float]:
    names = [found.id for k in range(draws) if (found := islands.parent(index, Random(k)))]
    return {name: names.count(name) / draws for name in names}


def held(islands: Isles, index: int) -> set[str]:
    return {entry.id for entry in islands._archives[index].sample(100, Random(1))}  # pyright: ignore[reportPrivateUsage]


def test_every_island_has_the_seed_and_only_its_own() -> None:
    islands = isles()
    islands.add(entry("seed", 1.0), None)
    assert set(parents(islands, 2)) == {"seed"}
    assert islands.add(entry("a", 0.5, 1), 1) is True
    assert islands.add(entry("b", 0.7, 2), 2) is False
    assert islands.best is not None
    assert islands.best.id == "a"
    assert [set(parents(islands, index)) for index in range(3)] == [{"seed"}, {"a"}, {"b"}]


def test_turns_are_taken_when_nothing_is_adaptive() -> None:
    islands = isles(adaptive=False)
    islands.add(entry("seed", 1.0), None)
    taken = []
    for k in range(7):
        taken.append(islands.choose({}))
        islands.add(entry(f"c{k}", 1.0 - k * (taken[-1] == 1) / 10, taken[-1]), taken[-1])
    assert taken == [0, 1, 2, 0, 1, 2, 0]
    assert islands.choose({1: 1}) == 2
    assert {islands.exploration(index) for index in range(3)} == {0.35}


def test_the_island_that_improves_gets_more_turns_and_none_is_forgotten() -> None:
    islands = isles(reset_after=0)
    islands.add(entry("seed", 1.0), None)
    taken = []
    for k in range(90):
        index = islands.choose({})
        taken.append(index)
        islands.add(entry(f"c{k}", 0.99**k if index == 1 else 2.0, index), index)
    assert taken.count(1) > 40
    assert min(taken.count(0), taken.count(2)) > 5


def test_what_is_out_and_what_came_to_nothing_count_as_turns() -> None:
    islands = isles()
    islands.add(entry("seed", 1.0), None)
    assert [islands.choose(out) for out in ({}, {0: 1}, {0: 1, 1: 1})] == [0, 1, 2]
    islands.skip(0)
    islands.skip(1)
    islands.skip(9)
    assert islands.choose({}) == 2


def test_improvement_turns_exploration_down_and_its_absence_up() -> None:
    islands = isles(islands=1, reset_after=0)
    islands.add(entry("seed", 1.0), None)
    before = islands.exploration(0)
    for k in range(5):
        islands.add(entry(f"good{k}", 0.5 ** (k + 1), 0), 0)
    improving = islands.exploration(0)
    for k in range(20):
        islands.add(entry(f"bad{k}", 2.0 + k, 0), 0)
    assert improving < 0.85 * before
    assert improving < islands.exploration(0) <= before
    best = parents(islands, 0)["good4"]
    assert best > 0.4


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_neither_scale_nor_zero_of_the_objective_matters(scale: float, shift: float) -> None:
    def play(scale: float, shift: float) -> list[int]:
        islands, taken, draw = isles(), [], Random(4)
        islands.add(entry("seed", scale * (1.0 + shift)), None)
        for k in range(40):
            taken.append(islands.choose({}))
            islands.add(entry(f"c{k}", scale * (draw.random() / (k + 1) + shift), taken[-1]), taken[-1])
        return taken

    assert play(scale, shift) == play(1.0, 0.0)


def test_an_island_without_progress_is_filled_from_the_others() -> None:
    islands = isles(reset_after=4)
    islands.add(entry("seed", 1.0), None)
    islands.add(entry("best", 0.1, 0), 0)
    islands.add(entry("second", 0.2, 1), 1)
    for k in range(4):
        islands.add(entry(f"old{k}", 0.9 if k == 0 else 3.0, 2), 2)
    assert "old0" in held(islands, 2)
    islands.add(entry("old4", 3.0, 2), 2)
    assert held(islands, 2) == {"best", "second"}
    for k in range(9):
        islands.add(entry(f"weak{k}", 3.0, 0), 0)
    assert {"best", "weak0"} <= held(islands, 0), "the island of the best is left alone"


def test_an_island_is_left_alone_where_resets_are_off() -> None:
    islands = isles(reset_after=0)
    islands.add(entry("seed", 1.0), None)
    islands.add(entry("best", 0.1, 0), 0)
    for k in range(30):
        islands.add(entry(f"c{k}", 2.0, 1), 1)
    assert "best" not in held(islands, 1)


def test_a_seed_that_failed_and_a_first_score() -> None:
    islands = isles()
    islands.add(entry("seed", None), None)
    assert islands.parent(0, Random(1)) is None
    assert islands.best is None
    islands.add(entry("bad", None, 0), 0)
    assert islands.add(entry("first", 3.0, 1), 1)
    assert islands.exploration(1) < islands.exploration(0)
    assert key_of(entry("bad", None), EXCESS) == float("inf")


def test_strangers_go_where_their_parents_are() -> None:
    islands = isles()
    islands.add(entry("seed", 1.0), None)
    islands.add(entry("a", 0.5, 1), 1)
    stranger = make_entry(Candidate("s", {"f": "s"}, ("a",), "mutate"), {"excess": 0.4})
    islands.add(stranger, None)
    assert "s" in held(islands, 1)
    broken = make_entry(Candidate("t", {"f": "t"}, ("a",), "mutate"), failure="crash")
    assert islands.add(broken, None) is False


def test_others_come_from_other_islands_first_and_only_once() -> None:
    islands = isles()
    islands.add(entry("seed", 1.0), None)
    for index in range(3):
        islands.add(entry(f"a{index}", 0.5, index), index)
    for k in range(50):
        found = [other.id for other in islands.others(0, 2, {"seed"}, Random(k))]
        assert len(set(found)) == len(found) <= 2
        assert "a0" not in found
    alone = isles(islands=1)
    alone.add(entry("seed", 1.0), None)
    alone.add(entry("a", 0.5, 0), 0)
    assert {other.id for k in range(20) for other in alone.others(0, 2, {"a"}, Random(k))} == {"seed"}


def test_with_several_objectives_the_whole_front_breeds() -> None:
    islands = isles((Objective("excess", "min"), Objective("speed", "max")), islands=1)
    for name, excess, speed in (("seed", 1.0, 1.0), ("good", 0.1, 0.5), ("fast", 2.0, 9.0)):
        candidate = Candidate(name, {"f": name}, operator=name)
        islands.add(make_entry(candidate, {"excess": excess, "speed": speed}), None)
    assert set(parents(islands, 0)) == {"seed", "good", "fast"}
    assert islands.best is not None
    assert islands.best.id == "good"
    islands.add(make_entry(Candidate("tie", {"f": "t"}, operator="tie"), {"excess": 0.1, "speed": 0.6}), None)
    assert islands.best.id == "tie"
