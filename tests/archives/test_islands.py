from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from agentopt.archives import islands as module
from agentopt.archives.islands import Islands
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission
from agentopt.core.task import Measure
from agentopt.testing import make_entry
from tests.archives.making import context, ids, scored


def on(name, score, island, **more):
    return scored(name, score, memo={"island": island}, **more)


def held(archive, *names):
    return [[name for name in names if island.get(name)] for island in archive.islands]


def test_the_seed_is_on_every_island_and_its_children_spread():
    archive = Islands(context(islands=3, every=0))
    archive.add(scored("seed", 5.0, operator="seed"))
    assert held(archive, "seed") == [["seed"]] * 3
    assert archive.island_of("seed") is None
    homes = Counter()
    for k in range(60):
        archive.add(scored(f"child {k}", 6.0, parents=["seed"]))
        homes[archive.island_of(f"child {k}")] += 1
    assert set(homes) == {0, 1, 2}
    assert min(homes.values()) > 5


def test_memo_decides_then_the_first_parent_then_the_id():
    archive = Islands(context(islands=4, every=0))
    archive.add(on("a", 5.0, 2))
    archive.add(scored("child of a", 4.0, parents=["a", "b"]))
    archive.add(on("moved", 4.0, 3, parents=["a"]))
    assert [archive.island_of(name) for name in ("a", "child of a", "moved", "nobody")] == [2, 2, 3, None]
    for k, island in enumerate((4, -1, True, "1", None)):
        archive.add(on(f"odd {k}", 4.0, island, parents=["a"]))
        assert archive.island_of(f"odd {k}") == 2, "what names no island is not heeded"
    archive.add(scored("orphan", 9.0, parents=["forgotten"]))
    other = Islands(context(islands=4))
    other.add(scored("orphan", 9.0))
    assert archive.island_of("orphan") == other.island_of("orphan") is not None


def test_the_best_of_each_island_goes_to_the_next():
    archive = Islands(context(islands=3, every=4))
    for name, score, island in (("a", 1.0, 0), ("a2", 2.0, 0), ("b", 3.0, 1)):
        archive.add(on(name, score, island))
    assert held(archive, "a", "a2", "b") == [["a", "a2"], ["b"], []]
    assert archive.add(make_entry("broken", failure="crash")) == Admission("failed")
    assert held(archive, "a", "a2", "b") == [["a", "a2"], ["b"], []], "what has no score does not count"
    archive.add(on("c", 4.0, 1))
    assert held(archive, "a", "b", "c") == [["a"], ["a", "b", "c"], ["b"]]
    assert archive.island_of("a") == 0, "a migrant's home stays"


def test_migrants_are_the_best_by_one_objective_after_the_other():
    archive = Islands(context(["min", "max"], islands=2, every=2))
    archive.add(scored("cheap", (1.0, 1.0), memo={"island": 0}))
    archive.add(scored("good", (9.0, 9.0), memo={"island": 0}))
    assert held(archive, "cheap", "good") == [["cheap", "good"], ["cheap"]]
    archive.add(scored("x", (99.0, 0.0), memo={"island": 0}))
    archive.add(scored("y", (99.0, 0.5), memo={"island": 0}))
    assert held(archive, "cheap", "good") == [["cheap", "good"], ["cheap", "good"]]


def test_all_of_a_sample_come_from_one_island_and_empty_ones_are_passed_over():
    archive = Islands(context(islands=5, every=0))
    for k in range(12):
        archive.add(on(k, float(k), 1 if k % 2 else 3))
    seen = set()
    for k in range(60):
        drawn = archive.sample(4, Random(k))
        homes = {archive.island_of(entry.id) for entry in drawn}
        assert len(homes) == 1
        assert len(set(ids(drawn))) == 4
        seen |= homes
    assert seen == {1, 3}


