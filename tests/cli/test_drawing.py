from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from agentopt.cli.drawing import bars, step_curve

VALUES = st.floats(-1e9, 1e9, allow_nan=False)


def test_a_step_is_drawn_where_it_happens() -> None:
    lines = step_curve([(0, 8.0), (5, 4.0)], 10, (18, 6), "evals", ascii_only=True)
    assert lines == [
        "8 +********",
        "  |       *",
        "  |       *",
        "4 +       ********",
        "  +---------------",
        "   0   evals    10",
    ]


def test_rising_curves_rise() -> None:
    lines = step_curve([(1, 0.0), (2, 1.0)], 3, (20, 5), ascii_only=True)
    assert len(lines[0]) > len(lines[2])


def test_nothing_to_see() -> None:
    assert step_curve([], 0, (40, 8)) == []
    assert step_curve([(1, 2.0)], 1, (40, 8)) == []


def test_a_flat_line_and_labels_that_need_many_digits() -> None:
    flat = step_curve([(1, 2.5)], 9, (40, 8))
    assert flat[0].startswith("2.5 ┤")
    close = step_curve([(1, 0.123456789), (2, 0.123456788)], 9, (40, 8))
    assert close[0].split()[0] != close[5].split()[0]


@given(st.lists(VALUES, min_size=1, max_size=30), st.integers(1, 60), st.integers(0, 130), st.integers(0, 20), st.booleans())
def test_a_curve_fits_its_size_and_has_a_dot_in_every_column(
    values: list[float], more: int, columns: int, rows: int, ascii_only: bool
) -> None:
    points = [(float(x), value) for x, value in enumerate(values)]
    lines = step_curve(points, len(values) - 1 + more, (columns, rows), "evaluations", ascii_only)
    assert len(lines) == max(2, rows - 2) + 2
    picture = [re.split(r" [|+│┤]", line, maxsplit=1)[1] for line in lines[:-2]]
    width = max(map(len, picture))
    assert all(any(len(row) > column and row[column] != " " for row in picture) for column in range(width))
    if columns >= 40:
        assert all(len(line) <= columns for line in lines)


def test_bars_show_the_counts_and_even_the_smallest_is_seen() -> None:
    lines = bars({"timeout": 1000, "crash": 1}, 20)
    assert lines == [f"timeout  {'█' * 20} 1000", "crash    █ 1"]
    assert bars({"crash": 2}, 3, ascii_only=True) == ["crash  ### 2"]
    assert bars({}, 20) == []
