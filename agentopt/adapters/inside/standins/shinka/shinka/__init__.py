"""Stands in for shinka where it is not installed: what evaluators import of it, ``core.run_shinka_eval``, and nothing else."""

from typing import Any


def __getattr__(name: str) -> Any:
    raise AttributeError(f"shinka.{name}: shinka is not installed here; name an environment that has it with --python VENV")
