from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt.core.events import EVENT_KINDS, GENESIS, PAID_KINDS, Event, canonical, chain_digest, encode_data

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def events(*rows: tuple[str, dict[str, object]]) -> list[Event]:
    return [Event(seq, 0.5 * seq, kind, data) for seq, (kind, data) in enumerate(rows, 1)]


def test_paid_kinds_are_kinds() -> None:
    assert set(EVENT_KINDS) > PAID_KINDS
    assert len(set(EVENT_KINDS)) == len(EVENT_KINDS) == 12


def test_subject() -> None:
    first, second = events(("rollout", {"candidate": "abc"}), ("asked", {"index": 0}))
    assert (first.subject, second.subject) == ("abc", None)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
@settings(max_examples=50, deadline=None)
def test_data_comes_back_from_its_text(data: dict[str, object]) -> None:
    assert json.loads(encode_data(data)) == data


def test_one_spelling() -> None:
    assert encode_data({"b": 1, "a": [1.5, "é"]}) == encode_data({"a": [1.5, "é"], "b": 1}) == '{"a":[1.5,"\\u00e9"],"b":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_lacks_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_data({"value": value})


def test_chain_digest_is_what_it_says() -> None:
    expected = hashlib.sha256(b"agentopt" + b"1\x000.5\x00note\x00{}").digest()[:16]
    assert chain_digest(GENESIS, 1, 0.5, "note", "{}") == expected


def test_every_part_counts_in_the_chain() -> None:
    parts = [(GENESIS, 1, 0.5, "note", "{}")]
    parts += [(b"x", *parts[0][1:]), (GENESIS, 2, 0.5, "note", "{}"), (GENESIS, 1, 0.25, "note", "{}")]
    parts += [(GENESIS, 1, 0.5, "asked", "{}"), (GENESIS, 1, 0.5, "note", "[]")]
    assert len({chain_digest(*part) for part in parts}) == len(parts)


def test_canonical_forgets_what_may_differ() -> None:
    one = events(
        ("run_started", {"run": "a", "host": "x", "version": "1", "source": "/a", "python": "3.11", "sandbox": "L2/a", "rng_seed": 0}),
        ("rollout", {"candidate": "c", "scores": {"s": 1.0}, "measured": [0.1, 0.1, 5]}),
        ("evaluated", {"candidate": "c", "splits": {}, "sandbox": "L2/landlock-7/Linux 6.18"}),
        ("confirmed", {"candidate": "c", "splits": {}, "sandbox": "L2/landlock-7/Linux 6.18"}),
        ("stopped", {"status": "budget", "spent": {"seconds": 3}, "why": "60s are over"}),
    )
    two = events(
        (
            "run_started",
            {"run": "b", "host": "y", "version": "2", "source": "/b", "python": "3.12", "sandbox": "L2/b", "rng_seed": 0, "later": None},
        ),
        ("rollout", {"candidate": "c", "scores": {"s": 1.0}, "measured": [0.2, 0.1, 6]}),
        ("evaluated", {"candidate": "c", "splits": {}, "sandbox": "L2/landlock-4/Linux 6.8"}),
        ("confirmed", {"candidate": "c", "splits": {}, "sandbox": "L2/landlock-4/Linux 6.8"}),
        ("stopped", {"status": "budget", "spent": {"seconds": 4}, "why": "61s are over"}),
    )
    assert canonical(one)[1:] == canonical(two)[1:]
    assert canonical(one)[0] == ("run_started", {"rng_seed": 0})
    assert canonical(two)[0] != canonical(one)[0], "what is not on the list counts"


def test_canonical_forgets_interruptions() -> None:
    straight = events(("asked", {"index": 0}), ("asked", {"index": 1}), ("stopped", {"status": "budget"}))
    broken = events(
        ("asked", {"index": 0}),
        ("stopped", {"status": "interrupted"}),
        ("resumed", {"host": "y"}),
        ("resumed", {"host": "z"}),
        ("asked", {"index": 1}),
        ("stopped", {"status": "budget"}),
    )
    assert canonical(straight) == canonical(broken)
    noted = events(("asked", {"index": 0}), ("note", {"kind": "infrastructure", "text": "a guard died"}), ("asked", {"index": 1}))
    assert canonical(noted) == canonical(straight[:2])
    assert canonical(events(("note", {"kind": "warning", "text": "shaky"}))) != []
    assert canonical(broken[:2]) != canonical(straight[:1]), "an end that nothing follows stays"
