"""What an evaluation may save, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """All off: every candidate gets all its rollouts. Levels are chances between 0 and 1/2."""

    cascade: bool = False
    """Cheap cases first, in stages; stop who cannot reach the reference even with the best scores on all that is left."""
    race: bool = False
    """Stages, the first repeat of all cases first; stop who will not end ahead of the reference."""
    duel: bool = False
    """The best yields only to who beats it on fresh seeds; before that nobody gets more than half of its repeats."""
    same_output: bool = False
    """Who answers the first stage with the bytes of an earlier candidate is its duplicate."""
    first_stage: int = 4
    """Rollouts before the first look; each later stage doubles them."""
    risk: float = 0.1
    """Chance that a candidate is stopped which would have ended ahead."""
    false_kept: float = 0.05
    """Share of kept improvements that may be false."""
    duel_repeats: int = 8
    """Fresh repeats of all cases that a duel takes at most."""
    duel_reuse: int = 4
    """Duels for which the rollouts of the one who defends are used; then it is scored again with fresh seeds."""

    @property
    def staged(self) -> bool:
        return self.cascade or self.race or self.duel
