"""Which form is asked for."""

from __future__ import annotations

from random import Random

from agentopt.evolving.forms import Forms


def share(forms: Forms, characters: int) -> float:
    """Of diffs."""
    return sum(forms.choose(characters, Random(k)) == "diff" for k in range(400)) / 400


def test_without_evidence_the_length_decides() -> None:
    shares = [share(Forms(), characters) for characters in (500, 5000, 50_000)]
    assert shares == sorted(shares)
    assert shares[0] < 0.3 < 0.7 < shares[2]


def test_success_decides_and_is_forgotten() -> None:
    forms = Forms()
    for _ in range(30):
        forms.add("diff", won=True, scored=True)
        forms.add("rewrite", won=False, scored=False)
    assert share(forms, 500) > 0.9
    for _ in range(100):
        forms.add("diff", won=False, scored=False)
        forms.add("rewrite", won=True, scored=True)
    assert share(forms, 500) < 0.1


def test_at_a_plateau_the_form_that_gives_programs_is_preferred() -> None:
    forms = Forms()
    for _ in range(60):
        forms.add("diff", won=False, scored=True)
        forms.add("rewrite", won=False, scored=False)
    assert share(forms, 500) > 0.75


def test_what_has_no_form_counts_nothing() -> None:
    forms = Forms()
    for _ in range(50):
        forms.add("", won=True, scored=True)
        forms.add("None", won=True, scored=True)
    assert share(forms, 500) == share(Forms(), 500)
