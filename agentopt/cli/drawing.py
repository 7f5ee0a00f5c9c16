"""Drawings made of characters: a curve with its axes, and bars."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

__all__ = ["bars", "step_curve"]

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character, by row and column."""


def step_curve(
    points: Sequence[tuple[float, float]], end: float, size: tuple[int, int], unit: str = "", ascii_only: bool = False
) -> list[str]:
    """A curve that keeps each value until the next point and the last one until ``end``, with the numbers of its axes.

    ``points`` are (x, value) with x ascending; ``size`` is (columns, rows) of the whole drawing. Empty when there is nothing to
    see: one point and no way to go.
    """
    begin = points[0][0] if points else end
    if end <= begin:
        return []
    values = [value for _, value in points]
    high, low = _labels(max(values), min(values))
    margin = max(len(high), len(low))
    columns, rows = max(10, size[0] - margin - 2), max(2, size[1] - 2)
    picture = _ascii(points, end, columns, rows) if ascii_only else _braille(points, end, columns, rows)
    corner, line, wall, tick = ("+", "-", "|", "+") if ascii_only else ("└", "─", "│", "┤")
    marks = {0: high, rows - 1: low}
    drawn = [f"{marks.get(row, ''):>{margin}} {tick if row in marks else wall}{text}" for row, text in enumerate(picture)]
    first, last = f"{begin:g}", f"{end:g}"
    between = unit.center(columns - len(first) - len(last))
    return [*(row.rstrip() for row in drawn), f"{'':>{margin}} {corner}{line * columns}", f"{'':>{margin}}  {first}{between}{last}"]


def bars(counts: Mapping[str, int], width: int, ascii_only: bool = False) -> list[str]:
    """One line per name with a bar as long as its count, the longest ``width`` characters."""
    names, most = max((len(name) for name in counts), default=0), max(counts.values(), default=1)
    block = "#" if ascii_only else "█"
    return [f"{name:<{names}}  {block * max(1, round(width * count / most))} {count}" for name, count in counts.items()]


def _labels(high: float, low: float) -> tuple[str, str]:
    """As few digits as tell the two apart."""
    digits = next((digits for digits in range(4, 17) if f"{high:.{digits}g}" != f"{low:.{digits}g}"), 6)
    return f"{high:.{digits}g}", f"{low:.{digits}g}"


def _heights(points: Sequence[tuple[float, float]], end: float, columns: int, rows: int) -> list[int]:
    """Per column of dots the row of the curve, 0 on top."""
    xs, values = [x for x, _ in points], [value for _, value in points]
    high, low = max(values), min(values)
    span = (high - low) or 1.0
    step = (end - xs[0]) / (columns - 1)
    reached = [values[bisect_right(xs, xs[0] + step * column + 1e-9) - 1] for column in range(columns)]
    # the end is exact, whatever rounding did on the way
    reached[-1] = values[-1]
    return [round((high - value) / span * (rows - 1)) for value in reached]


def _runs(heights: Sequence[int]) -> list[tuple[int, int, int]]:
    """(column, first row, last row) of the dots: a step is drawn as an upright line."""
    before = [heights[0], *heights[:-1]]
    return [(column, min(pair), max(pair)) for column, pair in enumerate(zip(before, heights, strict=True))]


def _braille(points: Sequence[tuple[float, float]], end: float, columns: int, rows: int) -> list[str]:
    cells = [[0] * columns for _ in range(rows)]
    for column, first, last in _runs(_heights(points, end, 2 * columns, 4 * rows)):
        for row in range(first, last + 1):
            cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells]


def _ascii(points: Sequence[tuple[float, float]], end: float, columns: int, rows: int) -> list[str]:
    cells = [[" "] * columns for _ in range(rows)]
    for column, first, last in _runs(_heights(points, end, columns, rows)):
        for row in range(first, last + 1):
            cells[row][column] = "*"
    return ["".join(row) for row in cells]
