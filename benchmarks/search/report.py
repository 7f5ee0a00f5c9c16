"""Tables of the cells that are done: final scores, evaluations to fixed scores, and ours against each other search over paired seeds.

*Better* and *worse* are said only where a 95 % interval (Student's, of the mean paired difference) leaves out no difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from agentopt.scoring.interval import paired_interval
from benchmarks.search.problems import PROBLEMS, load

__all__ = ["Finished", "Table", "to_reach", "verdict", "write"]

Row = Mapping[str, Any]
OURS = ("auto", "evolve", "reevo")
THEIRS = ("openevolve", "gepa", "best_of_n", "restarts")
OTHERS = ("mutate", "memetic")
QUARTILE = 2
"""Which quartile of the pooled final scores is the fixed score of the tables; all three are given."""
SHORT = 50
RULES = """\
How to read it. A cell is a task, a search and a seed. `train` is the score that was searched on, `held-out` that of the same program on
cases that no search saw; both are medians over the seeds (n). An arrow tells whether less (v) or more (^) is better. Fixed scores are the
quartiles of the final train scores that the peers and controls (openevolve, gepa, best_of_n, restarts) reach at full budget, on the seeds
that all of them have finished: a rule, and nothing of ours moves them. `Evaluations to` is the median of the number of the evaluation at
which a cell first was as good; a cell that never was counts as the budget, and `>` says that half of them never were. Intervals are those
of the mean over paired seeds, 95 %, none corrected for how many there are. A ratio of evaluations is that to the median fixed score, ours
over theirs: below 1 ours took fewer; its interval is that of the mean logarithm, in the first table over the pairs of all tasks. `Shown`
counts the tasks with a verdict of their own. `better` and `worse` are said only where the interval leaves out no difference."""


@dataclass(frozen=True)
class Finished:
    """A cell with a score. ``curve``: (evaluations, best train score) at each improvement."""

    seed: int
    train: float
    held_out: float | None
    curve: Sequence[Sequence[float]]
    evaluations: int

    def at(self, evaluations: float) -> float | None:
        """The best train score after so many evaluations."""
        return next((score for count, score in reversed(self.curve) if count <= evaluations), None)


Cells = Mapping[str, Mapping[int, Finished]]
"""search -> seed -> cell"""


def to_reach(cell: Finished, score: float, sign: int) -> float | None:
    """Evaluations until the curve is at least as good as ``score``; None if it never is."""
    return next((count for count, value in cell.curve if sign * value >= sign * score), None)


def verdict(interval: tuple[float, float, float] | None) -> str:
    """Of an interval in which more than 0 is better."""
    if interval is None:
        return "n < 2"
    _, low, high = interval
    return "better" if low > 0 else "worse" if high < 0 else "not shown"


class Table:
    """The tables of one task."""

    def __init__(self, task: str, rows: Iterable[Row]) -> None:
        problem = load(task)
        self.task = task
        self.sign = problem.sign
        self.objective = problem.task.objectives[0].name
        self.rows = [row for row in rows if row["task"] == task]
        self.budget = max((row["evaluations"] for row in self.rows), default=0)
        self.cells = self._cells(self.budget)

    def _cells(self, budget: int) -> dict[str, dict[int, Finished]]:
        found: dict[str, dict[int, Finished]] = {}
        for row in self.rows:
            if row["status"] == "ok" and row["train"] is not None and row["evaluations"] == budget:
                cell = Finished(row["seed"], row["train"], row["held_out"], row["curve"], budget)
                found.setdefault(row["search"], {})[row["seed"]] = cell
        return found

    @property
    def searches(self) -> list[str]:
        return [name for name in (*OURS, *THEIRS, *OTHERS) if name in self.cells]

    def fixed_scores(self) -> list[float]:
        """Quartiles of the final scores of peers and controls, the easiest first; none before they have finished a seed."""
        pool = [self.cells.get(name, {}) for name in THEIRS]
        seeds = set.intersection(*map(set, pool))
        finals = [self.sign * cells[seed].train for cells in pool for seed in seeds]
        return [self.sign * value for value in quantiles(finals, n=4, method="inclusive")] if finals else []

    def finals(self) -> list[str]:
        arrow = "^" if self.sign > 0 else "v"
        fixed = self.fixed_scores()
        heads = [f"to {_short(score)}" for score in fixed]
        lines = [
            _line("search", "n", "failed", f"train {arrow}", f"held-out {arrow}", *heads, "calls", "CPU s"),
            _line(*["---"] * (7 + len(heads))),
        ]
        for name in self.searches:
            cells = list(self.cells[name].values())
            rows = [row for row in self.rows if row["search"] == name and row["evaluations"] == self.budget]
            held_out = [cell.held_out for cell in cells if cell.held_out is not None]
            missing = f" ({len(cells) - len(held_out)} fail there)" if len(held_out) < len(cells) else ""
            lines.append(
                _line(
                    name,
                    len(cells),
                    sum(row["status"] != "ok" for row in rows),
                    _short(median(cell.train for cell in cells)),
                    (_short(median(held_out)) if held_out else "-") + missing,
                    *(self._median_to(cells, score) for score in fixed),
                    _short(median(row["calls"] for row in rows if row["status"] == "ok")),
                    _short(median(row["cpu_s"] for row in rows)),
                )
            )
        return lines

    def _median_to(self, cells: Sequence[Finished], score: float) -> str:
        reached = [to_reach(cell, score, self.sign) for cell in cells]
        middle = median(self.budget if count is None else count for count in reached)
        never = sum(count is None for count in reached)
        return f"{'>' if never * 2 >= len(cells) else ''}{middle:.0f} ({len(cells) - never}/{len(cells)})"

    def comparisons(self, ours: str) -> list[tuple[str, int, Sequence[tuple[float, float, float] | None]]]:
        """Per other search: the pairs, and the intervals of the differences in train, held-out and log evaluations (more is better)."""
        found: list[tuple[str, int, Sequence[tuple[float, float, float] | None]]] = []
        for name in self.searches:
            if name not in OURS:
                differences = self.differences(ours, name)
                found.append((name, len(differences[0]), [paired_interval(values) for values in differences]))
        return found

    def differences(self, ours: str, name: str) -> tuple[list[float], list[float], list[float]]:
        """Of each pair, in our favour: train, held-out (where both have one) and the logarithm of their evaluations over ours."""
        fixed = self.fixed_scores()
        pairs = self._pairs(self.cells[ours], self.cells[name])
        train = [self.sign * (a.train - b.train) for a, b in pairs]
        held_out = [self.sign * (a.held_out - b.held_out) for a, b in pairs if a.held_out is not None and b.held_out is not None]
        return train, held_out, [math.log(self._spent(b, fixed) / self._spent(a, fixed)) for a, b in pairs] if fixed else []

    def _spent(self, cell: Finished, fixed: Sequence[float]) -> float:
        return to_reach(cell, fixed[QUARTILE - 1], self.sign) or self.budget

    @staticmethod
    def _pairs(mine: Mapping[int, Finished], theirs: Mapping[int, Finished]) -> list[tuple[Finished, Finished]]:
        return [(mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]

    def against(self, ours: str) -> list[str]:
        heads = ("against", "pairs", "train", "", "held-out", "", "evaluations, ratio", "")
        lines = [_line(*heads), _line(*["---"] * len(heads))]
        for name, pairs, (train, held_out, logs) in self.comparisons(ours):
            ratio = logs and (math.exp(-logs[0]), math.exp(-logs[2]), math.exp(-logs[1]))
            lines.append(
                _line(
                    name, pairs, _interval(train), verdict(train), _interval(held_out), verdict(held_out), _interval(ratio), verdict(logs)
                )
            )
        return lines

    def short(self) -> list[str]:
        """Shinka and the others after as many evaluations as it had."""
        shinka = self._cells(SHORT).get("shinka") if self.budget != SHORT else None
        if not shinka:
            return []
        failed = sum(row["search"] == "shinka" and row["status"] != "ok" for row in self.rows)
        lines = [_line("search", "pairs", f"train after {SHORT}", "minus shinka's, in its favour", ""), _line(*["---"] * 5)]
        lines.append(_line("shinka", f"{len(shinka)} ({failed} failed)", _short(median(cell.train for cell in shinka.values())), "", ""))
        for name in self.searches:
            pairs = [(mine.at(SHORT), theirs.train) for mine, theirs in self._pairs(self.cells[name], shinka)]
            known = [(mine, theirs) for mine, theirs in pairs if mine is not None]
            interval = paired_interval([self.sign * (mine - theirs) for mine, theirs in known])
            middle = _short(median(mine for mine, _ in known)) if known else "-"
            lines.append(_line(name, len(known), middle, _interval(interval), verdict(interval) if name in OURS else ""))
        return lines

    def ablation(self) -> list[str]:
        """What evolve loses by each of its ideas left out."""
        whole = self.cells.get("evolve", {})
        without = sorted(name for name in self.cells if name.startswith("evolve-"))
        if not whole or not without:
            return []
        lines = [_line("without", "pairs", "train", "with it, minus", "", "held-out", "with it, minus", ""), _line(*["---"] * 8)]
        for name in without:
            pairs = self._pairs(whole, self.cells[name])
            train = paired_interval([self.sign * (a.train - b.train) for a, b in pairs])
            known = [(a.held_out, b.held_out) for a, b in pairs if a.held_out is not None and b.held_out is not None]
            held_out = paired_interval([self.sign * (a - b) for a, b in known])
            middle = [_short(median(values)) if values else "-" for values in ([b.train for _, b in pairs], [b for _, b in known])]
            parts = (middle[0], _interval(train), verdict(train), middle[1], _interval(held_out), verdict(held_out))
            lines.append(_line(name.partition("-")[2], len(pairs), *parts))
        return lines


def write(rows: Sequence[Row], folder: Path) -> None:
    """Print the tables and write them to ``report.md`` in ``folder``."""
    begun = {row["task"] for row in rows}
    tables = [table for table in (Table(task, rows) for task in PROBLEMS if task in begun) if table.searches]
    text = "\n".join([*_head(rows), *_summary(tables), *(line for table in tables for line in _part(table)), *_failures(rows)])
    (folder / "report.md").write_text(text + "\n")
    print(text)


def _head(rows: Sequence[Row]) -> list[str]:
    commits = sorted({row["commit"] for row in rows})
    machines = sorted({f"{row['machine']['cpu']}, {row['machine']['cores']} cores, Python {row['machine']['python']}" for row in rows})
    return [
        "# Searches under one proposal stream",
        "",
        f"{len(rows)} cells, at {', '.join(commits)}; {'; '.join(machines)}.",
        "",
        RULES,
        "",
    ]


def _summary(tables: Sequence[Table]) -> list[str]:
    """Of each of ours and each other search: how many pairs it won, and on how many tasks that is shown."""
    heads = (
        "ours",
        "against",
        "tasks",
        "train: pairs won-tied-lost",
        "shown",
        "held-out: pairs",
        "shown",
        "evaluations: ratio",
        "",
        "shown",
    )
    lines = ["## Over the tasks", "", _line(*heads), _line(*["---"] * len(heads))]
    for ours in OURS:
        for name in (*THEIRS, *OTHERS):
            both = [table for table in tables if ours in table.cells and name in table.cells]
            if both:
                lines.append(_line(ours, name, len(both), *_over(both, ours, name)))
    return [*lines, ""]


def _over(tables: Sequence[Table], ours: str, name: str) -> Iterable[str]:
    columns = list(zip(*(table.differences(ours, name) for table in tables), strict=True))
    shown = [_counted([verdict(paired_interval(values)) for values in column]) for column in columns]
    logs = paired_interval([value for values in columns[2] for value in values])
    yield from (_won(columns[0]), shown[0], _won(columns[1]), shown[1])
    yield from (_interval(logs and (math.exp(-logs[0]), math.exp(-logs[2]), math.exp(-logs[1]))), verdict(logs), shown[2])


def _won(columns: Iterable[Sequence[float]]) -> str:
    values = [value for column in columns for value in column]
    won, lost = sum(value > 0 for value in values), sum(value < 0 for value in values)
    return f"{won}-{len(values) - won - lost}-{lost}"


def _counted(verdicts: Sequence[str]) -> str:
    return f"{verdicts.count('better')} better, {verdicts.count('worse')} worse"


def _part(table: Table) -> list[str]:
    lines = [f"## {table.task}: {table.objective}, {table.budget} evaluations", "", *table.finals(), ""]
    for ours in OURS:
        if ours in table.cells:
            lines += [f"{ours} minus the other, in its favour:", "", *table.against(ours), ""]
    for part in (table.short(), table.ablation()):
        lines += [*part, ""] if part else []
    return lines


def _failures(rows: Sequence[Row]) -> list[str]:
    failed = [row for row in rows if row["status"] != "ok"]
    if not failed:
        return ["No cell failed."]
    return [
        "## Cells that failed",
        "",
        *(f"- {row['task']}, {row['search']}, seed {row['seed']}: {' '.join(row['why'].split())[-200:]}" for row in failed),
    ]


def _interval(interval: tuple[float, float, float] | None) -> str:
    return f"{_short(interval[0])} [{_short(interval[1])}, {_short(interval[2])}]" if interval else "-"


def _short(value: float) -> str:
    return f"{value:.4g}"


def _line(*parts: object) -> str:
    return f"| {' | '.join(map(str, parts))} |"
