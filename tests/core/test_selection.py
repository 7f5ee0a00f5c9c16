from __future__ import annotations

import pytest

from agentopt.core.errors import ConfigError
from agentopt.core.selection import ordered_objectives, rank_key, select_best
from agentopt.core.task import Objective

QUALITY, SECONDS = Objective("quality", "max"), Objective("seconds", "min")
BOTH = [QUALITY, SECONDS]


def test_best_is_best_in_the_first_objective() -> None:
    members = [("slow", {"quality": 3.0, "seconds": 9.0}), ("quick", {"quality": 2.0, "seconds": 1.0})]
    assert select_best(members, BOTH) == "slow"
    assert select_best(members, ordered_objectives(BOTH, "seconds")) == "quick"


def test_ties_go_to_the_next_objective_then_to_the_older() -> None:
    members = [(name, {"quality": 3.0, "seconds": s}) for name, s in (("a", 2.0), ("b", 1.0), ("c", 1.0))]
    assert select_best(members, BOTH) == "b"


def test_nobody_is_best_of_none() -> None:
    assert select_best([], BOTH) is None


def test_rank_key_sorts_better_first() -> None:
    scores = [{"quality": q, "seconds": s} for q, s in ((1.0, 1.0), (2.0, 5.0), (2.0, 3.0))]
    assert sorted(scores, key=lambda each: rank_key(each, BOTH)) == [scores[2], scores[1], scores[0]]


@pytest.mark.parametrize(
    ("select", "names"),
    [
        (None, ["quality", "seconds"]),
        ("", ["quality", "seconds"]),
        ("seconds", ["seconds", "quality"]),
        ("seconds, quality", ["seconds", "quality"]),
    ],
)
def test_order(select: str | None, names: list[str]) -> None:
    assert [objective.name for objective in ordered_objectives(BOTH, select)] == names


def test_order_of_an_unknown_objective() -> None:
    with pytest.raises(ConfigError, match="select: there is no objective 'speed'; use quality, seconds"):
        ordered_objectives(BOTH, "speed")