def test_the_front_is_that_of_all_and_validation_decides():
    archive = Islands(context(islands=2, every=0))
    archive.add(on("solid", 2.0, 0, validation=2.0))
    lucky = on("lucky", 1.0, 1, validation=4.0)
    assert archive.admits(lucky)
    assert archive.add(lucky) == Admission("dominated")
    assert ids(archive.front()) == ["solid"]
    better = on("better", 1.5, 1, validation=1.0)
    assert archive.add(better) == Admission("admitted", ("solid",), 1.0)
    assert archive.add(better) == Admission("duplicate")
    assert not archive.admits(better)


def test_islands_decide_by_search_scores_so_that_unconfirmed_entries_lead_them():
    archive = Islands(context(islands=2, every=0))
    archive.add(on("seed of 1", 5.0, 1, validation=5.0))
    archive.add(on("best", 1.0, 0, validation=1.0))
    archive.add(on("good", 2.0, 1))
    assert ids(archive.islands[1].front()) == ["good"]
    assert archive.get("best").confirmed == {"o0": 1.0}
    assert all(entry == archive.get(entry.id) for k in range(9) for entry in archive.sample(1, Random(k))), "samples are the whole entries"


def test_an_island_can_be_reset_and_added():
    archive = Islands(context(islands=2, every=0))
    for name, score, island in (("a", 1.0, 0), ("b", 5.0, 1), ("c", 6.0, 1)):
        archive.add(on(name, score, island))
    archive.reset(1, [archive.get("a")])
    assert held(archive, "a", "b", "c") == [["a"], ["a"]]
    assert archive.grow([archive.get("a")]) == 2
    assert archive.grow([]) == 3
    assert held(archive, "a", "b") == [["a"], ["a"], ["a"], []]
    archive.add(on("d", 0.5, 3))
    assert archive.island_of("d") == 3
    archive.reset(3, [scored("never told", 7.0)])
    assert archive.get("never told") is not None
    assert archive.island_of("never told") == 3
    broken = make_entry("broken", failure="crash")
    archive.reset(3, [broken])
    assert not archive.islands[3].front()
    with pytest.raises(IndexError):
        archive.reset(9, [])


def test_equal_calls_give_equal_islands():
    def play():
        archive = Islands(context(islands=3, every=5, inner={"bench": 3}))
        rng = Random(1)
        for k in range(80):
            parents = [entry.id for entry in archive.sample(1, rng)]
            archive.add(scored(k, rng.random(), parents=parents))
            if k == 40:
                archive.reset(k % 3, archive.front())
        return [[entry.id for entry in archive.sample(5, Random(j))] for j in range(20)]

    assert play() == play()


def test_what_no_island_holds_is_forgotten(monkeypatch):
    monkeypatch.setattr(module, "_FORGET_AT", 16)
    archive = Islands(context(islands=2, every=0, inner={"bench": 2}))
    most = 0
    for k in range(500):
        archive.add(scored(k, 500.0 - k))
        most = max(most, len(archive._known))
    assert most <= 16
    assert archive.get("0") is None
    assert archive.island_of("0") is None
    assert archive.get("499") is not None
    for island in archive.islands:
        for entry in island.sample(3, Random(0)):
            assert archive.get(entry.id) is not None


def test_islands_can_be_grids():
    archive = Islands(context(["min"], [Measure("m", 0.0, 1.0)], archive="grid", islands=2, every=0, inner={"elites": 1}))
    for k in range(10):
        archive.add(scored(k, 1.0 + k, measures=[{"m": k / 10}], memo={"island": 0}))
    assert len(archive.islands[0].cells) == 10
    assert len(set(ids(archive.islands[0].sample(10, Random(0))))) == 10


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"islands": 0}, "archive.islands is 0; it must be 1 or more"),
        ({"every": -1}, "archive.every is -1; it must be 0 or more"),
        ({"inner": 3}, "archive.inner is 3; it must hold the options of an island's archive"),
        ({"inner": {"cells": 3}}, "archive.cells is unknown; the options are: bench"),
        ({"count": 3}, "archive.count is unknown; the options are: archive, every, islands"),
        ({"archive": "lake"}, "archive: there is no 'lake'; there is case_front, grid, islands, pareto, or give package.module:Name"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(ConfigError) as error:
        Islands(context(**options))
    assert str(error.value) == sentence
