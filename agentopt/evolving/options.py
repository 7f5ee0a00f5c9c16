"""What can be set of ``evolve``."""

from __future__ import annotations

from dataclasses import dataclass

from agentopt.core.errors import ConfigError

__all__ = ["NAME", "EvolveOptions"]

NAME = "evolve"
_AT_LEAST = {
    **{"islands": 1, "initial": 1, "max_output_tokens": 1},
    **dict.fromkeys(("migrate_every", "reset_after", "top_programs", "inspirations", "failures", "feedback_cases", "artifacts"), 0),
    **dict.fromkeys(("attempts", "failed_edits", "directions", "stall"), 0),
}
_UP_TO_1 = ("contrast", "novelty", "extra_calls")


@dataclass(frozen=True)
class EvolveOptions:
    """Each idea has a switch, so that its worth can be measured; the defaults are for budgets of 30 to 100 calls. docs/evolve.md."""

    initial: int = 3
    """Proposals that rewrite the seed, each from another side, before anything else."""
    islands: int = 3
    """Populations that evolve beside each other. 1: no islands."""
    grid: bool = True
    """Whether a population is a MAP-Elites grid where the task declares measures."""
    migrate_every: int = 12
    """After so many evaluations the best of each island goes to the next one. 0: never."""
    reset_after: int = 15
    """An island that has not improved for so many evaluations of its own is filled anew from the others. 0: never."""
    adaptive: bool = True
    """Whether improvement decides on islands and on exploration; else islands take turns and exploration stays as it is."""
    top_programs: int = 1
    """Best programs shown beside the parent."""
    inspirations: int = 2
    """Programs of other islands, or other ones of the same, shown beside the parent."""
    contrast: float = 0.3
    """Share of the prompts that show, in place of inspirations, a better and a worse program side by side."""
    failures: int = 3
    """Last failures whose reasons are shown."""
    feedback_cases: int = 6
    """Cases of the parent shown with scores and feedback, the worst first."""
    artifacts: int = 1500
    """Characters shown of each text that the parent printed or left behind."""
    attempts: int = 8
    """Last attempts shown with what came of them."""
    failed_edits: int = 3
    """Edits of the same parent that made it worse, shown so that they are not repeated."""
    edits: str = "auto"
    """``rewrite``: whole texts; ``diff``: SEARCH/REPLACE edits; ``auto``: what succeeds."""
    mend: bool = True
    """Whether a program that was written anew and failed is asked to be mended, once."""
    directions: int = 5
    """Directions that are asked for at once and then followed one by one. 0: none."""
    stall: int = 10
    """After so many proposals of its own without a better best the model is asked for other paradigms. 0: never."""
    extra_calls: float = 0.16
    """Largest share of calls that ask for directions or paradigms, and, counted apart, of those for a more different program. 0: none."""
    novelty: float = 0.95
    """From this likeness to a known program on (Jaccard index of tokens) a new one is asked to be made different, once. 0: never."""
    if_known: str = "evaluate"
    """What becomes of it if it is still like a known one: ``evaluate`` or ``refuse``."""
    temperature: float = 1.0
    """Of all requests: some models take no other."""
    max_output_tokens: int = 16_384
    """Of each reply, reasoning included."""

    def __post_init__(self) -> None:
        for name, least in _AT_LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{NAME}.{name} is {getattr(self, name)!r}; it must be at least {least}")
        for name in _UP_TO_1:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{NAME}.{name} is {getattr(self, name)!r}; it must lie between 0 and 1")
        if not 0.0 <= self.temperature <= 2.0:
            raise ConfigError(f"{NAME}.temperature is {self.temperature!r}; it must lie between 0 and 2")
        if self.edits not in ("auto", "rewrite", "diff"):
            raise ConfigError(f"{NAME}.edits is {self.edits!r}; it must be auto, rewrite or diff")
        if self.if_known not in ("evaluate", "refuse"):
            raise ConfigError(f"{NAME}.if_known is {self.if_known!r}; it must be evaluate or refuse")
