"""Stands in for skydiscover where it is not installed: what evaluators import of it, ``evaluation``, and nothing else."""


def __getattr__(name):
    raise AttributeError(f"skydiscover.{name}: skydiscover is not installed here; name an environment that has it with --python VENV")
