"""Whether to ask for a whole text or for edits of it: what has succeeded so far decides."""

from __future__ import annotations

from random import Random

__all__ = ["Forms"]

_DECAY = 0.95
_SCORED = 0.2
"""Credit for a program that has a score and is no better than its parent: at a plateau nothing else tells the forms apart."""
_SHORT, _LONG = 2500, 8000
"""Characters: a short program is as soon written as edited, a long one is dear to write again."""
_PRIORS = {"rewrite": ((3.0, 1.0), (2.0, 1.5), (1.0, 2.0)), "diff": ((1.0, 2.0), (2.0, 2.0), (2.0, 1.0))}


class Forms:
    """A bandit of two arms by Thompson sampling (Beta posteriors); what is old counts less and less."""

    def __init__(self) -> None:
        self._won = dict.fromkeys(_PRIORS, 0.0)
        self._lost = dict.fromkeys(_PRIORS, 0.0)

    def add(self, form: str, won: bool, scored: bool) -> None:
        """What came of a reply in ``form``: a program better than its parent, at least one with a score, or neither."""
        if form in _PRIORS:
            credit = 1.0 if won else _SCORED if scored else 0.0
            for counts, plus in ((self._won, credit), (self._lost, 1.0 - credit)):
                counts[form] = counts[form] * _DECAY + plus

    def choose(self, characters: int, rng: Random) -> str:
        """For a parent of so many characters."""
        size = (characters > _SHORT) + (characters > _LONG)
        drawn = {
            form: rng.betavariate(prior[size][0] + self._won[form], prior[size][1] + self._lost[form]) for form, prior in _PRIORS.items()
        }
        return max(drawn, key=drawn.__getitem__)
