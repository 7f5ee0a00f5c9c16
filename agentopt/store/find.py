"""RUN on the command line -> a run folder."""

from __future__ import annotations

from pathlib import Path

from agentopt.core.errors import StoreError
from agentopt.store.layout import is_run_folder, list_runs

__all__ = ["find_run"]


def find_run(path: Path) -> Path:
    """``path`` itself if it is a run folder, or the one run inside it. Raises StoreError."""
    if is_run_folder(path):
        return path
    if not path.is_dir():
        raise StoreError(f"{path}: no such run folder; `agentopt list runs` shows the runs there are")
    inside = list_runs(path)
    if len(inside) == 1:
        return inside[0]
    if not inside:
        raise StoreError(f"{path}: not a run folder (it holds no run.db); name a folder that agentopt evolve made")
    raise StoreError(f"{path}: holds {len(inside)} runs; name one of them, the latest is {inside[-1]}")
