"""Cells of benchmarks/search: one evaluation is the same to all, budgets hold, and what went wrong is a row."""

from __future__ import annotations

import argparse
import sys

import pytest

from benchmarks.search import run as grid
from benchmarks.search.cell import Cell, Ledger, run
from benchmarks.search.evaluator import Evaluator
from benchmarks.search.problems import PROBLEMS, load
from benchmarks.search.report import Finished, Table, to_reach, verdict

FLAT = "def law(x, y):\n    return 0.0\n"
ENDLESS = "def law(x, y):\n    while True:\n        pass\n"


@pytest.fixture
def symbolic():
    return load("symbolic")


def test_seeds_have_scores_on_train_and_held_out_and_a_fitness_of_one():
    for name in PROBLEMS:
        problem = load(name)
        evaluator = Evaluator(problem, 0)
        rated = evaluator.rate(problem.seed, problem.train)
        assert rated.score is not None, (name, rated)
        assert evaluator.rate(problem.seed, problem.held_out).score is not None
        assert evaluator.fitness(rated) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("program", "failure"),
    [
        ("def law(x, y:\n", "syntax"),
        ("def law(x, y):\n    return 1 / 0\n", "crash"),
        ("import os\nos._exit(0)\n", "crash"),
        (FLAT[:0], "build"),
    ],
)
def test_a_program_that_fails_has_a_reason_and_no_fitness(symbolic, program, failure):
    evaluator = Evaluator(symbolic, 0)
    rated = evaluator.rate(program, symbolic.train)
    assert rated.score is None
    assert rated.failure.startswith(failure)
    assert evaluator.fitness(rated) == 0.0


def test_a_program_without_end_is_ended(symbolic):
    assert Evaluator(symbolic, 0).rate(ENDLESS, symbolic.train).failure == "timeout"


def test_what_counts_are_rollouts_over_cases_and_the_budget_is_kept(symbolic):
    ledger = Ledger(Evaluator(symbolic, 0), 2)
    assert [ledger.answer({"source": symbolic.seed, "case": case})["failure"] for case in (0, 1)] == ["", ""]
    assert (round(ledger.used, 3), ledger.curve) == (0.667, [])
    assert ledger.answer({"source": symbolic.seed, "case": 2})["fitness"] > 0.0
    assert [count for count, _ in ledger.curve] == [1.0]
    assert ledger.answer({"source": FLAT})["fitness"] > 0.0
    assert ledger.answer({"source": FLAT, "case": 0}) is None
    assert ledger.used == 2.0


@pytest.mark.parametrize("search", ["best_of_n", "restarts"])
def test_a_control_makes_its_evaluations(search):
    row = run(Cell("symbolic", search, 7, 6, [sys.executable, "-m", "benchmarks.search.plain"], {"search": search}))
    assert (row["status"], row["used"], row["why"]) == ("ok", 6.0, "")
    assert row["calls"] >= 5
    assert row["curve"][0][0] == 1.0
    assert row["train"] == row["curve"][-1][1]
    assert row["held_out"] is not None


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "options"), [("reevo", {"init_pop_size": 4, "pop_size": 3}), ("evolve", {"islands": 2})])
def test_a_search_of_ours_gets_the_stream_and_the_same_scores(name, options):
    given = {"optimizer": {"name": name, "options": options}, "asks": True}
    row = run(Cell("symbolic", name, 1, 10, [sys.executable, "-m", "benchmarks.search.ours"], given))
    assert (row["status"], row["used"]) == ("ok", 10)
    assert row["calls"] > 9
    assert row["train"] == pytest.approx(row["curve"][-1][1])


@pytest.mark.parametrize(
    ("command", "said"), [(["-c", "raise SystemExit('no such thing')"], "no such thing"), (["-c", "raise SystemExit(3)"], "without a word")]
)
def test_a_search_that_breaks_is_a_row_that_says_so(command, said):
    row = run(Cell("symbolic", "broken", 0, 3, [sys.executable, *command]))
    assert row["status"] == "failed"
    assert said in row["why"]


def test_a_finished_cell_is_not_run_again_and_the_order_is_by_seeds(tmp_path, monkeypatch, capsys):
    given = argparse.Namespace(
        tasks=["symbolic"], searches=["best_of_n", "openevolve"], seeds=2, evaluations=3, ablate=False, pythons={}, results=tmp_path
    )
    assert [(search, seed) for _, search, seed, _ in grid.cells(given)] == [
        *[("best_of_n", 0), ("openevolve", 0), ("shinka", 0)],
        *[("best_of_n", 1), ("openevolve", 1), ("shinka", 1)],
    ]
    grid.grid(given)
    rows = grid.read_rows(tmp_path)
    assert [(row["search"], row["seed"], row["status"]) for row in rows] == [("best_of_n", 0, "ok"), ("best_of_n", 1, "ok")]
    assert {"commit", "machine", "cpu_s", "wall_s", "held_out"} <= rows[0].keys()
    monkeypatch.setattr(grid, "run_cell", lambda cell: pytest.fail("again"))
    grid.grid(given)


def row(search: str, seed: int, train: float, curve: list[list[float]]) -> dict:
    machine = {"cpu": "c", "cores": 1, "python": "3"}
    told = {"task": "symbolic", "search": search, "seed": seed, "evaluations": 20, "used": 20, "status": "ok", "why": "", "calls": 20}
    return told | {"train": train, "held_out": train, "curve": curve, "cpu_s": 1.0, "commit": "x", "machine": machine}


def test_a_score_is_reached_when_the_curve_is_as_good():
    cell = Finished(0, 0.4, None, [[1, 1.0], [5, 0.6], [9, 0.4]], 20)
    assert [to_reach(cell, score, -1) for score in (1.0, 0.6, 0.5, 0.3)] == [1, 5, 9, None]
    assert [cell.at(count) for count in (1, 8, 9, 20)] == [1.0, 0.6, 0.4, 0.4]


def test_better_is_said_only_where_the_interval_leaves_out_no_difference():
    assert [verdict(given) for given in (None, (1.0, -0.1, 2.1), (1.0, 0.1, 1.9), (-1.0, -1.9, -0.1))] == [
        *["n < 2", "not shown", "better", "worse"],
    ]
    clear = [row("reevo", seed, 0.2 + 0.01 * seed, [[1, 1.0], [4, 0.2 + 0.01 * seed]]) for seed in range(5)]
    other = [row("gepa", seed, 0.8 + 0.02 * seed, [[1, 1.0], [15, 0.8 + 0.02 * seed]]) for seed in range(5)]
    noisy = [row("restarts", seed, [0.1, 0.9][seed % 2], [[1, 1.0], [9, [0.1, 0.9][seed % 2]]]) for seed in range(5)]
    table = Table("symbolic", [*clear, *other, *noisy])
    assert table.fixed_scores() == []
    found = {name: [verdict(interval) for interval in intervals] for name, _, intervals in table.comparisons("reevo")}
    assert found["gepa"][:2] == ["better", "better"]
    assert found["restarts"][:2] == ["not shown", "not shown"]


def test_fixed_scores_are_quartiles_of_the_others_on_seeds_that_all_of_them_finished():
    rows = [row(search, 1, float(score), []) for score, search in enumerate(["openevolve", "gepa", "best_of_n", "restarts"], 1)]
    ahead = [row("gepa", 2, 0.1, []), row("evolve", 1, 0.1, [])]
    assert Table("symbolic", [*rows, *ahead]).fixed_scores() == [3.25, 2.5, 1.75]
    assert Table("symbolic", [*rows[:-1], *ahead]).fixed_scores() == []
