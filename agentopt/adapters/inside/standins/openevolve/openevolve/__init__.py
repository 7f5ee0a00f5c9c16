"""Stands in for openevolve where it is not installed: what evaluators import of it, ``evaluation_result``, and nothing else."""

from typing import Any


def __getattr__(name: str) -> Any:
    raise AttributeError(f"openevolve.{name}: openevolve is not installed here; name an environment that has it with --python VENV")
