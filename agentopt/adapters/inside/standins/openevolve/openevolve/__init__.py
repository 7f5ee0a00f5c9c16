"""Stands in for openevolve where it is not installed: what evaluators import of it, ``evaluation_result``, and nothing else."""


def __getattr__(name):
    raise AttributeError(f"openevolve.{name}: openevolve is not installed here; name an environment that has it with --python VENV")
