"""Which earlier texts stand in a longer one: guesses of where it came from."""

from __future__ import annotations

import re

__all__ = ["SHORTEST", "Texts"]

SHORTEST = 20
"""Texts of fewer characters are found everywhere by chance."""
_KEY = 16
_LONGEST = 50_000
_RIVALS = 8
_FEW = 64
_FIELD = re.compile(r"\{[^{}]*\}")


class Texts:
    """Texts by their first characters, so that a text is searched for all of them at once."""

    def __init__(self) -> None:
        self._starts: dict[str, list[tuple[str, int]]] = {}

    def add(self, place: int, text: str) -> None:
        """``place`` gave this text."""
        text = text.strip()
        if len(text) < SHORTEST:
            return
        found = self._starts.setdefault(text[:_KEY], [])
        found.append((text, place))
        if len(found) > _RIVALS:
            del found[0]

    def add_template(self, place: int, text: str) -> None:
        """What stands between its ``{fields}`` is what is found again once they are filled in."""
        for part in _FIELD.split(text):
            self.add(place, part)

    def find(self, text: str) -> list[int]:
        """The places that gave something that stands in ``text``, whose first 50,000 characters are searched."""
        if len(text) < SHORTEST or not self._starts:
            return []
        text = text[:_LONGEST]
        if len(self._starts) <= _FEW:
            found = [place for rivals in self._starts.values() for whole, place in rivals if whole in text]
        else:
            starts = self._starts.get
            hits = ((at, starts(text[at : at + _KEY])) for at in range(len(text) - _KEY + 1))
            found = [place for at, rivals in hits if rivals for whole, place in rivals if text.startswith(whole, at)]
        return sorted(set(found))
