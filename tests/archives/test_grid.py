from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from agentopt.archives.grid import Grid
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission
from agentopt.core.protocols import ArchiveContext
from agentopt.core.task import Measure, Objective
from tests.archives.making import context, ids, scored

LENGTH = Measure("length", 0.0, 10.0, 5)
DEPTH = Measure("depth", -1.0, 1.0, 2)


def at(name, score, length, depth=0.0, **more):
    return scored(name, score, measures=[{"length": length, "depth": depth}], **more)


def test_entries_lie_where_their_measures_say():
    grid = Grid(context(["min"], [LENGTH, DEPTH]))
    for name, length, depth in (("a", 0.0, -1.0), ("b", 1.99, -0.01), ("c", 2.0, 0.0), ("d", 9.9, 1.0), ("e", 10.0, 0.5)):
        grid.add(at(name, 1.0, length, depth))
    assert {cell: ids(elites) for cell, elites in grid.cells.items()} == {(0, 0): ["a", "b"], (1, 1): ["c"], (4, 1): ["d", "e"]}
    assert grid.outside == 0


def test_outside_the_range_the_outermost_bin_is_taken_and_counted():
    grid = Grid(context(["min"], [LENGTH, DEPTH]))
    grid.add(at("low", 1.0, -3.0))
    grid.add(at("high", 1.0, 1e300, -7.0))
    grid.add(at("inside", 1.0, 5.0))
    grid.add(at("infinite", 1.0, float("inf")))
    assert set(grid.cells) == {(0, 1), (4, 0), (2, 1), (4, 1)}
    assert grid.outside == 3


def test_the_mean_over_train_rollouts_counts_and_no_measure_is_a_cell_of_its_own():
    grid = Grid(context(["min"], [LENGTH]))
    grid.add(scored("mean", 1.0, 1.0, measures=[{"length": 1.0}, {"length": 6.0}]))
    grid.add(scored("half", 1.0, 1.0, None, measures=[{"length": 9.0}]))
    grid.add(scored("none", 1.0))
    assert {cell: ids(elites) for cell, elites in grid.cells.items()} == {(1,): ["mean"], (4,): ["half"], (-1,): ["none"]}


def test_a_poor_candidate_in_an_empty_cell_is_kept_and_drawn():
    grid = Grid(context(["max"], [LENGTH], elites=1))
    grid.add(at("best", 9.0, 1.0))
    assert grid.add(at("other", 1.0, 9.0)) == Admission("dominated")
    assert grid.add(at("same cell", 2.0, 1.0)) == Admission("dominated")
    assert ids(grid.front()) == ["best"]
    assert grid.get("other") is not None
    assert grid.get("same cell") is None
    drawn = Counter(grid.sample(1, Random(k))[0].id for k in range(400))
    assert 150 < drawn["best"] < 250
    assert set(drawn) == {"best", "other"}


def test_a_cell_keeps_its_best_and_among_equals_the_older():
    grid = Grid(context(["min"], [LENGTH], elites=2))
    for name, score in (("a", 5.0), ("b", 3.0), ("c", 4.0), ("d", 3.0), ("e", 3.0)):
        grid.add(at(name, score, 1.0))
    assert ids(grid.cells[0,]) == ["b", "d"]


def test_elites_of_several_objectives_are_those_that_nothing_dominates():
    grid = Grid(context(["min", "max"], elites=3))
    for name, scores in (("a", (1.0, 1.0)), ("b", (5.0, 5.0)), ("c", (9.0, 9.0)), ("worse", (5.0, 4.0))):
        grid.add(scored(name, scores))
    assert ids(grid.cells[()]) == ["a", "b", "c"]
    grid.add(scored("near b", (5.2, 5.2)))
    assert ids(grid.cells[()]) == ["a", "b", "c"], "of trade-offs the newer of the two that lie closest goes"
    assert "near b" in ids(grid.front())
    assert grid.get("near b") is not None, "what is on the front can be fetched though no cell holds it"
    grid.add(scored("better", (2.0, 6.0)))
    assert ids(grid.cells[()]) == ["a", "c", "better"]


def test_a_tournament_prefers_better_cells():
    drawn = {}
    for size in (1, 3):
        grid = Grid(context(["min"], [LENGTH], tournament=size))
        for k in range(5):
            grid.add(at(f"n{k}", float(k), 2.0 * k))
        rng = Random(0)
        drawn[size] = Counter(grid.sample(1, rng)[0].id for _ in range(1000))
    assert 150 < drawn[1]["n0"] < 250
    assert drawn[3]["n0"] > 400
    assert 0 < drawn[3]["n4"] < 50


def test_sample_repeats_only_when_it_must():
    grid = Grid(context(["min"], [LENGTH], tournament=2))
    for k in range(9):
        grid.add(at(k, float(k), float(k)))
    for k in range(20):
        assert len(set(ids(grid.sample(9, Random(k))))) == 9
        assert len(grid.sample(12, Random(k))) == 12


def test_without_measures_there_is_one_cell_and_axes_choose_among_them():
    assert set(filled(Grid(context(["min"]))).cells) == {()}
    assert set(filled(Grid(context(["min"], [LENGTH, DEPTH], axes="depth"))).cells) == {(1,)}
    assert set(filled(Grid(context(["min"], [LENGTH, DEPTH], axes="depth, length"))).cells) == {(1, 0), (1, 4)}


def filled(grid):
    grid.add(at("a", 1.0, 0.0))
    grid.add(at("b", 1.0, 9.0))
    return grid


def test_an_elite_is_a_duplicate_of_itself():
    grid = filled(Grid(context(["min"], [LENGTH])))
    assert grid.add(at("b", 0.1, 9.0)) == Admission("duplicate")
    assert not grid.admits(at("b", 0.1, 9.0))


@pytest.mark.parametrize(
    ("measures", "options", "sentence"),
    [
        ([], {"elites": 0}, "archive.elites is 0; it must be 1 or more"),
        ([], {"tournament": 0}, "archive.tournament is 0; it must be 1 or more"),
        ([], {"cells": 3}, "archive.cells is unknown; the options are: axes, elites, tournament"),
        ([], {"axes": "size"}, "archive.axes names 'size', which is no measure of the task; those are: none"),
        ([LENGTH, DEPTH], {"axes": "length,"}, "archive.axes names '', which is no measure of the task; those are: length, depth"),
        ([Measure("m", 1.0, 1.0)], {}, "measure 'm' has 10 bins from 1.0 to 1.0; a grid needs low < high and a bin"),
        ([Measure("m", 0.0, 1.0, 0)], {}, "measure 'm' has 0 bins from 0.0 to 1.0; a grid needs low < high and a bin"),
        (
            [Measure(f"m{k}", 0.0, 1.0) for k in range(6)],
            {},
            "the task's measures make 1000000 cells, more than 100000; name fewer of them in archive.axes",
        ),
    ],
)
def test_bad_options_are_one_sentence(measures, options, sentence):
    with pytest.raises(ConfigError) as error:
        Grid(context(["min"], measures, **options))
    assert str(error.value) == sentence


def test_a_context_without_others_is_said():
    with pytest.raises(ConfigError, match="the archive is made of others and cannot have 'pareto': give ArchiveContext a child"):
        Grid(ArchiveContext((Objective("cost", "min"),)))
