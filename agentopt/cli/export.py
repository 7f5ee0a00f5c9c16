"""agentopt export RUN --best FILE"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from agentopt.core.errors import ConfigError

if TYPE_CHECKING:
    from agentopt.core.evaluation import Entry

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    file: Annotated[Path, typer.Argument(help="Where to write; for several parameters a folder, or a .json file for all of them.")],
    best: Annotated[bool, typer.Option("--best", help="Export the best candidate; the default.")] = False,
    candidate: Annotated[str | None, typer.Option(help="Export this candidate: an id or the beginning of one, or seed.")] = None,
    artifacts: Annotated[bool, typer.Option("--artifacts", help="Export what its rollouts kept; FILE is a folder then.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a candidate's parameters, or its artifacts, to FILE."""
    from agentopt.cli.reading import open_log
    from agentopt.cli.writing import replace_files

    if best and candidate:
        raise ConfigError("--best and --candidate are two candidates; give one of them")
    with open_log(run) as log:
        key = log.resolve(candidate or "best")
        entry = log.entry(key)
        files: Mapping[Path, str | bytes]
        files = _artifacts(file, entry, log.store.get) if artifacts else _files(file, log.files(entry), entry.candidate.values)
    there = [path for path in files if path.exists()]
    if there and not force:
        raise ConfigError(f"{there[0]}: it exists already; choose another name, or overwrite it with --force")
    replace_files(files)
    for path in files:
        typer.echo(f"wrote {path} (candidate {key})")


def _artifacts(target: Path, entry: Entry, get: Callable[[str], bytes]) -> dict[Path, bytes]:
    """Path -> bytes; a file's name says case, repeat and artifact. Raises ConfigError when there are none."""
    found: dict[Path, bytes] = {}
    for rollout in entry.evaluation.rollouts if entry.evaluation else ():
        for name, digest in rollout.artifacts.items():
            plain = re.sub(r"[^A-Za-z0-9_-]", "_", rollout.case)
            found[target / f"{plain}-{rollout.repeat}-{PurePosixPath(name).name}"] = get(digest)
    if not found:
        raise ConfigError(f"candidate {entry.id} kept no artifacts; a task keeps some with ctx.artifact(name, data)")
    return found


def _files(target: Path, texts: Mapping[str, str], values: Mapping[str, object]) -> dict[Path, str]:
    """Path -> text of what is to be written."""
    if len(texts) > 1 and target.suffix == ".json":
        return {target: json.dumps(dict(values), indent=2) + "\n"}
    if len(texts) > 1 or target.is_dir():
        for name in texts:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ConfigError(f"{name!r}: the log names a file outside of {target}; export to a .json file instead")
        return {target / name: text for name, text in texts.items()}
    return {target: next(iter(texts.values()))}
