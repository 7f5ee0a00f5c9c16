"""Every attack at every level, with the outcome that it must have there and the layer that sees to it."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache

import pytest

from agentopt.attacks.attack import ALWAYS
from agentopt.attacks.corpus import ATTACKS
from agentopt.core.task import NEEDS
from tests.hostile.arena import ALL, ALONE, LEVELS, Outcomes, expected, let_loose, tried, walls, why_not

HERE = [level for level in LEVELS if not why_not(level)]
ROWS = [(level, attack) for level in HERE for attack in tried(level)]


@cache
def outcomes(level: str) -> Outcomes:
    """All of a level at once: what is asked of it below has been tried then."""
    return let_loose(level, tried(level))


@pytest.mark.parametrize("level", HERE)
def test_the_level_is_there(level):
    """Else nothing is known of it. For root the third one is an ordinary user's, see test_users."""
    why = why_not(level)
    if why and os.environ.get("AGENTOPT_CI") and not (level == ALONE and os.getuid() == 0):
        pytest.fail(why)
    if why:
        pytest.skip(why)


@pytest.mark.parametrize(("level", "attack"), ROWS, ids=[f"{level}-{attack.name}" for level, attack in ROWS])
def test_an_attack_ends_as_it_must(level, attack):
    outcome = outcomes(level).by_name[attack.name]
    assert outcome.startswith(expected(attack, level)), outcome
    assert len(outcome) <= 4100
    assert not set(outcome) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize("level", HERE)
def test_the_honest_do_not_notice(level):
    assert outcomes(level).spoiled == []


@pytest.mark.parametrize("level", HERE)
def test_nothing_is_left_behind(level):
    assert outcomes(level).left == []


@pytest.mark.parametrize("level", HERE)
def test_seen_from_outside_nothing_happened(level):
    """Whatever the attacks say of themselves. At L1 sockets can be reached, and are."""
    sockets = ["a TCP socket", "a Unix socket", "a nameless Unix socket", "a UDP socket"]
    assert outcomes(level).harmed == (sockets if level == "L1" else [])


@pytest.mark.parametrize("level", HERE)
def test_the_level_is_the_one_that_was_meant(level):
    text = outcomes(level).sandbox
    assert text.startswith(level[:2])
    assert ("namespaces" in text) == (level == "L2")


def test_the_table_is_of_some_size_and_no_attack_gets_through_where_a_wall_stands():
    names = Counter(attack.name for attack in ALL)
    assert max(names.values()) == 1
    assert {attack.wall for attack in ATTACKS} == {ALWAYS, *NEEDS}
    sizes = {level: len(tried(level)) for level in LEVELS}
    assert sizes["L1"] >= 130
    assert min(sizes["L2"], sizes["L2 without namespaces"]) >= 370
    for attack in ALL:
        assert attack.stopped
        assert attack.by
        assert not attack.stopped.startswith("0: got")
    assert not [attack.name for attack in ALL for level in LEVELS[1:] if expected(attack, level).startswith("0: got")]
    assert {attack.wall for attack in ALL} <= walls("L2") | {"x86"}
