"""agentopt list tasks | runs | optimizers | archives"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentopt.core.errors import ConfigError, StoreError, TaskError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["list_things"]

_RUNS = Path("runs")


def list_things(
    what: Annotated[str, typer.Argument(help="tasks, runs, optimizers or archives.")] = "tasks",
    folder: Annotated[Path | None, typer.Argument(help="Where to look for runs; default runs/.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """What there is: bundled tasks, runs, optimizers, archives."""
    from agentopt.cli.common import print_json
    from agentopt.cli.terminal import print_parts, stdout_console

    ways = {"tasks": (_tasks, _tasks_table), "runs": (_runs, _runs_table)}
    ways |= {room: (partial(_parts, room), partial(_parts_table, room)) for room in ("optimizers", "archives")}
    if what not in ways:
        raise ConfigError(f"list {what}: there is no such list; write tasks, runs, optimizers or archives")
    if folder is not None and what != "runs":
        raise ConfigError(f"list {what} takes no folder; write agentopt list runs {folder}")
    find, draw = ways[what]
    rows = find(folder)
    if json:
        print_json({what: rows})
    elif rows:
        print_parts(stdout_console(), draw(rows))
    else:
        typer.echo(_nothing(what, folder), err=True)


def _nothing(what: str, folder: Path | None) -> str:
    return f"no runs in {folder or _RUNS}; agentopt evolve TASK makes one" if what == "runs" else f"there are no {what} here"


# --- tasks and parts -----------------------------------------------------------------------------------------------


def _tasks(folder: Path | None) -> list[dict[str, Any]]:
    from agentopt.loading import bundled_tasks, load_task_file

    rows: list[dict[str, Any]] = []
    for name, path in bundled_tasks().items():
        try:
            goal = load_task_file(path).goal.strip().partition("\n")[0]
        except TaskError as error:
            rows.append({"name": name, "goal": "", "path": str(path), "error": str(error)})
        else:
            rows.append({"name": name, "goal": goal, "path": str(path)})
    return rows


def _tasks_table(rows: list[dict[str, Any]]) -> list[Table | Text]:
    from rich.text import Text

    table = _table("task", "goal", "path")
    for row in rows:
        wrong = row.get("error", "").partition("\n")[0]
        table.add_row(row["name"], Text(wrong, style="red") if wrong else row["goal"], _near(row["path"]))
    return [table]


def _near(path: str) -> str:
    """Relative to where we are, if it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _parts(room: str, folder: Path | None) -> list[dict[str, Any]]:
    from agentopt.plugins import names

    return [{"name": name, "about": about} for name, about in names(room).items()]


def _parts_table(room: str, rows: list[dict[str, Any]]) -> list[Table | Text]:
    table = _table(room[:-1], "about")
    for row in rows:
        table.add_row(row["name"], row["about"])
    return [table]


def _table(*titles: str) -> Table:
    from rich.table import Table

    table = Table(*titles, box=None, pad_edge=False, header_style="dim")
    for column in table.columns:
        column.overflow = "fold"
    return table


# --- runs ----------------------------------------------------------------------------------------------------------


def _runs(folder: Path | None) -> list[dict[str, Any]]:
    """Every folder inside; one without a run, or with one that cannot be read, says so. Raises StoreError for a missing folder."""
    from agentopt.store.layout import is_run_folder, list_runs

    parent = folder or _RUNS
    if not parent.is_dir():
        if folder is None:
            return []
        raise StoreError(f"{parent}: no such folder; name one that holds runs")
    if is_run_folder(parent):
        return [_row(parent)]
    runs = list_runs(parent)
    foreign = sorted(path for path in parent.iterdir() if path.is_dir() and path not in runs and not path.name.startswith("."))
    return [*(_row(run) for run in runs), *({"folder": str(path), "error": "not a run: it holds no run.db"} for path in foreign)]


def _row(folder: Path) -> dict[str, Any]:
    from agentopt.cli.reading import open_log

    try:
        with open_log(folder) as log:
            first = log.state.ranking[0].name
            return {"folder": str(folder), **log.state.summary(), "standing": log.standing().word, "objective": first}
    except StoreError as error:
        return {"folder": str(folder), "error": str(error)}


def _runs_table(rows: list[dict[str, Any]]) -> list[Table | Text]:
    from rich.text import Text

    from agentopt.cli.terminal import harmless, number

    table = _table("run", "task", "status", "evaluations", "objective", "seed -> best", "seconds")
    for column in (table.columns[3], table.columns[6]):
        column.justify = "right"
    unreadable = [Text(harmless(f"{row['folder']}: {row['error']}"), style="red") for row in rows if "error" in row]
    for row in rows:
        if "error" in row:
            continue
        name = row["objective"]
        found: list[Mapping[str, float]] = [row[who]["scores"] or {} for who in ("seed", "best")]
        scores = " -> ".join(number(scores[name]) if name in scores else "-" for scores in found)
        cells = [
            _near(row["folder"]),
            row["task"],
            row["standing"],
            str(row["evaluations"]),
            name,
            scores,
            f"{row['spent']['seconds']:.1f}",
        ]
        table.add_row(*(harmless(cell) for cell in cells))
    return [*([table] if table.row_count else []), *unreadable]
