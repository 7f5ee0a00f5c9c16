"""Lists as models write them, and plans in memos."""

from __future__ import annotations

import json

import pytest

from agentopt.evolving.plans import Plan, items_of, plan_in


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("1. sort first\n2. use a heap\n3. third", ("sort first", "use a heap")),
        ("Sure!\n\n**1. Sort first** - it helps\n2) Use a *heap*", ("Sort first - it helps", "Use a *heap")),
        ("1. **First**: do a\n   - with a detail\n\n   and more\n2. second", ("First: do a - with a detail and more", "second")),
        ("- one\n* two\n• three", ("one", "two")),
        ("just one thought\nover two lines", ("just one thought over two lines",)),
        ("", ()),
        (" \n ", ()),
        ("1. " + "x" * 900, ("x" * 600,)),
    ],
)
def test_items_of_a_list(text: str, items: tuple[str, ...]) -> None:
    assert items_of(text, 2) == items


def test_a_plan_goes_through_a_memo() -> None:
    plan = Plan("directions", 3, 17, ("a", "b"))
    assert plan_in(json.loads(json.dumps({"plan": plan.to_json()}))) == plan
    assert plan_in({}) is None
