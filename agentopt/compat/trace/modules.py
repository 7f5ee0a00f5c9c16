"""Models: classes whose parameters are found, saved and written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from agentopt.compat.trace.containers import ParameterContainer
from agentopt.compat.trace.export import plain_class
from agentopt.compat.trace.nodes import ParameterNode
from agentopt.core.errors import UserError

__all__ = ["Module", "model"]

_FORMAT = "agentopt.compat.trace parameters, version 1"
_C = TypeVar("_C", bound=type)


class Module(ParameterContainer):
    """A container of parameters that can be called."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling it does."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def save(self, file_name: str | Path) -> None:
        """Write the values of all parameters as JSON. Raises UserError for a value that is not JSON; nothing is written then."""
        values = {path: parameter.value for path, parameter in _by_path(self)}
        for path, value in values.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise UserError(f"parameter {path} cannot be saved as JSON: {error}; give it text, a number or plain data") from None
        target = Path(file_name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"format": _FORMAT, "parameters": values}, indent=2, ensure_ascii=False) + "\n")

    def load(self, file_name: str | Path) -> None:
        """Take the values of all parameters from a file. Raises UserError for a file that does not fit; nothing is changed then."""
        values = _read(Path(file_name))
        own = dict(_by_path(self))
        if set(own) != set(values):
            missing, more = sorted(set(own) - set(values)), sorted(set(values) - set(own))
            raise UserError(f"{file_name} does not fit this model: it lacks {missing}, and has {more} that the model lacks")
        for path, parameter in own.items():
            parameter.value = values[path]

    def export(self, file_name: str | Path | None = None) -> str:
        """The source of the class with the learnt code and values in it, and nothing of this library; also written to ``file_name``.

        Raises UserError for a class whose source cannot be found, and for values that have no literal.
        """
        text = plain_class(self)
        if file_name is not None:
            Path(file_name).write_text(text)
        return text


def model(cls: _C) -> _C:
    """Make a class a ``Module``: its parameters can be found, saved and written out. It keeps its name and place."""
    if issubclass(cls, Module):
        return cls
    named = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    made: Any = type(cls)(cls.__name__, (cls, Module), named)
    return made


def _by_path(container: ParameterContainer, before: str = "") -> list[tuple[str, ParameterNode]]:
    found: list[tuple[str, ParameterNode]] = []
    for name, held in container.parameters_dict().items():
        if isinstance(held, ParameterContainer):
            found += _by_path(held, f"{before}{name}.")
        else:
            found.append((before + name, held))
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        data: Any = json.loads(file.read_text())
        if data["format"] != _FORMAT:
            raise ValueError(f"its format is {data['format']!r}, not {_FORMAT!r}")
        return dict(data["parameters"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} holds no saved parameters: {error}; take a file that save has written") from None
