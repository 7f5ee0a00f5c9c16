from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt.trace.written import cut, error_text, written


def test_short_values_are_written_as_python_writes_them() -> None:
    for value in ("a 'b'\n", 1, 0.5, None, [1, (2,), ()], {"a": [1]}, (1, 2), b"x", True, [], {}):
        assert written(value, 1000) == repr(value)


def test_what_is_missing_is_counted_in_its_place() -> None:
    assert written("a" * 100, 30) == "'" + "a" * 20 + "[... 70 characters left out ...]" + "a" * 10 + "'"
    assert written(list(range(1000)), 20) == "[0, 1, 2, 3, 4, 5, 6, ... 993 more]"
    assert written({n: n for n in range(1000)}, 20) == "{0: 0, 1: 1, 2: 2, 3: 3, ... 996 more}"
    assert written(b"a" * 100, 10) == "b'aaaaaaaaaa'[... 90 bytes left out ...]"
    assert written([[[[[1, 2]]]], [{1: {2: {3: {4: 5}}}}]], 100) == "[[[[[... 2 more]]]], [{1: {2: {... 1 more}}}]]"


def test_the_same_value_gives_the_same_text() -> None:
    class Plain:
        pass

    assert written({"b", "a", "c"}, 100) == written({"c", "b", "a"}, 100) == "{'a', 'b', 'c'}"
    assert written(frozenset({1}), 100) == "{1}"
    assert written(Plain(), 200) == written(Plain(), 200)


def test_errors_are_their_type_and_what_they_say() -> None:
    assert error_text(ValueError("no")) == "ValueError: no"
    assert error_text(ValueError()) == "ValueError"
    assert error_text("KeyError: 'a'") == "KeyError: 'a'"
    assert error_text({"type": "KeyError"}) == "{'type': 'KeyError'}"


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(st.text() | st.integers() | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
    st.integers(20, 200),
)
def test_any_value_becomes_one_line_of_about_the_length(value: object, limit: int) -> None:
    text = written(value, limit)
    assert "\n" not in text
    assert len(text) <= 40 * limit


@given(st.text(), st.integers(0, 100))
def test_a_cut_text_is_never_longer(text: str, limit: int) -> None:
    assert len(cut(text, limit)) <= len(text)
