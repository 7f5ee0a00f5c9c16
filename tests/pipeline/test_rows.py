"""The user's data as cases."""

from __future__ import annotations

import pytest

from agentopt.core.errors import TaskError
from agentopt.core.task import Case
from agentopt.pipeline.rows import check_calls, read_data
from agentopt.trace.workflow import Fields


def sizes(data):
    return {split: len(cases) for split, cases in data.cases.items()}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, {"train": 1}),
        (3, {"train": 3}),
        (4, {"train": 3, "validation": 1}),
        (11, {"train": 8, "validation": 3}),
        (12, {"train": 6, "validation": 3, "test": 3}),
        (40, {"train": 20, "validation": 10, "test": 10}),
    ],
)
def test_half_is_searched_on_and_a_quarter_each_is_held_out(rows, expected):
    data = read_data([{"x": number} for number in range(rows)], 0)
    assert sizes(data) == expected
    assert sorted(case.input["x"] for cases in data.cases.values() for case in cases) == list(range(rows))
    assert bool(data.note) == ("test" not in expected)


def test_what_is_missing_is_said():
    assert (
        "11 rows are too few for a held-out test (it takes 12), so the scores shown are those of validation rows"
        in read_data([1] * 11, 0).note
    )
    assert "those of the rows that the search saw" in read_data([1], 0).note
    assert (
        read_data({"train": [1], "validation": [2]}, 0).note == "data has no 'test' rows, so the scores shown are those of validation rows"
    )
    assert read_data({"train": [1], "test": [2]}, 0).note == ""


def test_the_shuffle_follows_from_the_seed_and_ids_from_the_place_in_the_data():
    rows = [{"x": number} for number in range(40)]
    first, again, other = (read_data(rows, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.cases != other.cases
    assert all(data.rows[case.id] is rows[int(case.id.removeprefix("row"))] for data in (first, other) for case in data.cases["train"])
    assert [case.id for case in first.cases["train"]] != sorted(case.id for case in first.cases["train"])


def test_a_dict_is_keyword_arguments_a_pair_has_its_answer_and_anything_else_is_the_argument():
    rows = [{"q": "a", "answer": "b", "label": "c"}, {"q": "a", "expected": 0, "answer": 1}, ({"q": 1}, 2), (1, 2, 3), [1, 2], "text"]
    cases = read_data({"train": rows}, 0).cases["train"]
    given = [(case.input, case.expected, type(case.input) is Fields) for case in cases]
    assert given == [
        ({"q": "a"}, "b", True),
        ({"q": "a"}, 0, True),
        ({"q": 1}, 2, False),
        ((1, 2, 3), None, False),
        ([1, 2], None, False),
        ("text", None, False),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "data has no rows"),
        ("rows", "data is a str; give a list of rows"),
        (3, "data is a int"),
        ({"train": []}, "data has no rows in 'train'"),
        ({"validation": [1]}, "data has no rows in 'train'"),
        ({"train": [1], "dev": [2]}, "data has the key 'dev'"),
        ({"train": [1], "test": 5}, "data['test'] is a int"),
        ({"train": [{1: 2}]}, "train0: the row has the key 1; the keys of a row are names of arguments"),
    ],
)
def test_what_is_no_data_is_one_sentence(data, words):
    with pytest.raises(TaskError) as caught:
        read_data(data, 0)
    assert words in str(caught.value)


def test_any_iterable_is_data():
    assert sizes(read_data((number for number in range(5)), 0)) == {"train": 4, "validation": 1}


def ask(question, ctx=None, *, model="small"):
    """Nothing."""


@pytest.mark.parametrize("given", [Fields(question="q"), Fields(question="q", model="big"), "q", Fields(question="q", ctx=1)])
def test_rows_that_fit_the_workflow(given):
    check_calls(ask, {"train": [Case("row1", given)]})
    check_calls(dict, {"train": [Case("row1", given)]})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            Fields(text="q"),
            "row1: ask(question, ctx=None, *, model='small') cannot be called with the fields text: missing a required argument",
        ),
        (Fields(), "the fields none"),
        (Fields(question="q", size=1), "got an unexpected keyword argument 'size' (expected, answer, label are kept for score)"),
    ],
)
def test_rows_that_do_not(given, words):
    with pytest.raises(TaskError) as caught:
        check_calls(ask, {"train": [Case("row1", given)]})
    assert words in str(caught.value)


def test_every_row_is_looked_at_before_anything_is_called():
    fits, other = Case("row1", Fields(question="q")), Case("row2", Fields(text="q"))
    with pytest.raises(TaskError, match=r"^row2: ask"):
        check_calls(ask, {"train": [fits], "test": [fits, other]})


def test_a_table_of_columns_is_no_list_of_rows():
    class DataFrame:
        columns = ("q", "answer")

        def to_dict(self, orient): ...
        def __iter__(self):
            return iter(self.columns)

    with pytest.raises(TaskError, match=r"data is a DataFrame.*give data\.to_dict\('records'\)"):
        read_data(DataFrame(), 0)


def test_one_value_for_a_workflow_of_none():
    with pytest.raises(TaskError, match="cannot be called with one value: too many positional arguments"):
        check_calls(lambda: 1, {"train": [Case("row1", 5)]})
