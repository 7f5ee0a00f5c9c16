"""agentopt apply RUN"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentopt.core.errors import AgentoptError, ConfigError

if TYPE_CHECKING:
    from agentopt.cli.reading import RunLog

__all__ = ["apply"]


def apply(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a seed file although it changed since the run began.")] = False,
) -> None:
    """Write the best candidate over the seed files of its task, after showing what changes."""
    from agentopt.cli.changes import patch, print_patch
    from agentopt.cli.reading import open_log
    from agentopt.cli.terminal import stdout_console
    from agentopt.cli.writing import replace_files

    with open_log(run) as log:
        key = log.resolve("best")
        if key == log.state.seed_id:
            typer.echo("nothing to do: the best candidate is the seed")
            return
        changes = [change for change in _changes(log, key) if not change.is_done]
        if not changes:
            typer.echo(f"nothing to do: the files hold candidate {key} already")
            return
        changed = next((change for change in changes if not change.is_seed), None)
        if changed and not force:
            raise ConfigError(f"{changed.path}: it is not what the run started from; keep it, or overwrite it with --force")
        before = {change.name: change.found or "" for change in changes}
        after = {change.name: change.text for change in changes}
        print_patch(stdout_console(), patch(before, after, "now", "best"))
        _say_what_is_proven(log)
    if not yes:
        _confirm(changes)
    replace_files({change.path: change.text for change in changes})
    for change in changes:
        typer.echo(f"wrote {change.path} (candidate {key})")


@dataclass(frozen=True)
class _Change:
    """A seed file: what it holds (None: it is gone), what the run started from, and what it is to hold."""

    name: str
    """Relative to the task's folder."""
    path: Path
    found: str | None
    seed: Any
    best: Any
    text: str

    @property
    def is_done(self) -> bool:
        return self._holds(self.best)

    @property
    def is_seed(self) -> bool:
        return self._holds(self.seed)

    def _holds(self, value: Any) -> bool:
        if self.found is None or isinstance(value, str):
            return self.found == value
        try:
            return json.loads(self.found) == value
        except ValueError:
            return False


def _changes(log: RunLog, key: str) -> list[_Change]:
    """One per parameter in which the candidate differs from the seed. Raises ConfigError where one has no file."""
    from agentopt.results import value_text

    values, seeds = log.entry(key).candidate.values, log.state.info["seed_values"]
    files = {parameter["name"]: parameter.get("source_file") for parameter in log.task["parameters"]}
    names = [name for name, value in values.items() if value != seeds[name]]
    folder = _task_folder(log)
    inline = [name for name in names if not files[name]]
    if folder is None or inline:
        what = "the run was started with a Task object" if folder is None else f"the parameter {inline[0]!r} has no file beside the task"
        raise ConfigError(f"{log.folder}: {what}, so there is nothing to write over; use agentopt export {log.folder} --best FILE")
    paths = {name: folder / files[name] for name in names}
    return [_Change(files[name], paths[name], _text(paths[name]), seeds[name], values[name], value_text(values[name])) for name in names]


def _task_folder(log: RunLog) -> Path | None:
    """The folder of the task; None when the run was started with an object. Raises TaskError when the task is gone."""
    from agentopt.loading import bundled_root, load_task

    source = log.state.info.get("source")
    if source is None:
        return None
    path = Path(source)
    folder = path if path.is_dir() else path.parent if path.is_file() else load_task(source).folder
    if folder and "_bundled" in bundled_root("tasks").parts and folder.resolve().is_relative_to(bundled_root("tasks").resolve()):
        raise ConfigError(
            f"{log.folder}: {log.task['name']} is bundled with agentopt and stays as it is; use agentopt export {log.folder} --best FILE"
        )
    return folder


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None


def _say_what_is_proven(log: RunLog) -> None:
    """On stderr, because it is about the question and not the result."""
    from agentopt.results import compare_on_test, describe

    for comparison in compare_on_test(log.state):
        typer.echo(describe(comparison), err=True)
    if not log.state.finished:
        typer.echo("the run has not come to its end; this is the best so far", err=True)


def _confirm(changes: list[_Change]) -> None:
    what = ", ".join(str(change.path) for change in changes)
    if not sys.stdin.isatty():
        raise ConfigError(f"there is no terminal to ask on; write over {what} with --yes")
    if not typer.confirm(f"write over {what}?", err=True):
        raise NothingWritten("nothing was written")


class NothingWritten(AgentoptError):
    """The answer was no."""
