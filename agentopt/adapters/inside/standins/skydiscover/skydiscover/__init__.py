"""Stands in for skydiscover where it is not installed: what evaluators import of it, ``evaluation``, and nothing else."""

from typing import Any


def __getattr__(name: str) -> Any:
    raise AttributeError(f"skydiscover.{name}: skydiscover is not installed here; name an environment that has it with --python VENV")
