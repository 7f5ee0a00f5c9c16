"""An optimizer's templates: those that come with it, and what the user's folders put in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agentopt.core.chat import Prompt
from agentopt.core.errors import ConfigError
from agentopt.prompts.template import Template

__all__ = ["Templates"]


class Templates:
    """``core.protocols.Prompts`` over folders: ``reevo/crossover.md`` is taken from the first of them that has it.

    The last folder holds the originals, which declare the slots; the folders before it override some. All are read and checked at once,
    so that a mistake is told before a run begins. A prompt takes at most ``token_budget`` tokens, estimated as UTF-8 bytes / 3.
    Raises ConfigError for a folder that is not there, an override of nothing, and a template that cannot be used.
    """

    def __init__(self, optimizer: str, folders: Sequence[Path], token_budget: int) -> None:
        self._optimizer = optimizer
        self._token_budget = token_budget
        self._templates: dict[str, Template] = {}
        for folder in reversed(folders):
            if not folder.is_dir():
                raise ConfigError(f"{folder}: is no folder of templates; create it or name another")
            for file in sorted((folder / optimizer).glob("*.md")):
                self._read(file, folder == folders[-1])

    def render(self, step: str, slots: Mapping[str, str]) -> Prompt:
        if step not in self._templates:
            raise ConfigError(f"{self._optimizer} has no template {step!r}; there is {self._known}")
        return self._templates[step].render(slots, self._token_budget)

    @property
    def _known(self) -> str:
        return ", ".join(self._templates) or "none"

    def _read(self, file: Path, is_original: bool) -> None:
        original = self._templates.get(file.stem)
        if original is None and not is_original:
            raise ConfigError(f"{file}: overrides no template of {self._optimizer}; rename it to one of {self._known}")
        self._templates[file.stem] = Template.read(file, f"{self._optimizer}/{file.stem}", original)
